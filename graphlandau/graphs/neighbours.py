"""Neighbour search: the edges between particles that are close in velocity or position."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from scipy.spatial import KDTree
from torch import Tensor, nn
from torch_geometric.data import Data

from graphlandau.base.errors import InvalidArgument
from graphlandau.base.validation import (
    as_numbers,
    require_integer,
    require_one_of,
    require_positive,
    require_velocities,
)
from graphlandau.graphs.partition import Partition

__all__ = ["knn_edges", "measured", "radius_edges"]

BACKENDS = ("auto", "kdtree", "torch_cluster")
# About 80 bytes an edge while they are sorted.
MAX_EDGES = 50_000_000
# Searches go this much farther than asked, relatively; what they find then passes one test of distance in float64.
MARGIN = 1e-9
# torch_cluster's CUDA kernel takes 16 bytes for each neighbour that a receiver might have: so many at a time.
RECEIVER_SLOTS = 2**26
# torch_cluster's CUDA kernel keeps at most so many nearest particles.
MAX_NEAREST_ON_CUDA = 100


def knn_edges(
    x: Float[Tensor, "N d"],
    k: int,
    *,
    box: float | Sequence[float] | None = None,
    batch: Int[Tensor, " N"] | None = None,
    backend: str = "auto",
) -> Int[Tensor, "2 E"]:
    r"""Edges to each particle from its ``k`` nearest others, :math:`E = N k`; a directed graph.

    Distances are compared in float64 whatever the dtype of ``x``; of particles at the same distance the one of lower
    index is nearer. So all backends return the same edges. The graph is a constant to every derivative.

    Args:
        x: Velocities or positions :math:`(N, d)`.
        k: Neighbours of each particle, below the number of particles (of the smallest block).
        box: Side lengths of a periodic box, one for all axes or one for each; distances are then to the nearest
            image, and a particle is one neighbour, however many of its images are close.
        batch: Block of each particle, in any order; neighbours are sought inside the block only.
        backend: ``"kdtree"`` (SciPy, on the CPU), ``"torch_cluster"`` (no ``box``), or ``"auto"``: ``torch_cluster``
            for tensors on a CUDA device if it is installed with CUDA and there is no ``box``, else ``kdtree``.

    Shapes:
        - **output**: :math:`(2, E)`, row 0 sends, row 1 receives; sorted by receiver, then sender; no self-loops

    Memory is :math:`O(N k)`, also where particles coincide.

    Raises:
        ValueError: If an argument is out of range, tensors are non-finite or do not fit, or ``x`` is batched by
            ``torch.vmap``.
        ImportError: If ``backend="torch_cluster"`` and it is not installed.

    Example:
        >>> knn_edges(torch.tensor([[0.0], [1.0], [3.0]]), k=1)
        tensor([[1, 0, 1],
                [0, 1, 2]])
    """
    k = require_integer("k", k, minimum=1)

    def nearest(particles: _Particles, search: str) -> tuple[Tensor, Tensor]:
        smallest = int(particles.size.min())
        if k >= smallest:
            what = "number of particles" if batch is None else "size of the smallest block"
            raise InvalidArgument("k", f"must be below the {what}, {smallest}", k)
        return _nearest(particles, k, search)

    return _edges(x, box, batch, backend, nearest)


def radius_edges(
    x: Float[Tensor, "N d"],
    r: float,
    *,
    box: float | Sequence[float] | None = None,
    batch: Int[Tensor, " N"] | None = None,
    backend: str = "auto",
) -> Int[Tensor, "2 E"]:
    r"""Edges between all particles with :math:`|x_i - x_j| \le r`, in both directions.

    The criterion is evaluated in float64 whatever the dtype of ``x``, on what any backend finds within slightly more
    than ``r``: all return the same edges, and only a distance within float64 rounding of ``r`` may fall on either
    side. No neighbour is dropped, however many there are. The graph is a constant to every derivative.

    Args:
        x: Velocities or positions :math:`(N, d)`.
        r: Radius, positive.
        box: Side lengths of a periodic box, each at least :math:`2 r`, one for all axes or one for each.
        batch: Block of each particle, in any order; neighbours are sought inside the block only.
        backend: As for :func:`knn_edges`.

    Shapes:
        - **output**: :math:`(2, E)`, row 0 sends, row 1 receives; sorted by receiver, then sender; no self-loops

    Raises:
        ValueError: If an argument is out of range, tensors are non-finite or do not fit, ``x`` is batched by
            ``torch.vmap``, or there are more than 50 million edges.
        ImportError: If ``backend="torch_cluster"`` and it is not installed.

    Example:
        >>> radius_edges(torch.tensor([[0.0], [1.0], [3.0]]), r=1.5)
        tensor([[1, 0],
                [0, 1]])
    """
    r = require_positive("r", r)

    def within(particles: _Particles, search: str) -> tuple[Tensor, Tensor]:
        if particles.box is not None and float(particles.box.min()) < 2 * r:
            least = float(particles.box.min())
            raise InvalidArgument("box", f"must be at least twice the radius, {2 * r:g}, on every side", f"{least:g}")
        find = _cluster_within if search == "torch_cluster" else _tree_within
        sender, receiver = find(particles, r * (1 + MARGIN))
        close = particles.distance2(sender, receiver) <= r * r
        sender, receiver = sender[close], receiver[close]
        return torch.cat([sender, receiver]), torch.cat([receiver, sender])

    return _edges(x, box, batch, backend, within)


def measured(data: Data, on: str) -> Float[Tensor, "N d"]:
    """What distances are measured on, velocities or positions of a state.

    Raises:
        InvalidArgument: If the state lacks them, with the other if it has that; or they are no finite :math:`(N, d)`.
    """
    other = "pos" if on == "v" else "v"
    if data.get(on) is None and data.get(other) is not None:
        raise InvalidArgument("on", f"must be {other!r} for a state with {other!r} and without {on!r}", repr(on))
    return require_velocities(on, data.get(on), min_particles=1)


class _Particles(NamedTuple):
    """Particles sorted by block, in float64, wrapped into the box if there is one."""

    x: Tensor
    block: Tensor
    size: Tensor
    box: Tensor | None

    def distance2(self, sender: Tensor, receiver: Tensor) -> Tensor:
        """Squared distances, by separate additions in a fixed order: the same bits on every device."""
        total = self.x.new_zeros(sender.numel())
        for axis, column in enumerate(self.x.T.contiguous()):
            z = column[sender] - column[receiver]
            if self.box is not None:
                z = z - self.box[axis] * torch.round(z / self.box[axis])
            total = total + z * z
        return total


_Search = Callable[[_Particles, str], tuple[Tensor, Tensor]]


def _edges(x: Tensor, box: float | Sequence[float] | None, batch: Tensor | None, backend: str, find: _Search) -> Tensor:
    require_velocities("x", x, min_particles=1)
    require_one_of("backend", backend, BACKENDS)
    sides = None if box is None else _sides(box, x.size(1))
    search = _choose(backend, x.device, periodic=box is not None)

    def build(x: Tensor, batch: Tensor | None) -> Tensor:
        require_velocities("x", x, min_particles=1)
        partition = Partition.from_batch(batch, x)
        order = partition.order
        at = x.detach().double()[order]
        length = None
        if sides is not None:
            length = torch.tensor(sides, dtype=torch.float64, device=x.device)
            at = torch.remainder(at, length)
            at = torch.where(at < length, at, 0.0)
        sender, receiver = find(_Particles(at, partition.block[order], partition.size, length), search)
        # Receiver and sender as the two digits of one number: sorting takes no gathering.
        number = torch.sort(order[receiver] * x.size(0) + order[sender]).values
        receiver = torch.div(number, x.size(0), rounding_mode="floor")
        return torch.stack([number - receiver * x.size(0), receiver])

    edges = _Constant.apply(x, batch, build)
    assert isinstance(edges, Tensor)
    return edges


class _Constant(torch.autograd.Function):
    """An integer function of the values of its tensors: computed once, below every function transform."""

    @staticmethod
    def forward(x: Tensor, batch: Tensor | None, build: Callable[..., Tensor]) -> Tensor:
        return build(x, batch)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.mark_non_differentiable(output)

    @staticmethod
    def backward(ctx: Any, *_: Any) -> Any:
        return None, None, None

    @staticmethod
    def jvp(ctx: Any, *_: Any) -> Any:
        return None

    @staticmethod
    def vmap(info: Any, in_dims: Any, x: Tensor, batch: Any, build: Any) -> Any:
        raise InvalidArgument(
            "x", "must not be batched by vmap, each graph has edges of its own", f"a batch of {info.batch_size}"
        )


def _sides(box: float | Sequence[float], d: int) -> list[float]:
    box = as_numbers(box)
    if not isinstance(box, int | float | list | tuple):
        raise InvalidArgument("box", "must be a number or a list of numbers", repr(box))
    sides = [box] * d if isinstance(box, int | float) else list(box)
    if len(sides) != d:
        raise InvalidArgument("box", f"must be one side or one for each of {d} axes", f"{len(sides)} sides")
    return [require_positive("box", side) for side in sides]


def _choose(backend: str, device: torch.device, *, periodic: bool) -> str:
    if backend == "torch_cluster":
        if periodic:
            raise InvalidArgument("backend", "must be 'kdtree' or 'auto' for a periodic box", repr(backend))
        if not _cluster_installed():
            raise ImportError("backend 'torch_cluster' needs torch-cluster: pip install 'graphlandau[cluster]'")
        return backend
    on_cuda = backend == "auto" and device.type == "cuda" and not periodic and _cluster_installed()
    return "torch_cluster" if on_cuda and torch.ops.torch_cluster.cuda_version() > 0 else "kdtree"


@functools.cache
def _cluster_installed() -> bool:
    try:
        import torch_cluster  # noqa: F401  # pyright: ignore[reportMissingImports]
    # OSError where it was compiled for another torch.
    except (ImportError, OSError):
        return False
    return True


def _nearest(particles: _Particles, k: int, search: str) -> tuple[Tensor, Tensor]:
    """The k nearest others of each particle: more candidates are sought until none left out can be as near."""
    n = particles.x.size(0)
    candidates = _foremost(particles, k)
    receivers = torch.arange(n, device=particles.x.device)
    found = []
    # The particle itself, its k nearest and one farther.
    count = min(k + 2, n + 1)
    while receivers.numel():
        too_many = particles.x.is_cuda and count > MAX_NEAREST_ON_CUDA
        find = _cluster_nearest if search == "torch_cluster" and not too_many else _tree_nearest
        sender, receiver = find(particles, candidates, receivers, count)
        complete = torch.bincount(receiver, minlength=n) < count
        others = sender != receiver
        sender, receiver = sender[others], receiver[others]
        distance2 = particles.distance2(sender, receiver)
        order = torch.argsort(sender)
        for key in (distance2, receiver):
            order = order[torch.argsort(key[order], stable=True)]
        sender, receiver, distance2 = sender[order], receiver[order], distance2[order]
        degree = torch.bincount(receiver, minlength=n)
        first = torch.cumsum(degree, 0) - degree
        rank = torch.arange(order.numel(), device=order.device) - first[receiver]
        farthest = distance2[(first + degree - 1)[receivers]]
        kth = distance2[(first + k - 1)[receivers]]
        settled = complete
        settled[receivers] |= farthest > kth * (1 + MARGIN)
        keep = (rank < k) & settled[receiver]
        found.append(torch.stack([sender[keep], receiver[keep]]))
        receivers = receivers[~settled[receivers]]
        count = min(2 * count, n + 1)
    sender, receiver = torch.cat(found, dim=1)
    return sender, receiver


def _foremost(particles: _Particles, k: int) -> Tensor:
    """Particles that can be among the ``k`` nearest others of any: of those in one place, the first ``k + 1``.

    So a place costs what ``k + 1`` particles cost, however many are there.
    """
    n = particles.x.size(0)
    order = torch.arange(n, device=particles.x.device)
    for key in (*particles.x.T.contiguous(), particles.block):
        order = order[torch.argsort(key[order], stable=True)]
    x, block = particles.x[order], particles.block[order]
    elsewhere = (x[1:] != x[:-1]).any(1) | (block[1:] != block[:-1])
    number = torch.arange(n, device=order.device)
    first = torch.cummax(torch.where(nn.functional.pad(elsewhere, (1, 0), value=True), number, 0), 0).values
    return order[number - first <= k].sort().values


def _tree(particles: _Particles, apart: float, among: Tensor | None = None) -> tuple[KDTree, Any]:
    """A tree over all blocks, which lie ``apart`` from each other along one more axis, and the points of all.

    With ``among`` it is the tree of these particles alone.
    """
    x = particles.x
    box = None if particles.box is None else particles.box.tolist()
    if particles.size.numel() > 1:
        x = torch.cat([x, apart * particles.block[:, None]], dim=1)
        box = None if box is None else [*box, 0.0]
    points = x.cpu().numpy()
    return KDTree(points if among is None else points[among.cpu().numpy()], boxsize=box), points


def _tree_nearest(particles: _Particles, candidates: Tensor, receivers: Tensor, count: int) -> tuple[Tensor, Tensor]:
    x = particles.x
    diameter = float((x.amax(0) - x.amin(0)).norm())
    tree, points = _tree(particles, 2 * diameter if diameter > 0 else 1.0, candidates)
    _, index = tree.query(points[receivers.cpu().numpy()], k=count, workers=torch.get_num_threads())
    found = torch.from_numpy(index).to(x.device).flatten()
    there = found < candidates.numel()
    sender, receiver = candidates[found[there]], receivers.repeat_interleave(count)[there]
    inside = particles.block[sender] == particles.block[receiver]
    return sender[inside], receiver[inside]


def _tree_within(particles: _Particles, r: float) -> tuple[Tensor, Tensor]:
    tree, _ = _tree(particles, 2 * r)
    _require_few(int(tree.count_neighbors(tree, r)) - particles.x.size(0))
    pairs = torch.from_numpy(tree.query_pairs(r, output_type="ndarray")).to(particles.x.device)
    return pairs[:, 0], pairs[:, 1]


def _cluster_nearest(particles: _Particles, candidates: Tensor, receivers: Tensor, count: int) -> tuple[Tensor, Tensor]:
    from torch_cluster import knn  # pyright: ignore[reportMissingImports]

    block = particles.block
    # Its CUDA kernel sees nothing beyond 1e5: a power of two brings all particles within 1 and rounds none.
    x = particles.x * 2.0 ** -math.frexp(float(particles.x.abs().max()))[1]
    blocks = particles.size.numel()
    to, found = knn(x[candidates], x[receivers], count, block[candidates], block[receivers], batch_size=blocks)
    return candidates[found], receivers[to]


def _cluster_within(particles: _Particles, r: float) -> tuple[Tensor, Tensor]:
    from torch_cluster import radius  # pyright: ignore[reportMissingImports]

    x, block, blocks = particles.x, particles.block, particles.size.numel()
    found, pairs = [], 0
    start, most = 0, 64
    while start < x.size(0):
        end = min(start + max(1, RECEIVER_SLOTS // most), x.size(0))
        to, sender = radius(x, x[start:end], r, block, block[start:end], max_num_neighbors=most, batch_size=blocks)
        # A receiver with as many neighbours as allowed may have lost some: once more, with room for twice as many.
        if to.numel() and int(torch.bincount(to).max()) >= most:
            most *= 2
            continue
        once = sender < to + start
        found.append(torch.stack([sender[once], to[once] + start]))
        pairs += found[-1].size(1)
        _require_few(2 * pairs)
        start = end
    sender, receiver = torch.cat(found, dim=1)
    return sender, receiver


def _require_few(edges: int) -> None:
    if edges > MAX_EDGES:
        raise InvalidArgument("r", f"must leave at most {MAX_EDGES:,} edges", f"{edges:,}")
