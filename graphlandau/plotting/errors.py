"""Distance from the exact solution over time, beside what the exact score and fresh samples would give."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from graphlandau.plotting.style import (
    PALETTE,
    REFERENCE,
    draw_errors,
    headline,
    legend,
    time_axis,
    widen_decades,
)
from graphlandau.run.record import RunRecord

__all__ = ["DENSITY_CURVES", "draw_density_error", "draw_fisher", "draw_kl", "figure"]

# The references of the density error are grey: what is left with the exact score, and with no time steps at all.
# The sample sets them, so a method that evens its particles out, as the blob method does, can lie below.
_REFERENCE: dict[str, Any] = {"linewidth": 1.2, "markersize": 4, "clip_on": False}
DENSITY_CURVES: dict[str, tuple[str, dict[str, Any]]] = {
    "rel_l2_density": (
        "density of the particles",
        {"color": PALETTE[1], "marker": "o", "zorder": 3, "clip_on": False},
    ),
    "rel_l2_density_exact_score": (
        "reference: same particles, exact score",
        {"color": "0.25", "marker": "s", "linestyle": (0, (4, 2)), "zorder": 4} | _REFERENCE,
    ),
    "rel_l2_density_fresh": (
        "reference: fresh exact samples",
        {"color": "0.55", "marker": "^", "linestyle": (0, (1, 1.3))} | _REFERENCE,
    ),
}


def draw_fisher(ax: Axes, run: RunRecord) -> None:
    r"""Draw :math:`\langle |s - s_*|^2 \rangle / \langle |s_*|^2 \rangle`, the error that ranks scores."""
    series = run.series("rel_fisher_divergence")
    if series is not None:
        ax.plot(*series, color=PALETTE[0], label="score, relative Fisher", gid="rel_fisher_divergence")
    label = r"$\langle |s - s_*|^2 \rangle \, / \, \langle |s_*|^2 \rangle$"
    time_axis(ax, run.time_span, label, "Relative Fisher divergence")
    widen_decades(ax)


def draw_density_error(ax: Axes, run: RunRecord) -> None:
    """Draw the relative L2 error of the density estimate, and its baselines."""
    for name, (label, style) in DENSITY_CURVES.items():
        series = run.series(name)
        if series is not None:
            ax.plot(*series, label=label, gid=name, **style)
    h = run.problem.bandwidth
    time_axis(ax, run.time_span, r"$\| f_h - f_* \| \, / \, \| f_* \|$", f"Density error (kernel width {h:g})")
    ax.set_ylim(0, 1.4 * ax.get_ylim()[1])


def draw_kl(ax: Axes, run: RunRecord) -> None:
    r"""Draw :math:`\langle \log f_i - \log f_*(v_i) \rangle`; as an estimate it may dip below zero.

    With two errors on either side, where the run has them.
    """
    series = run.series("kl")
    if series is not None:
        ax.plot(*series, color=PALETTE[2], gid="kl", label="particles")
        draw_errors(ax, run, "kl", PALETTE[2])
    ax.axhline(0, **REFERENCE)
    time_axis(ax, run.time_span, r"$\langle \log f_i - \log f_*(v_i) \rangle$", "KL divergence (estimate)")


def figure(run: RunRecord) -> Figure | None:
    """A panel for each error the run could measure; none without an exact solution."""
    candidates = {"rel_fisher_divergence": draw_fisher, "rel_l2_density": draw_density_error, "kl": draw_kl}
    panels = [draw for name, draw in candidates.items() if run.series(name) is not None]
    if not panels:
        return None
    fig = Figure(figsize=(4.5 * len(panels), 4.2), layout="constrained")
    for ax, draw in zip(fig.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        draw(ax, run)
        legend(ax, loc="upper right" if draw is draw_density_error else "best")
    headline(fig, f"Error against the exact solution: {run.title}")
    return fig
