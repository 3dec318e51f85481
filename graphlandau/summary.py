"""What a run leaves in ``summary.json``: what was run, where, and every number at its end."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch

import graphlandau
from graphlandau.diagnostics import (
    covariance,
    effective_particles,
    equilibrium_distance_mc,
    equilibrium_entropy,
    temperature,
)
from graphlandau.methods import Method
from graphlandau.nn.reduce import choose_backend
from graphlandau.problems import Problem

if TYPE_CHECKING:
    from graphlandau.simulation import Simulation

__all__ = ["class_names", "left_out", "machine_facts", "summarise"]


def class_names(problem: Problem, method: Method) -> dict[str, str | None]:
    """Return names of problem, method and score model for a run that was not composed from presets."""
    score = getattr(method, "model", None)
    return {
        "problem": problem.name,
        "method": type(method).__name__.lower(),
        "score": None if score is None else type(score).__name__,
    }


def machine_facts(run: Simulation) -> dict[str, Any]:
    """Return what decides the last bits of a run: device, dtype, backend, threads, versions."""
    backend = getattr(run.method, "backend", None)
    return {
        "device": str(run.device),
        "dtype": str(run.dtype).removeprefix("torch."),
        "backend": choose_backend(run.problem.gamma) if backend == "auto" else backend,
        "threads": torch.get_num_threads(),
        "torch_version": torch.__version__,
        "graphlandau_version": graphlandau.__version__,
    }


def left_out(columns: Iterable[str]) -> set[str]:
    """Return the columns of the metrics that a summary of a run does not repeat, or gives in another form."""
    return {"step", "t", "wall_seconds", "cov_trace", *(key for key in columns if key[-1].isdigit())}


def summarise(run: Simulation) -> dict[str, Any]:
    """Return the summary of ``run`` at its last step; times are dimensionless, ``*_seconds`` by the clock.

    ``density_mass`` is the mass of the density as it is printed, and ``time`` says whether ``t`` is its time or that
    of the normalised one. ``equilibrium_distance_mc`` is what as many independent samples of the Maxwellian would
    have as ``equilibrium_distance``, ``entropy_equilibrium`` the entropy of that Maxwellian.
    """
    v, weight = run.state.v.double(), _weight(run)
    effective = effective_particles(run.particles, weight)
    repeated = left_out(run.row)
    summary = {
        **run.labels,
        "particles": run.particles,
        "d": run.problem.d,
        "gamma": run.problem.gamma,
        "strength": run.problem.strength,
        "density_mass": run.problem.mass,
        "time": run.problem.time,
        "dt": run.dt,
        "t": run.t,
        "steps": run.steps,
        "seed": run.seed,
        **machine_facts(run),
        "wall_seconds": run.wall_seconds,
        "setup_seconds": run.setup_seconds,
        "seconds_per_step": (run.wall_seconds - run.setup_seconds) / run.steps,
        **{key: value for key, value in run.row.items() if key not in repeated},
        "equilibrium_distance_mc": equilibrium_distance_mc(float(temperature(v, weight)), effective, run.problem.d),
        "entropy_equilibrium": equilibrium_entropy(v, weight),
        "covariance": covariance(v, weight).tolist(),
    }
    # JSON has no infinity.
    return {k: None if isinstance(x, float) and not math.isfinite(x) else x for k, x in summary.items()}


def _weight(run: Simulation) -> torch.Tensor | None:
    return run.state.weight.double() if "weight" in run.state else None
