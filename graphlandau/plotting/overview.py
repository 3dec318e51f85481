"""One picture of a run: particles relaxing, a profile, what evolves, and how far it is off."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from graphlandau.plotting import conservation, covariance, density, entropy, errors, particles
from graphlandau.plotting.style import PALETTE, headline, legend, time_axis, time_colours, widen_decades
from graphlandau.problems import Problem
from graphlandau.run.record import RunRecord, Snapshot

__all__ = ["figure"]


def _draw_profile(ax: Axes, run: RunRecord, snapshots: list[Snapshot]) -> None:
    """Draw the slice (:func:`density.has_slices`), else the marginal whose variance changes most."""
    slices = density.has_slices(run)
    change = snapshots[-1].v.var(dim=0).log() - snapshots[0].v.var(dim=0).log()
    component = 0 if slices else int(change.abs().argmax())
    draw = density.draw_slice if slices else density.draw_marginal
    for colour, snapshot in zip(time_colours(len(snapshots)), snapshots, strict=True):
        draw(ax, run, snapshot, component, colour, f"$t = {snapshot.t:.4g}$")
    ax.set_title("Density along an axis" if slices else f"Density of $v_{component + 1}$")
    ax.set_ylim(0, 1.45 * ax.get_ylim()[1])
    legend(ax, density.line_meanings(run, snapshots, [ax]), loc="upper center", ncols=2, fontsize=8.5)


def _evolution(run: RunRecord) -> Callable[[Axes, RunRecord], None] | None:
    """Choose what shows the relaxation: the entropy if its exact curve is known or temperatures stand still."""
    shown = _equal_temperatures(run.problem) or entropy.exact_entropy(run) is not None
    if run.series("entropy") is not None and shown:
        return entropy.draw_entropy
    if run.series("cov_1_1") is not None:
        return covariance.draw_covariance
    return entropy.draw_entropy if run.series("entropy") is not None else None


def _equal_temperatures(problem: Problem) -> bool:
    """Whether the diagonal of the covariance, all that is drawn of it, starts at its limit."""
    equilibrium, sigma = problem.equilibrium(), problem.initial.covariance
    return equilibrium is not None and sigma is not None and torch.allclose(sigma.diag(), equilibrium.covariance.diag())


def _draw_errors(ax: Axes, run: RunRecord) -> None:
    """Draw score and density errors on one logarithmic axis, with the baselines of the latter."""
    errors.draw_density_error(ax, run)
    errors.draw_fisher(ax, run)
    time_axis(ax, run.time_span, "error against the exact solution", "Error")
    ax.relim()
    ax.autoscale(axis="y")
    widen_decades(ax, above=0.5)


def _draw_energy(ax: Axes, run: RunRecord) -> None:
    t, drift = run.metrics["t"], run.metrics["energy_rel_drift"]
    conservation.draw_drift(ax, t, drift, run.dtype, r"$|E(t) - E(t_0)| \, / \, E(t_0)$", "Energy", PALETTE[0])


def _accuracy(run: RunRecord) -> Callable[[Axes, RunRecord], object] | None:
    """Choose what shows the accuracy: errors against the density, else the covariance, else energy."""
    if run.series("rel_fisher_divergence") is not None:
        return _draw_errors
    if run.series("cov_frobenius_error") is not None:
        return covariance.draw_covariance_error
    return _draw_energy if run.series("energy_rel_drift") is not None else None


def figure(run: RunRecord) -> Figure:
    """Particles at three times above, profile, evolution and accuracy below."""
    snapshots = run.snapshots(3)
    panels = [panel for panel in (_evolution(run), _accuracy(run)) if panel is not None]
    fig = Figure(figsize=(12.8, 8.6), layout="constrained")
    parts: Any = fig.subfigures(2, 1, height_ratios=(1.15, 1), hspace=0.02)
    top, bottom = parts
    axes = list(top.subplots(1, len(snapshots), squeeze=False)[0])
    scale = particles.draw_particles(axes, run, snapshots)
    particles.draw_scale(axes[-1], run, scale)
    lower = bottom.subplots(1, 1 + len(panels), squeeze=False)[0]
    _draw_profile(lower[0], run, snapshots)
    for ax, draw in zip(lower[1:], panels, strict=True):
        draw(ax, run)
        legend(ax)
    headline(fig, f"A plasma relaxing: {run.title}", size=14)
    return fig
