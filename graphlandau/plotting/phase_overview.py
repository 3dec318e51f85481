"""One picture of a kinetic run: phase space at three times, what evolves, energies, and the density in space."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from graphlandau.plotting import field, marginals, relaxation
from graphlandau.plotting.histogram import phase_bins
from graphlandau.plotting.phase_snapshot import phase_snapshot
from graphlandau.plotting.phase_space import contour_meaning, draw_histograms, draw_scale
from graphlandau.plotting.style import PALETTE, headline, legend, time_axis
from graphlandau.run.record import RunRecord

__all__ = ["draw_energies", "figure"]

_ENERGIES = {
    "kinetic": ("kinetic", {"color": PALETTE[1]}),
    "field_energy": ("field", {"color": PALETTE[0]}),
    "potential": ("potential", {"color": PALETTE[4]}),
    "energy": ("energy", {"color": "0.25", "linewidth": 1.4}),
    "free_energy": ("free energy", {"color": PALETTE[2], "linewidth": 2.4}),
}


def draw_energies(ax: Axes, run: RunRecord) -> None:
    """Draw how each energy, and the free energy where collisions lower it, has changed since the start."""
    for name, (label, style) in _ENERGIES.items():
        series = run.series(name)
        if series is not None and not (name == "free_energy" and run.problem.epsilon == 0):
            ax.plot(series[0], series[1] - series[1][0], label=label, gid=name, **style)
    time_axis(ax, run.time_span, "change since the start", "Energies")
    low, high = ax.get_ylim()
    ax.set_ylim(low, high + 0.3 * (high - low))


def _evolution(run: RunRecord) -> Callable[[Axes, RunRecord], None] | None:
    """Choose what shows the evolution: the mode of the field, else the distance from equilibrium."""
    if run.series("mode_amplitude") is not None:
        return field.draw_mode
    return relaxation.draw_kl if run.series("kl") is not None else None


def _draw_space(ax: Axes, run: RunRecord) -> None:
    """Draw the field, else the density of the first position at the end."""
    if run.series("e2") is not None:
        field.draw_profile(ax, run)
        legend(ax, loc="upper center", ncols=3)
        return
    snapshot = phase_snapshot(run, -1)
    marginals.draw_marginal(ax, run, snapshot, 0)
    ax.set_title("Density in space")
    ax.set_ylim(0, 1.4 * ax.get_ylim()[1])
    legend(ax, loc="upper left", ncols=2, fontsize=8.5)


def _subject(run: RunRecord) -> str:
    elsewhere = "Free particles" if run.problem.potential is None else "Particles in a potential"
    what = "A plasma in its own field" if run.problem.self_consistent else elsewhere
    return what + (", relaxing" if run.problem.epsilon > 0 else "")


def figure(run: RunRecord) -> Figure:
    """Phase space at three times above; evolution, energies and the profile in space below."""
    places = run.places(3)
    snapshots, bins = [phase_snapshot(run, place) for place in places], phase_bins(run, places)
    evolution = _evolution(run)
    fig = Figure(figsize=(12.8, 8.6), layout="constrained")
    parts: Any = fig.subfigures(2, 1, height_ratios=(1.1, 1), hspace=0.02)
    top, bottom = parts
    axes = list(top.subplots(1, len(snapshots), squeeze=False)[0])
    scale, meaning = draw_histograms(axes, run, snapshots, bins)
    for ax in axes[1:]:
        ax.set_ylabel("")
        ax.tick_params(labelleft=False)
    draw_scale(axes[-1], run, scale)
    if meaning is not None:
        top.legend(handles=[contour_meaning(meaning)], loc="outside lower center")
    lower = list(bottom.subplots(1, 2 + (evolution is not None), squeeze=False)[0])
    if evolution is not None:
        evolution(lower[0], run)
        legend(lower[0])
    draw_energies(lower[-2], run)
    legend(lower[-2], loc="upper center", ncols=2)
    _draw_space(lower[-1], run)
    headline(fig, f"{_subject(run)}: {run.title}", size=14)
    return fig
