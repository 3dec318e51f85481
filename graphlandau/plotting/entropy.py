"""Entropy and its dissipation along the run."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from graphlandau.plotting import exact
from graphlandau.plotting.style import (
    EXACT,
    PALETTE,
    REFERENCE,
    draw_errors,
    headline,
    legend,
    say_impossible,
    time_axis,
)
from graphlandau.run.record import RunRecord

__all__ = ["draw_dissipation", "draw_entropy", "figure"]

_TIMES = 101


def exact_entropy(run: RunRecord) -> tuple[np.ndarray, list[float]] | None:
    """Return times and exact entropies of the run's problem, None where they are not known throughout."""
    times = np.linspace(*run.time_span, _TIMES)
    densities = [run.problem.density(float(t)) for t in times]
    values = [density.entropy() for density in densities if density is not None]
    known = [value for value in values if value is not None]
    return (times, known) if len(known) == len(times) else None


def exact_dissipation(run: RunRecord) -> tuple[np.ndarray, list[float]] | None:
    """Return times and exact values of -dH/dt, None where they are not known throughout."""
    times = np.linspace(*run.time_span, _TIMES)
    step = 1e-3 * (run.problem.t_end - run.problem.t_start)
    rates = [exact.entropy_dissipation(run.problem, float(t), step) for t in times]
    known = [-rate for rate in rates if rate is not None]
    return (times, known) if len(known) == len(times) else None


def draw_entropy(ax: Axes, run: RunRecord) -> None:
    r"""Draw :math:`H = \langle \log f \rangle`, its exact value where known, and the value at equilibrium."""
    series = run.series("entropy")
    if series is not None:
        ax.plot(*series, color=PALETTE[0], label=r"particles, $\langle \log f \rangle$", gid="entropy")
        draw_errors(ax, run, "entropy", PALETTE[0])
    truth = exact_entropy(run)
    if truth is not None:
        ax.plot(*truth, label="exact", gid="exact", **EXACT)
    equilibrium = run.problem.equilibrium()
    if equilibrium is not None:
        level = [equilibrium.entropy()] * 2
        ax.plot(run.time_span, level, label="Maxwellian of equal energy", gid="equilibrium", **REFERENCE)
    say_impossible(ax, run)
    time_axis(ax, run.time_span, r"entropy $H = \int f \; \log \, f \; dv$", "Entropy")


def draw_dissipation(ax: Axes, run: RunRecord) -> None:
    r"""Draw :math:`-\langle s \cdot U \rangle \ge 0` and the exact :math:`-dH/dt` where known."""
    series = run.series("entropy_dissipation")
    if series is not None:
        ax.plot(
            series[0],
            -series[1],
            color=PALETTE[0],
            label=r"particles, $-\langle s \cdot U \rangle$",
            gid="dissipation",
        )
    truth = exact_dissipation(run)
    if truth is not None:
        ax.plot(*truth, label="exact", gid="exact", **EXACT)
    time_axis(ax, run.time_span, "dissipation $-dH/dt$", "Entropy dissipation")
    ax.set_ylim(bottom=0)


def figure(run: RunRecord) -> Figure | None:
    """Entropy where it is carried, and the dissipation."""
    panels = [
        draw
        for name, draw in (("entropy", draw_entropy), ("entropy_dissipation", draw_dissipation))
        if run.series(name) is not None
    ]
    if not panels:
        return None
    fig = Figure(figsize=(5.2 * len(panels), 4.2), layout="constrained")
    for ax, draw in zip(fig.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        draw(ax, run)
        legend(ax)
    headline(fig, f"Entropy: {run.title}")
    return fig
