"""What collisions must not change: mass, momentum, energy."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from graphlandau.plotting.style import PALETTE, REFERENCE, headline, legend, time_axis, widen_decades
from graphlandau.run.record import RunRecord

__all__ = ["draw_drift", "figure"]


def draw_drift(ax: Axes, t: np.ndarray, drift: np.ndarray, dtype: np.dtype, y: str, title: str, colour: str) -> None:
    """Draw the size of a drift on a logarithmic axis, with the rounding of one number for scale.

    Times at which the drift is exactly zero are left out; if it always is, the panel says so.
    """
    time_axis(ax, (t[0], t[-1]), y, title)
    positive = np.abs(drift) > 0
    ax.axhline(float(np.finfo(dtype).eps), label=f"rounding of {dtype.name}", **REFERENCE)
    if positive.any():
        ax.plot(t[positive], np.abs(drift[positive]), color=colour, gid="drift")
    else:
        ax.text(0.5, 0.55, "exactly zero at all times", color=colour, ha="center", transform=ax.transAxes)
    widen_decades(ax, above=0.2)


def figure(run: RunRecord) -> Figure | None:
    """Drift of energy (relative), momentum and, where the weights sum up to another one, mass: a panel each."""
    panels = {
        "energy_rel_drift": (r"$|E(t) - E(t_0)| \, / \, E(t_0)$", "Energy"),
        "momentum_abs_drift": (r"$|\langle v \rangle(t) - \langle v \rangle(t_0)|$", "Momentum"),
        "mass": (r"$|\sum_i w_i - 1|$", "Mass"),
    }
    found = [(name, series) for name in panels if (series := run.series(name)) is not None]
    # Particles of equal weight have the mass 1 by definition.
    found = [(name, series) for name, series in found if name != "mass" or (series[1] != 1).any()]
    if not found:
        return None
    fig = Figure(figsize=(4.2 * len(found), 3.9), layout="constrained")
    for k, (ax, (name, (t, values))) in enumerate(
        zip(fig.subplots(1, len(found), squeeze=False)[0], found, strict=True)
    ):
        drift = values - 1 if name == "mass" else values
        draw_drift(ax, t, drift, run.dtype, *panels[name], PALETTE[k])
        legend(ax, loc="upper left")
    headline(fig, f"Conservation: {run.title}")
    return fig
