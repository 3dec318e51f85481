"""What the figures of the beams in their own field share: runs with few and with many collisions, and their checks."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from study import LANGEVIN, Records, runs_of

from graphlandau.cli.study import number, records, series
from graphlandau.plotting import RunRecord

__all__ = ["EPSILONS", "NAMES", "SEEDS", "beam_runs", "collision_rate", "field_row", "langevin_mean", "seeds"]

EPSILONS = {"weak": 0.005, "strong": 10.0}
SEEDS = 3
EVERY = ["--checkpoint_every", "200"]
# Steps of 0.001 are many: fewer particles, which the table says, and rows at every tenth.
SHORT = ["--dt", "0.001", "--particles", "10000", "--metrics_every", "10"]
TRACE = ["--method.log_det", "trace"]
# The reference takes its steps of collisions exactly; what is left is the splitting.
REFERENCE = {"weak": [*LANGEVIN, "--dt", "0.02"], "strong": [*LANGEVIN, "--dt", "0.005", "--metrics_every", "2"]}
CASES: dict[str, dict[str, list[str]]] = {
    "weak": {"features": [], "affine": ["--control", "affine"]},
    "strong": {
        "features": [],
        "features-0.02": ["--dt", "0.02"],
        "features-0.05": ["--dt", "0.05"],
        "features-0.005": ["--dt", "0.005", "--particles", "20000", "--t_end", "1", "--snapshots", "6"],
        "features-0.001": [*SHORT, "--t_end", "1", "--snapshots", "6"],
        "trace-0.001": [*SHORT, *TRACE],
        "affine": ["--control", "affine"],
        "features-16": ["--control.num_features", "16"],
    },
}
NAMES = {
    "features": "PIC-JKO, features",
    "features-0.02": r"PIC-JKO, features, $\Delta t = 0.02$",
    "features-0.05": r"PIC-JKO, features, $\Delta t = 0.05$",
    "features-0.005": r"PIC-JKO, features, $\Delta t = 0.005$",
    "features-0.001": r"PIC-JKO, features, $\Delta t = 0.001$",
    "trace-0.001": r"PIC-JKO, features, trace, $\Delta t = 0.001$",
    "affine": "PIC-JKO, affine",
    "langevin": "Langevin",
    "long": "PIC-JKO, features",
    "long-4": "PIC-JKO, 4 harmonics",
    "long-langevin": "Langevin",
}
# Three velocities, to save time.
FEWER = ["--particles", "20000"]
# To the vortex: larger steps, which few collisions allow.
LONG = ["--t_end", "20", "--dt", "0.04", "--snapshots", "101"]
TRIAL = ["--particles", "1000", "--t_end", "0.2", "--dt", "0.02", "--snapshots", "11"]
# Modes of Hermite functions in the velocity.
MODES = 400


def beam_runs(d: int, kind: str, options: argparse.Namespace, cases: Sequence[str]) -> dict[str, RunRecord]:
    """Return the records of some cases with few ("weak") or many ("strong") collisions; unfinished ones are run."""
    given = {
        **CASES[kind],
        **{f"langevin-{seed}": [*REFERENCE[kind], "--seed", str(seed)] for seed in range(SEEDS)},
        "long": LONG,
        "long-4": [*LONG, "--control.harmonics", "4"],
        "long-langevin": [*LANGEVIN, *LONG],
    }
    more = [*EVERY, *(FEWER if d == 3 else [])]
    runs = runs_of(f"vpfp_1d{d}v_{kind}", {case: given[case] for case in cases}, options, TRIAL, *more)
    found = records({f"{kind}-{case}": arguments for case, arguments in runs.items()}, options)
    return {case: found[f"{kind}-{case}"] for case in cases}


def seeds(options: argparse.Namespace) -> list[str]:
    """Cases of the reference, one a seed."""
    return [f"langevin-{seed}" for seed in range(1 if options.smoke else SEEDS)]


def langevin_mean(found: Records, key: str) -> tuple[np.ndarray, np.ndarray]:
    """Return times, and a metric of the reference for each seed, ``(seeds, times)``."""
    runs = [run for case, run in found.items() if case.startswith("langevin")]
    return series(runs[0], key)[0], np.stack([series(run, key)[1] for run in runs])


def collision_rate(k: float, epsilon: float, temperature: float = 1.0) -> complex:
    r"""Slowest rate of :math:`E_k` with collisions, in the linear theory about the equilibrium.

    .. math::
        \dot c_n = -i k \sqrt{T_0} (\sqrt{n} \, c_{n-1} + \sqrt{n+1} \, c_{n+1}) - \epsilon n c_n
        - \frac{i}{k \sqrt{T_0}} \delta_{n1} c_0

    in Hermite functions of the velocity; for many collisions it tends to :math:`-(1 + k^2 T_0) / \epsilon`.
    """
    n, speed = np.arange(MODES), k * math.sqrt(temperature)
    matrix = np.diag(-epsilon * n).astype(complex)
    matrix -= 1j * speed * (np.diag(np.sqrt(n[1:]), -1) + np.diag(np.sqrt(n[1:]), 1))
    matrix[1, 0] -= 1j / speed
    values = np.linalg.eigvals(matrix)
    return complex(values[values.real.argmax()])


def field_row(run: RunRecord, reference: Records, times: Sequence[float]) -> Mapping[str, Any]:
    """The square of the field at some times, its largest difference from the reference, and what the reference has.

    Both are relative to the largest value of the reference; ``spread`` is half the range of its seeds. Relative
    entropies are of the normalised density.
    """
    (t, e2), (at, many) = series(run, "e2"), langevin_mean(reference, "e2")
    mass, seen = run.problem.mass, at <= t[-1] + 1e-9
    mean = many.mean(0)
    row: dict[str, Any] = {"particles": run.config["particles"], "dt": run.config["dt"]}
    row |= {f"e2({time:g})": number(float(np.interp(time, t, e2))) if time <= t[-1] + 1e-9 else None for time in times}
    difference = np.abs(np.interp(at[seen], t, e2) - mean[seen]).max() / mean.max()
    row["e2_difference"] = number(float(difference))
    row["e2_spread"] = number(float((np.ptp(many[:, seen], axis=0) / 2).max() / mean.max()))
    if run.series("kl") is not None:
        (_, kl), error = series(run, "kl"), series(run, "kl_stderr")[1]
        row |= {"kl_end": number(float(kl[-1] / mass)), "kl_stderr_end": number(float(error[-1] / mass))}
        row |= {"kl_least_in_stderr": number(float((kl / error).min()))}
        row["free_energy_largest_rise"] = number(float(np.diff(series(run, "free_energy")[1]).max() / mass))
    row["wall_seconds"] = number(float(series(run, "wall_seconds")[1][-1]))
    return row
