r"""Figure 2 of arXiv:2603.23901: a Gaussian in a parabola, error of the control over time, and the free energy.

Kinetic JKO, score matching and velocity matching with the paper's network, trained alike, and with the affine closed
form; steps of 0.1 to T = 10 in 1D and to T = 20 in 3D. The network starts a time step from the last one's. Velocity
matching has no control that Eq. (38) applies to, and no network in 3D, where it takes twice the time. In the table also
the largest differences of mean and covariance of (x, v) from the exact ones, relative to the largest eigenvalue of the
exact covariance (of the mean: to its root), from t = 0 on; at t = 0 they are those of the sample.

    python experiments/kinetic_jko/figures.py 2
    python experiments/kinetic_jko/figures.py 2 --smoke
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from study import NAMES, Records, command_line, runs_of

from graphlandau.cli.study import number, publish, series, with_failures
from graphlandau.plotting import RunRecord
from graphlandau.plotting.known import equilibrium_free_energy
from graphlandau.plotting.phase_snapshot import phase_snapshot
from graphlandau.plotting.relaxation import exact_free_energy
from graphlandau.plotting.style import EXACT, PALETTE, legend_below, time_axis, widen_decades

METHODS = ("kinetic_jko", "kinetic_sbtm", "velocity_matching")
COLOURS: dict[str, str] = dict(zip(METHODS, PALETTE, strict=False))
LABELS = {"kinetic_jko": "kinetic JKO"} | {name: NAMES[name] for name in METHODS[1:]}
CONTROLS = {"network": [], "affine": ["--control", "affine"]}
DASHES = {"network": "-", "affine": (0, (4, 1.5))}
TRIAL = ["--particles", "500", "--t_end", "0.4", "--method.initial_steps", "20"]


def moments(run: RunRecord) -> dict[str, Any]:
    """Differences of mean and covariance from the exact ones: at the start, the largest one, at the end."""
    found = []
    for k in range(len(run.times)):
        snapshot = phase_snapshot(run, k)
        z, exact = torch.cat([snapshot.x, snapshot.v], 1), run.problem.density(snapshot.t)
        size = float(torch.linalg.eigvalsh(exact.covariance)[-1])
        mean = float((z.mean(0) - exact.mean).norm()) / size**0.5
        found.append((mean, float(torch.linalg.matrix_norm(torch.cov(z.T) - exact.covariance, 2)) / size))
    numbers = {}
    for name, values in zip(("mean", "covariance"), np.array(found).T, strict=True):
        numbers |= {f"{name}_start": values[0], f"{name}_largest": values.max(), f"{name}_end": values[-1]}
    return {key: number(float(value)) for key, value in numbers.items()}


def row(case: str, run: RunRecord) -> dict[str, Any]:
    """Error of the control, of the free energy and of the moments."""
    error, exact = run.series("drift_error"), exact_free_energy(run)
    (t, energy), level = series(run, "free_energy"), equilibrium_free_energy(run)
    assert exact is not None
    assert level is not None
    numbers = {
        "drift_error_mean": None if error is None else error[1].mean(),
        "drift_error_largest": None if error is None else error[1].max(),
        "drift_error_end": None if error is None else error[1][-1],
        "free_energy_largest_error": np.abs(energy - np.interp(t, *exact)).max(),
        "free_energy_end_above_equilibrium": energy[-1] - level,
        "free_energy_largest_rise": np.diff(energy).max(),
    }
    shown = {key: number(None if value is None else float(value)) for key, value in numbers.items()}
    return {
        "d": run.problem.d,
        "run": case,
        **shown,
        **moments(run),
        "wall_seconds": number(float(series(run, "wall_seconds")[1][-1])),
    }


def draw(found: dict[int, Records]) -> Figure:
    """A row for each dimension: error of the control, free energy above that of the equilibrium."""
    fig = Figure(figsize=(12.5, 3.9 * len(found) + 0.9), layout="constrained")
    for (left, right), (d, runs) in zip(fig.subplots(len(found), 2, squeeze=False), found.items(), strict=True):
        some = next(iter(runs.values()))
        level, exact = equilibrium_free_energy(some), exact_free_energy(some)
        assert level is not None
        assert exact is not None
        for case, run in runs.items():
            method, _, control = case.partition("-")
            look: dict[str, Any] = {"color": COLOURS[method], "linestyle": DASHES[control], "linewidth": 1.6}
            label = f"{LABELS[method]}, {'network' if control == 'network' else 'affine closed form'}"
            if run.series("drift_error") is not None:
                left.plot(*series(run, "drift_error"), label=label, **look)
            t, energy = series(run, "free_energy")
            above = energy > level
            if t[-1] < run.config["t_end"] - 1e-6:
                label += f": folds at $t = {t[-1]:g}$"
            right.plot(t[above], energy[above] - level, label=label, **look)
        time_axis(left, some.time_span, "error of $u$ (root of Eq. 38)", f"{d}D: error of the control")
        widen_decades(left)
        right.plot(exact[0], exact[1] - level, label="exact", **EXACT)
        time_axis(right, some.time_span, r"$F - F_\infty$", f"{d}D: free energy above equilibrium")
        right.set_yscale("log")
        right.set_ylim(bottom=max(1e-5, 0.5 * float(exact[1][-1] - level)))
    legend_below(fig, 4)
    particles = next(iter(found[1].values())).config["particles"]
    fig.suptitle(f"A Gaussian in a parabola: {particles:,} particles", x=0.01, ha="left")
    return fig


def main() -> None:
    options = command_line(__doc__, __file__)
    found: dict[int, Records] = {}
    errors: dict[str, str] = {}
    for d in (1,) if options.smoke else (1, 3):
        cases = {
            f"{method}-{control}": ["--method", method, *given]
            for control, given in CONTROLS.items()
            for method in METHODS
            if not (method == "velocity_matching" and control == "network" and d == 3)
        }
        if options.smoke:
            cases = {case: cases[case] for case in ("kinetic_jko-network", "kinetic_sbtm-affine")}
        runs = runs_of(f"vfp_gaussian_{d}d_network", cases, options, TRIAL)
        names = {f"{d}d-{case}": arguments for case, arguments in runs.items()}
        some, failed = with_failures(names, options)
        errors |= failed
        found[d] = {name.partition("-")[2]: run for name, run in some.items()}
    rows = [
        {**row(case, run), "status": errors.get(f"{d}d-{case}", "done")}
        for d, runs in found.items()
        for case, run in runs.items()
    ]
    publish(options, "figure_2", rows, lambda: draw(found))


if __name__ == "__main__":
    main()
