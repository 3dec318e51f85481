r"""Pair sums in :math:`O(N + M^d \log M)`: particles to a lattice, a convolution there, and back.

Particles are spread over a cubic lattice by cubic B-splines, convolved with a kernel by a zero-padded FFT, and the
result is gathered by the same splines, so that spreading and gathering are adjoint: of an even kernel every pair sum is
symmetric in its two particles to rounding. What the lattice cannot resolve is left out: two particles closer than about
a cell feel a kernel that is smooth at its scale. For :math:`N` particles that makes an error like :math:`h^{3/2} /
\sqrt N`, beside one of the smooth density that falls like :math:`h^6` (:func:`spacing`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from graphlandau.base import distributed
from graphlandau.graphs.grid import Grid
from graphlandau.graphs.particle_cells import Stencil, particle_cells
from graphlandau.graphs.partition import Partition
from graphlandau.graphs.stencil_sums import collect, spread

__all__ = ["MESH_MEMORY", "Mesh", "MeshTooLarge"]

# Most memory that the fields of one block may take; a finer lattice is refused.
MESH_MEMORY = 2 * 2**30
# Blocks are transformed as many at a time as fit into this.
BLOCKS_MEMORY = 2**28
ORDER = 3
# Cells between the outermost particles and the end of the lattice: a cubic spline needs one.
MARGIN = 1.5
# A cubic spline has four nodes in each direction, and a grid four cells.
MIN_NODES = 5

# What a convolution does: transforms of what was spread (b, q, ...) to those of each result (b, ...).
Multiply = Callable[[Tensor], Iterable[Tensor]]


@dataclass(frozen=True)
class Mesh:
    """A lattice over the particles of each block, all of one shape, each with a spacing and a corner of its own.

    Args:
        partition: The blocks.
        spacing: Width of a cell of each block, ``(B,)``.
        shape: Nodes in each direction.
        padded: Size of the transforms in each direction.
        low: Corner of each particle's lattice, ``(N, d)``.
        particles: What is spread over the lattices.
    """

    partition: Partition
    spacing: Float[Tensor, " B"]
    shape: tuple[int, ...]
    padded: tuple[int, ...]
    low: Float[Tensor, "N d"]
    particles: Float[Tensor, "N d"]

    @classmethod
    def over(
        cls,
        x: Float[Tensor, "N d"],
        partition: Partition,
        spacing: Float[Tensor, " B"],
        *,
        reach: Float[Tensor, " B"] | None = None,
        at: Float[Tensor, "N d"] | None = None,
    ) -> Mesh:
        """Lattices of the given spacing that hold ``x``, and ``at``.

        Args:
            x: Particles.
            partition: Their blocks.
            spacing: Width of a cell of each block.
            reach: How far the kernel of each block reaches; everywhere unless given.
            at: Where fields are wanted too.

        Raises:
            ValueError: If the lattice would not fit into ``MESH_MEMORY``; it says how large it would be.
        """
        points = x.detach() if at is None else torch.cat([x, at]).detach()
        if partition.count == 1:
            low, high = points.aminmax(dim=0, keepdim=True)
        else:
            block = partition.block if at is None else partition.block.repeat(2)
            low, high = (
                points.new_empty(partition.count, x.size(1)).index_reduce_(0, block, points, name, include_self=False)
                for name in ("amin", "amax")
            )
        cells = ((high - low).double() / spacing[:, None]).amax(0)
        if not bool(cells.isfinite().all()):
            raise MeshTooLarge((math.inf,) * x.size(1), math.inf)
        nodes = [max(math.ceil(float(c)) + math.ceil(2 * MARGIN) + 1, MIN_NODES) for c in cells]
        wide = [n - 1 for n in nodes]
        if reach is not None:
            most = math.ceil(float((reach.double() / spacing).max()))
            wide = [min(n, most) for n in wide]
        least = [n + extra for n, extra in zip(nodes, wide, strict=True)]
        _require_affordable(nodes, least, x)
        padded = tuple(_fast_size(n) for n in least)
        if reach is None:
            nodes = [(n + 1) // 2 for n in padded]
        width = spacing.to(x.dtype)
        corner = partition.spread(low - MARGIN * width[:, None])
        return cls(partition, spacing, tuple(nodes), padded, corner, x)

    @cached_property
    def stencil(self) -> Stencil:
        """Where the particles of this rank are."""
        return self.find(self.particles)

    def find(self, x: Float[Tensor, "N d"]) -> Stencil:
        """The nodes around each of the ``x`` of this rank."""
        place = distributed.shard((x - self.low) / self.partition.spread(self.spacing.to(x.dtype))[:, None])
        cells = [n - 1 for n in self.shape]
        grid = Grid([float(n) for n in cells], cells, periodic=False)
        several = self.partition.count > 1
        copy = self.partition.block[distributed.shard_rows(x.size(0))] if several else None
        return particle_cells(place, grid, ORDER, copy, self.partition.count)

    def fields(
        self, values: Float[Tensor, "N q"], multiply: Multiply, dtype: torch.dtype | None = None
    ) -> Float[Tensor, "nodes r"]:
        """What ``multiply`` makes of the transforms of ``values``, at the nodes of all lattices.

        Args:
            values: What the particles carry.
            multiply: Takes transforms ``(b, q, ...)`` of some blocks, gives those of the results ``(b, ...)``.
            dtype: Of the transforms, that of ``values`` unless given.
        """
        dims = tuple(range(-len(self.shape), 0))
        crop = tuple(slice(0, n) for n in self.shape)
        blocks = self.partition.count
        charge = distributed.sum_partial(spread(self.stencil, distributed.shard(values)))
        charge = charge.T.unflatten(1, (blocks, *self.shape)).transpose(0, 1).to(dtype or values.dtype)
        together = max(1, int(BLOCKS_MEMORY / _memory(self.padded, charge)))
        parts = []
        for first in range(0, blocks, together):
            transformed = torch.fft.rfftn(charge[first : first + together], s=self.padded, dim=dims)
            results = [
                torch.fft.irfftn(x, s=self.padded, dim=dims)[(slice(None), *crop)].flatten().to(values.dtype)
                for x in multiply(transformed)
            ]
            parts.append(torch.stack(results, dim=1))
        return torch.cat(parts)

    def gather(self, fields: Float[Tensor, "nodes r"], stencil: Stencil | None = None) -> Float[Tensor, "N r"]:
        """Values of ``fields`` at the particles, or at other places whose ``stencil`` :meth:`find` gave."""
        n = self.partition.block.numel()
        return distributed.replicate(collect(stencil or self.stencil, distributed.partial_gradient(fields)), n)

    def slopes(self, stencil: Stencil | None = None) -> list[Stencil]:
        """Stencils that gather the derivatives of a field in each direction, in units of one over the spacing."""
        return [(stencil or self.stencil).derivative(axis) for axis in range(len(self.shape))]


def _fast_size(n: int) -> int:
    """The next even number without prime factors above 5.

    Of an odd size no wave number is its own negative, where entries of the kernel that are odd in it jump: measured,
    errors are several times larger.
    """
    size = n + n % 2
    while True:
        rest = size
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return size
        size += 2


def _memory(padded: Sequence[int], like: Tensor) -> float:
    # Multipliers, transforms of what was spread, a result on its way, and all results on the unpadded lattice.
    d = len(padded)
    numbers = d * (d + 1) / 4 + (d + 1) + 2 + (d * (d + 3) / 2) / 2**d
    return math.prod(float(n) for n in padded) * numbers * like.element_size()


def _require_affordable(nodes: Sequence[int], padded: Sequence[int], like: Tensor) -> None:
    needed = _memory(padded, like)
    if needed > MESH_MEMORY:
        raise MeshTooLarge(tuple(nodes), needed)


class MeshTooLarge(ValueError):
    """A lattice that does not fit into the memory for it."""

    def __init__(self, nodes: tuple[float, ...], needed: float) -> None:
        self.nodes, self.needed = nodes, needed
        size = " x ".join(f"{n:g}" if n > 1e6 else str(n) for n in nodes)
        super().__init__(
            f"the mesh would need {size} nodes ({needed / 2**30:.3g} GiB of at most {MESH_MEMORY / 2**30:g})"
        )
