"""What the equation conserves: energy without collisions, momentum without an external force."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from graphlandau.plotting.conservation import draw_drift
from graphlandau.plotting.style import PALETTE, headline, legend
from graphlandau.run.record import RunRecord

__all__ = ["draw_energy", "draw_momentum", "figure"]


def momentum_error(run: RunRecord) -> tuple[np.ndarray, np.ndarray] | None:
    r"""Return times and :math:`|p(t) - p(t_0) e^{-\epsilon (t - t_0)}| / M`, ``None`` with an external force.

    Particles exert no force on themselves as a whole, and friction slows them all alike.
    """
    names = [name for name in run.metrics if name == "momentum" or name.startswith("momentum_")]
    if not names or run.problem.potential is not None:
        return None
    t, p = run.metrics["t"], np.stack([run.metrics[name] for name in names])
    law = p[:, :1] * np.exp(-run.problem.epsilon * (t - t[0]))
    return t, np.linalg.norm(p - law, axis=0) / run.problem.mass


def draw_energy(ax: Axes, run: RunRecord) -> None:
    """Draw the relative drift of the energy on a logarithmic axis."""
    t, drift = run.metrics["t"], run.metrics["energy_rel_drift"]
    draw_drift(ax, t, drift, run.dtype, r"$|E(t) - E(t_0)| \, / \, E(t_0)$", "Energy", PALETTE[0])


def draw_momentum(ax: Axes, run: RunRecord) -> None:
    """Draw how far the mean velocity is from its law on a logarithmic axis."""
    found = momentum_error(run)
    if found is None:
        return
    law = r" e^{-\epsilon (t - t_0)}" if run.problem.epsilon > 0 else ""
    y = rf"$|\langle v \rangle(t) - \langle v \rangle(t_0){law}|$"
    draw_drift(ax, *found, run.dtype, y, "Momentum", PALETTE[1])


def figure(run: RunRecord) -> Figure | None:
    """Drift of energy and momentum, where they are conserved or decay by a law; none where neither is."""
    panels = [draw_energy] if run.series("energy_rel_drift") is not None else []
    panels += [draw_momentum] if momentum_error(run) is not None else []
    if not panels:
        return None
    fig = Figure(figsize=(max(4.6 * len(panels), 7.6), 3.9), layout="constrained")
    for ax, draw in zip(fig.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        draw(ax, run)
        legend(ax, loc="upper left")
    headline(fig, f"Conservation: {run.title}")
    return fig
