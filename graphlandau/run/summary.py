"""What a run leaves in ``summary.json``: what was run, where, and every number at its end."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

import torch

import graphlandau
from graphlandau.base import distributed
from graphlandau.methods import Method
from graphlandau.problems.initial_value import InitialValueProblem
from graphlandau.run.observers.observer import Run

__all__ = ["class_names", "left_out", "machine_facts", "summarise"]


def class_names(problem: InitialValueProblem, method: Method) -> dict[str, str | None]:
    """Return names of problem, method and models for a run that was not composed from presets."""
    models = method.facts(problem, problem.particles).models
    return {"problem": problem.name, "method": type(method).__name__.lower(), "score": None, **models}


def machine_facts(run: Run) -> dict[str, Any]:
    """Return what decides the last bits of a run: device, dtype, backend, threads, versions."""
    return {
        "device": str(run.device),
        "dtype": str(run.dtype).removeprefix("torch."),
        "backend": run.method.facts(run.problem, run.particles).backend,
        "processes": distributed.world(),
        "threads": torch.get_num_threads(),
        "torch_version": torch.__version__,
        "graphlandau_version": graphlandau.__version__,
    }


def left_out(columns: Iterable[str]) -> set[str]:
    """Return the columns of the metrics that a summary of a run does not repeat, or gives in another form."""
    return {"step", "t", "wall_seconds", "cov_trace", *(key for key in columns if re.fullmatch(r"cov_\d+_\d+", key))}


def last_row(run: Run) -> dict[str, Any]:
    """Return the numbers of the last row of the metrics that a summary repeats."""
    repeated = left_out(run.row)
    return {key: value for key, value in run.row.items() if key not in repeated}


def summarise(run: Run, observed: Mapping[str, Any]) -> dict[str, Any]:
    """Return the summary of ``run`` at its last step; times are dimensionless, ``*_seconds`` by the clock.

    What was run and where, the last row of the metrics, and what was ``observed`` beside it. For the Landau equation
    ``density_mass`` is the mass of the density as it is printed, and ``time`` says whether ``t`` is its time or that of
    the normalised one.
    """
    summary = {
        **run.labels,
        "particles": run.particles,
        "d": run.problem.d,
        **run.problem.facts(),
        "dt": run.dt,
        "t": run.t,
        "steps": run.steps,
        "seed": run.seed,
        **machine_facts(run),
        "wall_seconds": run.wall_seconds,
        "setup_seconds": run.setup_seconds,
        "seconds_per_step": (run.wall_seconds - run.setup_seconds) / run.steps,
        **last_row(run),
        **observed,
    }
    # JSON has no infinity.
    return {k: None if isinstance(x, float) and not math.isfinite(x) else x for k, x in summary.items()}
