r"""The Landau drift by a particle mesh: :math:`U = -[(A * \mu)(v) s - (A * s\mu)(v)]` from convolutions.

Of any kernel the lattice makes :math:`\tilde A(v_i, v_j)`, symmetric in the two particles, so that momentum is kept to
rounding. Its null space is only nearly right, so the energy is not: the drift is corrected by

.. math::
    U_i \to U_i + a (v_i - m), \qquad a = -\frac{\sum_i w_i v_i \cdot U_i}{\sum_i w_i |v_i - m|^2}

in each block, after which :math:`\sum_i w_i v_i \cdot U_i = 0` and the momentum is what it was.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from graphlandau.base.vectors import matvec
from graphlandau.graphs.partition import Partition
from graphlandau.nn.mesh.kernels import components, landau_multipliers, own_value
from graphlandau.nn.mesh.lattice import Mesh

__all__ = ["FlatBlock", "mesh_diffusion", "mesh_drift", "mesh_partials"]

# The error of the drift relative to its size, measured against direct sums (benchmarks/mesh.py): with h in widths (the
# smallest standard deviation, or that of narrow modes) and g = min(gamma + 3, 2), SMOOTH h^POWER for the density and
# NOISE h^(RATE + g) / sqrt(N) for particles within a cell of each other, both times e^(-3g/2). By the dimension.
SMOOTH = {2: (1.5e-2, 6.5), 3: (7e-3, 6.0)}
NOISE = {2: (1.9, 0.6), 3: (0.75, 1.05)}
# Coarsest cell, in standard deviations, whatever the tolerance.
COARSEST = 0.7
# Smallest standard deviation, beside the largest, at which a block is flat to rounding.
FLAT = 1e-7
# Particles of a block among which close pairs are counted, the share of pairs that is called close, and how many there
# must be: 500 pairs tell a width to 2 %.
SAMPLED = 1024
CLOSE = 1e-3
MIN_CLOSE = 50


class FlatBlock(ValueError):
    """Particles of a block that span fewer dimensions than they have, for which there is no width of a cell."""


@dataclass(frozen=True)
class _Fields:
    """A mesh over the particles, and the entries of ``A * mu`` beside ``A * s mu`` at its nodes."""

    mesh: Mesh
    scale: Tensor
    nodes: Tensor

    @classmethod
    def of(
        cls,
        v: Tensor,
        s: Tensor,
        weight: Tensor,
        partition: Partition,
        gamma: float,
        tolerance: float,
        at: Tensor | None,
    ) -> _Fields:
        d = v.size(1)
        mesh = Mesh.over(v, partition, drift_spacing(v, partition, gamma, tolerance), at=at)
        multipliers = landau_multipliers(mesh.padded, float(gamma), v.dtype, v.device)
        entry = {pair: k for k, pair in enumerate(components(d))}

        def multiply(transformed: Tensor) -> Iterator[Tensor]:
            mass, *field = transformed.unbind(1)
            for multiplier in multipliers:
                yield multiplier * mass
            for a in range(d):
                terms = [multipliers[entry[min(a, b), max(a, b)]] * field[b] for b in range(d)]
                yield sum(terms[1:], start=terms[0])

        nodes = mesh.fields(torch.cat([weight[:, None], weight[:, None] * s], dim=1), multiply)
        scale = partition.spread((mesh.spacing ** (gamma + 2)).to(v.dtype))
        return cls(mesh, scale[:, None], nodes)

    def gathered(self, at: Tensor | None) -> tuple[Tensor, Tensor]:
        r""":math:`A * \mu` and :math:`A * s \mu` at the particles, or at other places."""
        stencil = None if at is None else self.mesh.find(at)
        return _split(self.mesh.gather(self.nodes, stencil) * self.scale, len(self.mesh.shape))

    def slopes(self, at: Tensor | None) -> list[tuple[Tensor, Tensor]]:
        """Their derivatives in each direction."""
        stencil = None if at is None else self.mesh.find(at)
        width = self.mesh.partition.spread(self.mesh.spacing.to(self.scale.dtype))[:, None]
        return [
            _split(self.mesh.gather(self.nodes, slope) * (self.scale / width), len(self.mesh.shape))
            for slope in self.mesh.slopes(stencil)
        ]


def _split(columns: Tensor, d: int) -> tuple[Tensor, Tensor]:
    pairs = components(d)
    order = [pairs.index((min(a, b), max(a, b))) for a in range(d) for b in range(d)]
    return columns[:, order].unflatten(1, (d, d)), columns[:, len(pairs) :]


def mesh_drift(
    v: Float[Tensor, "N d"],
    s: Float[Tensor, "N d"],
    weight: Float[Tensor, " N"],
    partition: Partition,
    gamma: float,
    tolerance: float,
    at: tuple[Tensor, Tensor] | None = None,
) -> Float[Tensor, "N d"]:
    r""":math:`-\sum_j w_j A(v_i - v_j)(s_i - s_j)` over each block, for strength 1; its energy is exact.

    Args:
        v: Velocities.
        s: Scores.
        weight: Weights.
        partition: Blocks.
        gamma: Exponent in [-3, 0).
        tolerance: Relative error that decides about the lattice.
        at: Velocities and scores of test particles.

    Raises:
        ValueError: If the lattice for the tolerance would be too large.
    """
    fields = _Fields.of(v, s, weight, partition, gamma, tolerance, None if at is None else at[0])
    drift = _drift(fields, v, s, None)
    rate, mean = _heating(v, drift, weight, partition)
    if at is None:
        return drift + (rate * (v - mean)).to(v.dtype)
    return _drift(fields, *at, at[0]) + (rate * (at[0] - mean)).to(v.dtype)


def mesh_partials(
    v: Float[Tensor, "N d"],
    s: Float[Tensor, "N d"],
    weight: Float[Tensor, " N"],
    partition: Partition,
    gamma: float,
    tolerance: float,
    at: tuple[Tensor, Tensor] | None = None,
) -> tuple[Float[Tensor, "N d d"], Float[Tensor, "N d d"]]:
    r""":math:`\partial_v U` and :math:`\partial_s U` of :func:`mesh_drift`: derivatives of what it interpolates."""
    place = None if at is None else at[0]
    fields = _Fields.of(v, s, weight, partition, gamma, tolerance, place)
    matrix, field = fields.gathered(None)
    rate, _ = _heating(v, field - matvec(matrix, s), weight, partition)
    u = s if at is None else at[1]
    columns = [matvec(matrix, u) - field for matrix, field in fields.slopes(place)]
    by_s = _without_own(matrix if at is None else fields.gathered(place)[0], fields, weight, gamma)
    eye = torch.eye(v.size(1), dtype=v.dtype, device=v.device)
    return rate.to(v.dtype)[:, :, None] * eye - torch.stack(columns, dim=2), -by_s


def mesh_diffusion(
    v: Float[Tensor, "N d"],
    s: Float[Tensor, "N d"],
    weight: Float[Tensor, " N"],
    partition: Partition,
    gamma: float,
    tolerance: float,
    at: None = None,
) -> tuple[Float[Tensor, "N d d"], Float[Tensor, "N d"]]:
    r""":math:`D_i = \sum_j w_j A(v_i - v_j)` and its divergence, for strength 1; it does not depend on ``s``."""
    fields = _Fields.of(v, s, weight, partition, gamma, tolerance, at)
    slopes = [matrix[:, :, b] for b, (matrix, _) in enumerate(fields.slopes(None))]
    return _without_own(fields.gathered(None)[0], fields, weight, gamma), sum(slopes[1:], start=slopes[0])


def drift_spacing(v: Float[Tensor, "N d"], partition: Partition, gamma: float, tolerance: float) -> Float[Tensor, " B"]:
    """Width of a cell of each block at which the error of the drift is expected to be below ``tolerance``."""
    d = v.size(1)
    with torch.no_grad():
        size = partition.size.double()
        x = v.detach().double()
        x = x - partition.spread(partition.total(x) / size[:, None])
        covariance = partition.total(x[:, :, None] * x[:, None, :]) / size[:, None, None]
        deviations = torch.linalg.eigvalsh(covariance).clamp_min(0).sqrt()
        # A particle alone in its block feels nothing, whatever the width.
        deviation = torch.where(size > 1, deviations[:, 0], 1.0)
        flat = deviation <= FLAT * deviations[:, -1]
        if bool(flat.any()):
            block = int(flat.nonzero()[0])
            raise FlatBlock(
                f"'v' must span all {d} dimensions in every block for the backend 'mesh' (got a flat covariance in "
                f"block {block} of {int(partition.size[block])} particles)"
            )
        # Two errors that add up as squares: a part of the tolerance for each, and a margin for what is narrower in
        # some place than the whole.
        (smooth, power), (noise, rate) = SMOOTH[d], NOISE[d]
        softer = min(gamma + 3, 2.0)
        allowed = tolerance * math.exp(1.5 * softer)
        coarsest = min(COARSEST, (0.35 * allowed / smooth) ** (1 / power))
        finest = (0.5 * allowed * size.sqrt() / noise) ** (1 / (rate + softer))
        return torch.minimum(deviation, _core_widths(x, partition)) * finest.clamp_max(coarsest)


def _core_widths(x: Tensor, partition: Partition) -> Tensor:
    """Standard deviation of a Gaussian with as many close pairs as each block, infinite for a block of few particles.

    Modes much narrower than their distance have more close pairs than the standard deviation of the whole tells.
    """
    d, widths = x.size(1), x.new_full((partition.count,), math.inf)
    # The distance within which a share CLOSE of the pairs of a standard Gaussian are.
    unit = (
        math.sqrt(-4 * math.log1p(-CLOSE)) if d == 2 else math.sqrt(2) * (3 * CLOSE * math.sqrt(math.pi / 2)) ** (1 / 3)
    )
    sizes, firsts = partition.size.tolist(), partition.first.tolist()
    for block, (size, first) in enumerate(zip(sizes, firsts, strict=True)):
        some = partition.order[first : first + size][:: max(1, size // SAMPLED)]
        distances = torch.nn.functional.pdist(x[some])
        rank = int(CLOSE * distances.numel())
        if rank >= MIN_CLOSE:
            widths[block] = torch.kthvalue(distances, rank).values / unit
    # Where so many particles coincide they tell nothing about widths.
    return torch.where(widths > 0, widths, math.inf)


def _without_own(matrix: Tensor, fields: _Fields, weight: Tensor, gamma: float) -> Tensor:
    r""":math:`A * \mu` without what each particle adds to it at its own place, which is the same in all directions."""
    mesh = fields.mesh
    multiplier = landau_multipliers(mesh.padded, float(gamma), weight.dtype, weight.device)[0]
    own = weight[:, None] * fields.scale * own_value(multiplier, mesh.padded)
    return matrix - own[:, :, None] * torch.eye(len(mesh.shape), dtype=weight.dtype, device=weight.device)


def _drift(fields: _Fields, x: Tensor, u: Tensor, at: Tensor | None) -> Tensor:
    matrix, field = fields.gathered(at)
    return field - matvec(matrix, u)


def _heating(v: Tensor, drift: Tensor, weight: Tensor, partition: Partition) -> tuple[Tensor, Tensor]:
    """The rate that takes the work out of the drift, and the mean velocity, of each particle's block, in float64."""
    x, u, w = v.double(), drift.double(), weight.double()[:, None]
    mean = partition.spread(partition.total(w * x) / partition.total(w))
    x = x - mean
    # The drift of the mean does no work on what is left: its momentum is zero.
    work, square = (partition.total((w * y).sum(1, keepdim=True)) for y in (x * u, x * x))
    return partition.spread(-work / square.clamp_min(torch.finfo(torch.float64).tiny)), mean
