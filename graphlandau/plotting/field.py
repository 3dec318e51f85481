"""The electric field of the particles: its square and its mode over time, and its profile."""

from __future__ import annotations

import math
import textwrap

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from graphlandau.diagnostics import ModeGrowth, mode_growth, why_no_growth
from graphlandau.plotting.phase_snapshot import phase_snapshots
from graphlandau.plotting.style import (
    EXACT,
    PALETTE,
    REFERENCE,
    headline,
    legend,
    time_axis,
    time_colours,
    widen_decades,
)
from graphlandau.run.record import RunRecord

__all__ = ["draw_mode", "draw_profile", "draw_square", "figure", "fitted_mode"]

_FIT = {"color": PALETTE[1], "linewidth": 2.2, "zorder": 4}


def _history(run: RunRecord) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Times of the mode in the metrics, its amplitudes, and what of them may be noise."""
    real, imaginary, noise = (run.series(name) for name in ("mode_re", "mode_im", "mode_noise"))
    if real is None or imaginary is None or noise is None:
        return None
    return real[0], real[1] + 1j * imaginary[1], noise[1]


def fitted_mode(run: RunRecord) -> ModeGrowth | None:
    """Return the fit of the mode in the metrics, ``None`` where it neither grows nor rings down."""
    history = _history(run)
    return None if history is None else mode_growth(*history)


def _theory_level(t: np.ndarray, size: np.ndarray, rate: float) -> float:
    """Level at the first time of the line of linear theory through a history to which nothing was fitted.

    Through the first maximum where theory says that the mode is damped, else through the last value below a tenth of
    the largest, where a growing mode has left the others behind.
    """
    if rate <= 0:
        peaks = np.flatnonzero((size[1:-1] > size[:-2]) & (size[1:-1] >= size[2:])) + 1
        place = int(peaks[0]) if peaks.size else 0
    else:
        place = max(0, int(np.argmax(size > 0.1 * size.max())) - 1)
    return float(size[place] * np.exp(-rate * (t[place] - t[0])))


def draw_square(ax: Axes, run: RunRecord) -> None:
    r"""Draw :math:`\int |E|^2 dx`, twice the energy of the field, on a logarithmic axis."""
    series = run.series("e2")
    if series is not None:
        ax.plot(*series, color=PALETTE[0], gid="e2")
    time_axis(ax, run.time_span, r"$\int |E|^2 \, dx$", "Square of the field")
    widen_decades(ax)


def draw_mode(ax: Axes, run: RunRecord) -> None:
    r"""Draw :math:`|E_k|` on a logarithmic axis, its fit, and the rate of linear theory.

    The line of theory passes through the begin of the fit. Where nothing could be fitted, the panel says why, and the
    line passes through the first maximum of a damped mode, or the last value of a growing one before it saturates.
    """
    series = run.series("mode_amplitude")
    if series is not None:
        ax.plot(*series, color=PALETTE[0], gid="mode_amplitude", linewidth=1.5)
    time_axis(ax, run.time_span, "$|E_k|$", _mode_title(run))
    fit, rate = fitted_mode(run), run.problem.rate()
    history = _history(run)
    if history is None or series is None:
        widen_decades(ax)
        return
    widen_decades(ax, above=0.35 if fit is not None else 0.45)
    reach = ax.get_ylim()
    t_first, _ = run.time_span
    if fit is not None:
        t_first, level = fit.t_first, fit.level
        t = np.array([fit.t_first, fit.t_last])
        y = level * np.exp(fit.rate * (t - t_first))
        ax.plot(t, y, label=f"fit: {_numbers(fit.rate, fit.frequency)}", gid="fit", **_FIT)
    else:
        level = 0.0 if rate is None else _theory_level(*series, rate.real)
        why = "\n".join(textwrap.wrap(f"no rate fitted: {why_no_growth(*history)}", 48))
        # Under the legend.
        ax.text(0.03, 0.89, why, fontsize=8, color="0.35", transform=ax.transAxes, gid="why", va="top", zorder=6)
    if rate is not None:
        t = np.linspace(*run.time_span, 201)
        y = level * np.exp(rate.real * (t - t_first))
        # Where the line leaves the picture it says nothing.
        inside = (y >= reach[0]) & (y <= reach[1])
        label = f"linear theory: {_numbers(rate.real, rate.imag)}"
        ax.plot(t[inside], y[inside], label=label, gid="theory", **EXACT)
    ax.set_ylim(reach)


def _numbers(rate: float, frequency: float) -> str:
    omega = f", $\\omega = {frequency:.4f}$" if frequency else ""
    return f"$\\gamma = {rate:.4f}$".replace("-", "{-}") + omega


def _mode_title(run: RunRecord) -> str:
    problem = run.problem
    if problem.lengths is None:
        return "Mode of the field"
    return f"Mode $k = {2 * math.pi * problem.mode / problem.lengths[0]:.4g}$ of the field"


def draw_profile(ax: Axes, run: RunRecord, count: int = 3) -> None:
    """Draw the field along the first direction at some times, through the middle of the others."""
    snapshots = [snapshot for snapshot in phase_snapshots(run, count) if snapshot.field is not None]
    for colour, snapshot in zip(time_colours(len(snapshots)), snapshots, strict=True):
        assert snapshot.field is not None
        along = snapshot.field[..., 0]
        along = along[(slice(None), *(n // 2 for n in along.shape[1:]))]
        x = np.arange(len(along) + 1) * run.problem.lengths[0] / len(along)
        # Node 0 once more at the far end of the box.
        ax.plot(x, np.append(along, along[0]), color=colour, label=f"$t = {snapshot.t:.4g}$", gid="field")
    ax.axhline(0, **REFERENCE)
    ax.set(xlim=(0, run.problem.lengths[0]), ylabel="$E(x)$" if run.problem.d_x == 1 else "$E_1$")
    ax.set_xlabel("$x$ (dimensionless)" if run.problem.d_x == 1 else "$x_1$ (dimensionless)")
    ax.set_title("Field in space")
    low, high = ax.get_ylim()
    ax.set_ylim(low, high + 0.25 * (high - low))


def figure(run: RunRecord) -> Figure | None:
    """Field over time, its mode, and its profile; none without a field."""
    if run.series("e2") is None:
        return None
    fig = Figure(figsize=(14.1, 4.2), layout="constrained")
    square, mode, profile = fig.subplots(1, 3)
    draw_square(square, run)
    draw_mode(mode, run)
    draw_profile(profile, run)
    legend(mode, loc="upper left")
    legend(profile, loc="upper center", ncols=3)
    headline(fig, f"Electric field: {run.title}")
    return fig
