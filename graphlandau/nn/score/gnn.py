"""A graph network on top of the Gaussian score."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch_geometric.nn import MLP

from graphlandau.base.errors import InvalidArgument
from graphlandau.base.validation import (
    require_edge_index,
    require_integer,
    require_one_of,
    require_parts,
    require_positive,
)
from graphlandau.graphs.neighbours import BACKENDS, knn_edges, radius_edges
from graphlandau.graphs.partition import Partition
from graphlandau.nn.conv.equivariant_conv import EquivariantConv
from graphlandau.nn.score.base import ScoreModel, given
from graphlandau.nn.score.gated import GatedScore
from graphlandau.nn.score.whitened import transformed

__all__ = ["GNNScore"]

# Probes of the divergence by which particles that were not trained on judge the network.
PROBES = 4

# Squared distances, in whitened velocities, that the messages resolve.
SCALES = (0.1, 1.0, 10.0)


class GNNScore(GatedScore):
    r"""The Gaussian score of the particles plus equivariant messages between particles that are close.

    In whitened velocities :math:`x = \Sigma^{-1/2} (v - m)`, with node features :math:`h` and layers :math:`l < L`,

    .. math::
        s_x(x_i) = -x_i + g \Bigl[ x_i \, \phi_m(|x_i|^2, h_i^{L-1}) + \sum_{l} \sum_j w_{ij} \, (x_i - x_j) \,
        \phi_l(|x_i - x_j|^2, h_i^l, h_j^l) \Bigr], \qquad
        h_i^{l+1} = h_i^l + \sum_j w_{ij} \, \psi_l(|x_i - x_j|^2, h_i^l, h_j^l)

    :math:`h^0 = \psi_m(|x_i|^2)` and :math:`\phi_m` are messages from the mean velocity of all particles, a virtual
    node that tells a particle how far out it is; without it (``mean_node=False``) :math:`h^0 = 0` and only
    relative velocities of neighbours count. The score turns, is reflected, moves and is permuted with the particles.
    All :math:`\phi` start at zero, so the untrained model is the Gaussian score. As in
    :class:`~graphlandau.nn.ResidualScore`, ``condition`` takes :math:`m` and :math:`\Sigma` from the particles and
    ``judge`` sets the gate :math:`g \in \{0, 1\}`. Dimensionless.

    The graph is built afresh from the velocities given, inside each plasma of a ``batch``; or ``edge_index`` is the
    graph, such as that of a PyG transform (:math:`k` is then the number of edges to each particle). Its weights fall
    smoothly to zero where a neighbour leaves:

    - ``radius``: :math:`w_{ij} \propto (1 - r^2/R^2)^2 / N`, normalised so that :math:`\sum_j w_{ij}` estimates the
      density in units of a standard Gaussian's peak. The sums are Monte Carlo estimates of the same integrals for any
      number of particles: a network trained on minibatches means the same on all particles.
    - ``k``: :math:`w_{ij} = (1 - r^2/r_k^2)^2 / k` with the distance :math:`r_k` to the k-th neighbour. The
      neighbourhood of n particles has a radius :math:`\propto (k/n)^{1/d}`: train on all particles, or on minibatches
      not much smaller, or scale ``k`` with n.

    It couples particles (``pointwise`` is ``False``): train it with ``objective="hutchinson"`` or ``"denoising"``.
    Time :math:`O(L E \, \text{width}^2)`; memory :math:`O(E \, \text{width})` in training, with :math:`E = N k` edges.

    **What it buys and costs** (2D BKW, 4,000 particles, t in [1, 5], radius 0.5, ``experiments/graph_network.py``).
    The relative Fisher divergence is 0.004 on average and 0.011 at most; that of ``ClosedFormScore`` 0.005 and 0.021,
    that of ``ResidualScore`` 0.07 (it falls back to the Gaussian) or 0.03 with nothing held out. A time step costs
    1.3 s, 25 times ``ResidualScore`` and 90 times ``ClosedFormScore``. On BKW most of the gain comes from the mean
    node. For structure that is not round about the mean, such as two beams, prefer the other two: neighbours alone
    say little about it. With ``k`` neighbours train on all particles: minibatches see a wider graph than that on
    which the score is used.

    Args:
        d: Velocity dimensions.
        k: Neighbours of each particle.
        radius: Radius :math:`R` of the neighbourhood, in thermal speeds. Exactly one of ``k`` and ``radius``.
        layers: Number of message-passing layers :math:`L`.
        width: Number of node features, and units in each hidden layer of the messages.
        depth: Hidden layers of the messages.
        mean_node: Whether the mean velocity sends messages, too.
        backend: Of the neighbour search, see :func:`~graphlandau.graphs.knn_edges`.

    Raises:
        ValueError: If both or neither of ``k`` and ``radius`` are given, or one argument is not positive; when called,
            if there are no more than ``k`` particles.

    Example:
        >>> v = torch.randn(100, 3, generator=torch.Generator().manual_seed(0))
        >>> score = GNNScore(3, k=8)
        >>> score.condition(v)
        >>> torch.allclose(score(v).T @ v / 100, -torch.eye(3), atol=1e-5)
        True

    Reference: Satorras, Hoogeboom and Welling, arXiv:2102.09844, for the messages; the base, the weights and the
    mean as a virtual node are ours.
    """

    pointwise = False

    def __init__(
        self,
        d: int,
        *,
        k: int | None = None,
        radius: float | None = None,
        layers: int = 2,
        width: int = 8,
        depth: int = 1,
        mean_node: bool = True,
        backend: str = "auto",
    ) -> None:
        super().__init__(d)
        if (k is None) == (radius is None):
            raise InvalidArgument("k", "or 'radius' must be given, and the other be null", f"k={k}, radius={radius}")
        self.k = None if k is None else require_integer("k", k, minimum=1)
        self.radius = None if radius is None else require_positive("radius", radius)
        self.width = require_integer("width", width, minimum=1)
        layers = require_parts("layers", layers, minimum=1)
        depth = require_parts("depth", depth, minimum=1)
        self.backend = require_one_of("backend", backend, BACKENDS)
        self.min_particles = 1 if self.k is None else self.k + 1
        self.convs = nn.ModuleList(
            EquivariantConv(
                phi=_Message(width, 1, depth, zero=True),
                psi=_Message(width, width, depth) if layer < layers - 1 else None,
            )
            for layer in range(layers)
        )
        self.mean_features = _perceptron(len(SCALES), width, width, depth) if mean_node else None
        self.mean_message = _perceptron(len(SCALES) + width, width, 1, depth, zero=True) if mean_node else None

    def __repr__(self) -> str:
        neighbours = f"radius={self.radius:g}" if self.radius is not None else f"k={self.k}"
        layers, mean_node = len(self.convs), self.mean_message is not None
        return f"GNNScore(d={self.d}, {neighbours}, layers={layers}, width={self.width}, mean_node={mean_node})"

    def correction_and_divergence(
        self, x: Tensor, batch: Tensor | None = None, edge_index: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The messages and their divergence, each particle in its own velocity, by four fixed Rademacher probes."""
        graph = given(batch=batch, edge_index=edge_index)
        divergence = torch.zeros_like(x[:, 0])
        value = torch.zeros_like(x)
        for z in _probes(x, Partition.from_batch(batch, x)):
            value, tangent = torch.func.jvp(lambda y: self.correction(y, **graph), (x,), (z,))[:2]
            divergence = divergence + (z * tangent).sum(1) / PROBES
        return value, divergence

    def forward(
        self,
        v: Float[Tensor, "N d"],
        *,
        batch: Int[Tensor, " N"] | None = None,
        edge_index: Int[Tensor, "2 E"] | None = None,
    ) -> Float[Tensor, "N d"]:
        """Score at ``v``; along ``edge_index`` instead of the neighbours' edges if it is given."""
        x, root = self.whiten(v, batch), self.of_plasma(self.whitening.to(v), batch)
        s = self.gate_of(batch) * self.correction(x, **given(batch=batch, edge_index=edge_index)) - x
        return transformed(s, root)

    def value_and_jacobian(
        self,
        v: Float[Tensor, "N d"],
        batch: Int[Tensor, " N"] | None = None,
        edge_index: Int[Tensor, "2 E"] | None = None,
    ) -> tuple[Float[Tensor, "N d"], Float[Tensor, "N d d"]]:
        """Score and diagonal blocks of its Jacobian, see :meth:`ScoreModel.value_and_jacobian`."""
        return ScoreModel.value_and_jacobian(self, v, batch, edge_index)

    def correction(
        self,
        x: Float[Tensor, "N d"],
        batch: Int[Tensor, " N"] | None = None,
        edge_index: Int[Tensor, "2 E"] | None = None,
    ) -> Float[Tensor, "N d"]:
        """What the messages add to the Gaussian score, in whitened velocities."""
        edge_index, edge_weight = self._graph(x, batch, edge_index)
        r2 = _radial(x.square().sum(1, keepdim=True))
        h = x.new_zeros(x.size(0), self.width) if self.mean_features is None else self.mean_features(r2)
        total = torch.zeros_like(x)
        for conv in self.convs:
            y, g = conv(x, h, edge_index, edge_weight)
            total = total + y
            h = h + g if g.size(1) else h
        if self.mean_message is None:
            return total
        return total + x * self.mean_message(torch.cat([r2, h], dim=1))

    def _graph(self, x: Tensor, batch: Tensor | None = None, edge_index: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Edges between neighbours in each plasma, or those given, and their weights."""
        if edge_index is not None:
            require_edge_index("edge_index", edge_index, x)
        if self.radius is not None:
            edges = (
                radius_edges(x, self.radius, batch=batch, backend=self.backend) if edge_index is None else edge_index
            )
            # Over the integral of (1 - r^2/R^2)^2, times (2 pi)^(d/2).
            factor = 2 ** (self.d / 2 - 1) * math.gamma(self.d / 2 + 3)
            closeness = 1 - _squares(x, edges) / self.radius**2
            if edge_index is not None:
                closeness = closeness.clamp_min(0)
            if batch is None:
                return edges, factor / (self.radius**self.d * x.size(0)) * closeness.square()
            partition = Partition.from_batch(batch, x)
            particles = partition.spread(partition.size)[edges[1]].to(x.dtype)
            return edges, factor / (self.radius**self.d * particles) * closeness.square()
        assert self.k is not None
        if edge_index is None:
            edges = knn_edges(x, self.k, batch=batch, backend=self.backend)
            # Sorted by receiver: k edges each.
            r2 = _squares(x, edges).view(-1, self.k)
            reach = r2.amax(1, keepdim=True).clamp_min(torch.finfo(x.dtype).tiny)
            return edges, (1 - r2 / reach).square().flatten() / self.k
        r2, receiver = _squares(x, edge_index), edge_index[1]
        reach = r2.new_zeros(x.size(0)).scatter_reduce(0, receiver, r2, "amax").clamp_min(torch.finfo(x.dtype).tiny)
        degree = torch.bincount(receiver, minlength=x.size(0)).to(x.dtype)
        return edge_index, (1 - r2 / reach[receiver]).square() / degree[receiver]


def _probes(x: Tensor, partition: Partition) -> Iterator[Tensor]:
    """Rademacher vectors, the same for the particles of each plasma as if it were alone."""
    sources = [torch.Generator().manual_seed(0) for _ in range(partition.count)]
    sizes = partition.size.tolist()
    for _ in range(PROBES):
        drawn = [torch.randint(0, 2, (n, x.size(1)), generator=g) for n, g in zip(sizes, sources, strict=True)]
        z = torch.empty_like(x)
        z[partition.order] = (2 * torch.cat(drawn) - 1).to(x)
        yield z


class _Message(nn.Module):
    """A perceptron of the distance and of the features at both ends."""

    def __init__(self, width: int, outputs: int, depth: int, *, zero: bool = False) -> None:
        super().__init__()
        self.network = _perceptron(len(SCALES) + 2 * width, width, outputs, depth, zero=zero)

    def forward(self, r2: Tensor, h_i: Tensor, h_j: Tensor) -> Tensor:
        return self.network(torch.cat([_radial(r2), h_i, h_j], dim=1))


def _perceptron(inputs: int, width: int, outputs: int, depth: int, *, zero: bool = False) -> nn.Module:
    network = MLP([inputs, *[width] * depth, outputs], act="silu", norm=None)
    if zero:
        for parameter in network.lins[-1].parameters():
            nn.init.zeros_(parameter)
    return network


def _squares(x: Tensor, edge_index: Tensor) -> Tensor:
    return (x[edge_index[1]] - x[edge_index[0]]).square().sum(1)


def _radial(r2: Tensor) -> Tensor:
    r"""Squared distances :math:`(N, 1)` on several scales, bounded so that no message grows in the tails."""
    return torch.cat([r2 / (scale + r2) for scale in SCALES], dim=1)
