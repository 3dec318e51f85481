"""How the particles approach equilibrium: relative entropy, free energy, and what a step changes of it."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from graphlandau.plotting.known import equilibrium_free_energy, relative_entropies
from graphlandau.plotting.style import (
    EXACT,
    PALETTE,
    REFERENCE,
    draw_errors,
    headline,
    legend,
    log_axis,
    say_impossible,
    time_axis,
    widen_decades,
)
from graphlandau.run.record import RunRecord

__all__ = [
    "DRIFT_ERROR",
    "draw_changes",
    "draw_drift_error",
    "draw_free_energy",
    "draw_kl",
    "exact_free_energy",
    "exact_kl",
    "figure",
    "honest_scale",
]

DRIFT_ERROR = r"root mean square of $u + \epsilon (v + T_0 \nabla_v \, \log \, f)$"

_TIMES = 101
_CHANGES = {
    "collision_free_energy_change": ("free energy, by collisions", PALETTE[0]),
    "map_energy_change": ("energy, by the symplectic map", PALETTE[4]),
}


def honest_scale(ax: Axes, low: float, high: float, noise: float) -> None:
    """Choose the vertical axis for an estimate between ``low`` and ``high`` of a number that is never negative.

    Logarithmic, or from zero where it changes little. Where it comes close to its ``noise``, it may be estimated below
    zero, which a logarithmic axis would not show: then the axis is linear, on grey, below the power of ten that is
    nearest to twice the noise.
    """
    if low > 2 * noise:
        if high < 3 * low:
            ax.set_ylim(0, 1.3 * high)
        else:
            log_axis(ax, 0.6 * low, 2 * high)
        return
    threshold = 10.0 ** np.round(np.log10(max(2 * noise, 1e-12 * abs(high), 1e-300)))
    ax.set_yscale("symlog", linthresh=threshold, linscale=0.6)
    ax.set_ylim(1.5 * min(low, -0.5 * threshold), 2 * max(high, threshold))
    ax.axhspan(-threshold, threshold, color="0.95", zorder=0, linewidth=0)
    ax.axhline(0, **REFERENCE)
    ax.text(0.02, 0.02, "linear scale on grey", color="0.45", fontsize=8, transform=ax.transAxes)


def exact_kl(run: RunRecord) -> tuple[np.ndarray, np.ndarray] | None:
    """Return times and exact relative entropies, ``None`` where they are not known throughout."""
    times = np.linspace(*run.time_span, _TIMES)
    known = relative_entropies(run, times.tolist())
    return None if known is None else (times, np.array(known))


def exact_free_energy(run: RunRecord) -> tuple[np.ndarray, np.ndarray] | None:
    """Return times and exact free energies, ``None`` where they are not known throughout."""
    truth, level = exact_kl(run), equilibrium_free_energy(run)
    return None if truth is None or level is None else (truth[0], level + run.problem.temperature * truth[1])


def draw_kl(ax: Axes, run: RunRecord) -> None:
    r"""Draw :math:`\langle \log f / f_\infty \rangle` with two errors on either side, and the exact value."""
    series = run.series("kl")
    time_axis(ax, run.time_span, r"$\int f \; \log (f / f_\infty)$", "Distance from equilibrium (KL)")
    if series is None:
        return
    t, kl = series
    error = draw_errors(ax, run, "kl", PALETTE[2])
    ax.plot(t, kl, color=PALETTE[2], label="particles", gid="kl")
    low, high = float((kl - 2 * error).min()), float((kl + 2 * error).max())
    say_impossible(ax, run)
    truth = exact_kl(run)
    if truth is not None:
        ax.plot(*truth, label="exact", gid="exact", **EXACT)
        low = min(low, float(truth[1].min()))
    honest_scale(ax, low, high, float(error.min()))


def draw_free_energy(ax: Axes, run: RunRecord) -> None:
    """Draw energy plus temperature times entropy, and its value at equilibrium."""
    series = run.series("free_energy")
    if series is not None:
        ax.plot(*series, color=PALETTE[0], label="particles", gid="free_energy")
    truth = exact_free_energy(run)
    if truth is not None:
        ax.plot(*truth, label="exact", gid="exact", **EXACT)
    level = equilibrium_free_energy(run)
    if level is not None:
        ax.plot(run.time_span, [level] * 2, label="equilibrium", gid="equilibrium", **REFERENCE)
    time_axis(ax, run.time_span, r"$F = $ energy $+ \; T_0 \int f \; \log \, f$", "Free energy")


def draw_changes(ax: Axes, run: RunRecord) -> None:
    """Draw the sizes of what the last step's collisions and map changed; dots where the free energy grew."""
    for name, (label, colour) in _CHANGES.items():
        series = run.series(name)
        if series is None:
            continue
        t, change = series
        seen = change != 0
        ax.plot(t[seen], np.abs(change[seen]), color=colour, label=label, gid=name, linewidth=1.5)
        grown = change > 0
        if name == "collision_free_energy_change" and grown.any():
            ax.plot(t[grown], change[grown], "o", color=PALETTE[1], markersize=3, label="it grew", gid="grown")
    time_axis(ax, run.time_span, "size of the change in a step", "Change in a step")
    widen_decades(ax, above=0.3)


def draw_drift_error(ax: Axes, run: RunRecord) -> None:
    r"""Draw the root mean square of :math:`u + \epsilon (v + T_0 \nabla_v \log f)`, with the exact solution ``f``."""
    series = run.series("drift_error")
    if series is not None:
        ax.plot(*series, color=PALETTE[3], gid="drift_error")
    time_axis(ax, run.time_span, DRIFT_ERROR, "Error of the control")
    widen_decades(ax)


def figure(run: RunRecord) -> Figure | None:
    """Relative entropy, free energy, changes in a step and the control's error, where the run has collisions."""
    candidates = {
        "kl": draw_kl,
        "free_energy": draw_free_energy,
        "collision_free_energy_change": draw_changes,
        "drift_error": draw_drift_error,
    }
    panels = [draw for name, draw in candidates.items() if run.series(name) is not None]
    if not panels or run.problem.epsilon == 0:
        return None
    rows = 1 if len(panels) < 4 else 2
    columns = len(panels) // rows
    fig = Figure(figsize=(max(4.7 * columns, 7.6), 3.9 * rows + 0.3), layout="constrained")
    for ax, draw in zip(fig.subplots(rows, columns, squeeze=False).flat, panels, strict=True):
        draw(ax, run)
        legend(ax)
    headline(fig, f"Relaxation: {run.title}")
    return fig
