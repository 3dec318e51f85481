"""What is known about a kinetic problem: densities of one or two coordinates, distance from equilibrium."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from graphlandau.problems import PhaseDensity, PhaseGaussian, PhaseProduct
from graphlandau.run.record import RunRecord

__all__ = ["equilibrium_free_energy", "line_density", "plane_density", "relative_entropies", "target"]

# Gauss-Hermite nodes per coordinate: exact for polynomials of degree 5.
_NODES = 3


def plane_density(density: PhaseDensity, x: Tensor, v: Tensor) -> Tensor | None:
    r"""Return the density of :math:`(x_1, v_1)` on the grid ``x`` times ``v``, ``None`` where there is no formula."""
    if isinstance(density, PhaseProduct):
        return density.x[0].log_prob(x).exp()[:, None] * density.v[0].log_prob(v).exp()
    points = torch.cartesian_prod(x, v)
    if isinstance(density, PhaseGaussian):
        pair = [0, density.d_x]
        density = PhaseGaussian(density.mean[pair], density.covariance[pair][:, pair], d_x=1)
    if density.d > 1:
        return None
    return density.log_prob(points[:, :1], points[:, 1:]).exp().reshape(len(x), len(v))


def line_density(density: PhaseDensity, coordinate: int, points: Tensor) -> Tensor | None:
    r"""Return the density of one entry of :math:`(x, v)`, ``None`` where there is no formula."""
    if isinstance(density, PhaseProduct):
        return (*density.x, *density.v)[coordinate].log_prob(points).exp()
    if isinstance(density, PhaseGaussian):
        variance = float(density.covariance[coordinate, coordinate])
        square = (points - float(density.mean[coordinate])).square() / variance
        return (-0.5 * square).exp() / math.sqrt(2 * math.pi * variance)
    return None


def target(run: RunRecord, t: float) -> tuple[PhaseDensity, str] | None:
    """Return what the particles at ``t`` are compared with: the exact solution, else the stationary density.

    The latter only in a run of at least one collision time, which may come near it.
    """
    problem = run.problem
    if problem.density(problem.t_end) is not None:
        return problem.density(t), "exact"
    stationary = problem.equilibrium()
    relaxed = problem.epsilon * (run.time_span[1] - run.time_span[0]) >= 1
    return (stationary, "stationary") if stationary is not None and relaxed else None


def relative_entropies(run: RunRecord, times: Sequence[float]) -> list[float] | None:
    r"""Return the exact :math:`\int f \log (f / f_\infty)` at these times, ``None`` unless the solution is normal.

    By Gauss-Hermite quadrature, exact to rounding: a solution that stays normal has a normal limit, and the logarithm
    of their ratio is quadratic.
    """
    problem = run.problem
    densities, stationary = [problem.density(float(t)) for t in times], problem.stationary()
    normal = [density for density in densities if isinstance(density, PhaseGaussian)]
    if stationary is None or len(normal) < len(densities):
        return None
    nodes, weights = (torch.from_numpy(each) for each in np.polynomial.hermite_e.hermegauss(_NODES))
    coordinates = problem.d_x + problem.d
    z = torch.cartesian_prod(*[nodes] * coordinates)
    w = torch.cartesian_prod(*[weights / weights.sum()] * coordinates).prod(1)

    def distance(density: PhaseGaussian) -> float:
        points = density.mean + z @ torch.linalg.cholesky(density.covariance).T
        x, v = points[:, : problem.d_x], points[:, problem.d_x :]
        return float(w @ (density.log_prob(x, v) + math.log(problem.mass) - stationary(x, v)))

    return [problem.mass * distance(density) for density in normal]


def equilibrium_free_energy(run: RunRecord) -> float | None:
    r"""Return the free energy of :math:`f_\infty`, ``None`` where that is not known."""
    return run.problem.equilibrium_free_energy()
