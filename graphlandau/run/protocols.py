"""The two evaluation protocols of the global-in-time paper: one for transport, one for densities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from graphlandau.base.errors import InvalidArgument
from graphlandau.base.validation import as_number, require_integer
from graphlandau.diagnostics import (
    gaussian_kde,
    grid_axes,
    grid_points,
    relative_l2_error,
)
from graphlandau.methods import Method
from graphlandau.nn.flow import FlowMap
from graphlandau.problems import Problem
from graphlandau.run.simulation import Simulation

__all__ = ["density_error", "density_protocol", "transport_protocol"]

Row = dict[str, Any]


def transport_protocol(
    problem: Problem, method: Method, *, particles: int = 10_000, seed: int = 0, **options: Any
) -> list[Row]:
    r"""Protocol P1: transport of a fixed set of initial particles, the same for every method.

    The particles are drawn from ``seed`` alone, so all methods move the same ones. A row at every snapshot has ``t``;
    ``energy`` :math:`\tfrac12 \langle|v|^2\rangle` and its relative drift; ``entropy_dissipation``; and where the
    solution is known ``rel_trajectory_error`` and ``rel_fisher_divergence`` (else ``None``).

    Args:
        problem: What is solved.
        method: How.
        particles: Number of particles.
        seed: Their seed.
        options: Further arguments of :class:`~graphlandau.run.Simulation`: ``dt``, ``t_end``, ``snapshots``...

    Returns:
        One row per snapshot.

    Raises:
        ValueError: As the simulation does.

    Example:
        >>> from graphlandau.methods import Blob
        >>> from graphlandau.problems import BKW
        >>> rows = transport_protocol(BKW(d=2), Blob(), particles=200, dt=0.1, t_end=0.2, snapshots=3)
        >>> [row["t"] for row in rows], rows[0]["rel_trajectory_error"] < 1e-30
        ([0.0, 0.1, 0.2], True)

    Reference: arXiv:2603.10874, Section 5.1. The reference trajectories there are Euler steps with the exact score;
    ours are the exact characteristics.
    """
    run = Simulation(problem, method, particles=particles, seed=seed, **{"baselines": False, **options})
    result = run.run()
    keys = ("t", "energy", "energy_rel_drift", "entropy_dissipation", "rel_trajectory_error", "rel_fisher_divergence")
    steps = run.snapshot_steps
    return [{key: row.get(key) for key in keys} for row in result.metrics if row["step"] in steps]


@torch.no_grad()
def density_protocol(
    problem: Problem,
    flow: FlowMap,
    times: Sequence[float],
    *,
    samples: int = 100_000,
    seed: int = 0,
    grid: tuple[float, int] | None = None,
) -> list[Row]:
    r"""Protocol P2: density estimates from many samples of a learned flow, drawn anew at every time.

    A row for each time has ``t`` and ``rel_l2_density``, the relative :math:`L^2` error of the kernel density estimate
    on the problem's grid, beside ``rel_l2_density_fresh``, that of as many exact samples: what the kernel and the
    sample alone make of it.

    Args:
        problem: A problem with a grid whose exact density is known.
        flow: Learned flow.
        times: Times.
        samples: Particles at each time.
        seed: Seed of the particles.
        grid: Half width and points per axis of the grid; the problem's own unless given.

    Raises:
        ValueError: If the density is not known, or a time is outside those of the flow.

    Reference: arXiv:2603.10874, Section 5.1.
    """
    samples = require_integer("samples", samples, minimum=2)
    like = flow.like
    generator = torch.Generator().manual_seed(as_number(seed))
    rows = []
    for t in times:
        v0 = problem.sample(samples, generator=generator).to(like)
        moved = density_error(problem, flow.at(v0, t), t, grid)
        fresh = density_error(problem, problem.sample(samples, generator=generator, t=t), t, grid)
        rows.append({"t": t, "rel_l2_density": moved, "rel_l2_density_fresh": fresh})
    return rows


def density_error(problem: Problem, v: Float[Tensor, "N d"], t: float, grid: tuple[float, int] | None = None) -> float:
    r"""Relative :math:`L^2` error of the kernel density estimate of particles, with the problem's bandwidth.

    Args:
        problem: A problem whose density at ``t`` is known.
        v: Particles.
        t: Time.
        grid: Half width and points per axis of the grid; the problem's own unless given.

    Raises:
        ValueError: If the density is not known, or there is no grid.
    """
    grid, density = problem.grid if grid is None else grid, problem.density(t)
    if grid is None or density is None:
        raise InvalidArgument("problem", "must have a known density and a grid", f"{problem.name} at t = {t:g}")
    axes = grid_axes(*grid, problem.d)
    exact = density.log_prob(grid_points(axes)).exp().reshape([axis.numel() for axis in axes])
    return float(relative_l2_error(gaussian_kde(v.double().cpu(), axes, problem.bandwidth), exact))
