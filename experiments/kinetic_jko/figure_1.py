r"""Figure 1 of arXiv:2603.23901: a Gaussian in a parabola, error of the control against the time step, 1D and 3D.

The error is the root of Eq. (38): of the mean square of :math:`u + \epsilon (v' + \nabla_v \log f')` over the
particles, with the exact density ``f'`` after the step; printed squared, it is of second order. Its mean over all
steps to T = 8 is drawn for the scheme as printed, Eq. (18), and for the split ones with the maps (25) and (26), with
the exact determinant (solid) and with the trace (dotted). The control is affine, which is exact here, and solved for:
what is left is the time step, and the sample. Particles are therefore loaded quietly; one line has random ones, and in
3D one has four times as many.

    python experiments/kinetic_jko/figures.py 1
    python experiments/kinetic_jko/figures.py 1 --smoke
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from study import FORMS, NAMES, Runs, command_line, runs_of

from graphlandau.cli.study import number, publish, records, series
from graphlandau.plotting.style import PALETTE, REFERENCE, legend_below

# Form, determinant, loading, particles.
Line = tuple[str, str, str, int]
# Errors by time step, of each dimension and line.
Errors = Mapping[tuple[int, Line], Mapping[float, float]]

STEPS = (0.2, 0.1, 0.05, 0.025)
TRIAL = ["--particles", "500", "--t_end", "0.4"]
FEW, MANY = 10_000, 40_000
SCHEMES: list[Line] = list(itertools.product(FORMS, ("exact", "trace"), ("quiet",), (FEW,)))
LINES: dict[int, list[Line]] = {
    1: [*SCHEMES, ("verlet", "exact", "random", FEW)],
    3: [*SCHEMES, ("verlet", "exact", "random", FEW), ("verlet", "exact", "quiet", MANY)],
}
COLOURS = dict(zip(FORMS, PALETTE, strict=False))


def folder(d: int, line: Line, dt: float) -> str:
    """Folder of a run."""
    form, log_det, loading, particles = line
    size = f"-{particles}" if particles != FEW else ""
    return f"{d}d-{form}-{log_det}-{loading}-{dt:g}{size}"


def slope(errors: Mapping[float, float]) -> float:
    """Order of the error in the time step, by a fit to all."""
    dt, error = np.log(np.array(list(errors.items()))).T
    return float(np.polyfit(dt, error, 1)[0])


def draw(errors: Errors) -> Figure:
    """A panel for each dimension."""
    dimensions = sorted({d for d, _ in errors})
    fig = Figure(figsize=(6.2 * len(dimensions), 5.2), layout="constrained")
    axes = fig.subplots(1, len(dimensions), squeeze=False)[0]
    for ax, d in zip(axes, dimensions, strict=True):
        for (of, (form, log_det, loading, particles)), values in errors.items():
            if of != d:
                continue
            style: dict[str, Any] = {"color": COLOURS[form], "marker": "o", "markersize": 4.5}
            if log_det == "trace":
                style |= {"linestyle": (0, (1, 1.2)), "marker": "s", "markerfacecolor": "white", "markersize": 4}
            kind = {"exact": "exact det", "trace": "trace"}[log_det]
            if loading == "random":
                style |= {"color": "0.6", "linestyle": "--", "marker": "v"}
                kind = "random particles"
            if particles == MANY:
                style |= {"color": PALETTE[3], "linestyle": "--", "marker": "D"}
                kind = f"{MANY:,} particles"
            ax.loglog(*zip(*values.items(), strict=True), label=f"{NAMES[form]}, {kind}", **style)
        lowest = min((min(values.values()) for (of, _), values in errors.items() if of == d))
        dt = np.array([STEPS[-1], STEPS[0]])
        ax.loglog(dt, 0.7 * lowest * dt / dt[0], label=r"$\propto \Delta t$", **REFERENCE)
        ax.set(xlabel=r"time step $\Delta t$", title=f"{d}D", xticks=STEPS, xticklabels=[f"{x:g}" for x in STEPS])
        ax.minorticks_off()
    axes[0].set_ylabel(r"mean over time of the error of $u$ (root of Eq. 38)")
    legend_below(fig, 5)
    fig.suptitle(f"A Gaussian in a parabola, affine control, {FEW:,} particles", x=0.01, ha="left")
    return fig


def main() -> None:
    options = command_line(__doc__, __file__)
    steps, lines = (STEPS[:2], {1: SCHEMES[::4]}) if options.smoke else (STEPS, LINES)
    runs: Runs = {}
    for d, some in lines.items():
        cases = {}
        for line, dt in itertools.product(some, steps):
            form, log_det, loading, particles = line
            given = ["--method.log_det", log_det, "--problem.loading", loading, "--particles", str(particles)]
            cases[folder(d, line, dt)] = [*FORMS[form], *given, "--dt", f"{dt:g}", "--snapshots", "2"]
        runs |= runs_of(f"vfp_gaussian_{d}d", cases, options, TRIAL)
    found = records(runs, options)
    errors = {
        (d, line): {dt: float(series(found[folder(d, line, dt)], "drift_error")[1].mean()) for dt in steps}
        for d, some in lines.items()
        for line in some
    }
    rows = [
        {"d": d, "scheme": NAMES[line[0]], "determinant": line[1], "loading": line[2], "particles": line[3]}
        | {f"dt={dt:g}": number(error) for dt, error in values.items()}
        | {"slope": f"{slope(values):.3f}"}
        for (d, line), values in errors.items()
    ]
    publish(options, "figure_1", rows, lambda: draw(errors))


if __name__ == "__main__":
    main()
