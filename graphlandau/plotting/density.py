"""Density profiles against the exact ones: slices through the origin and marginals."""

from __future__ import annotations

from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from torch import Tensor

from graphlandau.diagnostics import gaussian_kde
from graphlandau.plotting import exact
from graphlandau.plotting.style import EXACT, PALETTE, SMOOTHED, headline, velocity_axis
from graphlandau.run.record import RunRecord, Snapshot

__all__ = [
    "axis_marginal",
    "axis_points",
    "axis_slice",
    "draw_marginal",
    "draw_slice",
    "figure",
    "has_slices",
    "line_meanings",
]

_POINTS = 241


def has_slices(run: RunRecord) -> bool:
    """Whether slices are drawn: for d <= 3, if the density is known throughout or the problem has a grid for it."""
    known = run.problem.density(run.problem.t_end) is not None
    return run.problem.d <= 3 and (known or run.problem.grid is not None)


def axis_points(run: RunRecord) -> Tensor:
    """Return the points of a slice, over the problem's grid."""
    return torch.linspace(-run.half_width, run.half_width, _POINTS, dtype=torch.float64)


def axis_slice(run: RunRecord, v: Tensor, component: int = 0, weight: Tensor | None = None) -> Tensor:
    """Return the kernel estimate of the density at :func:`axis_points` of one axis, with the problem's bandwidth."""
    x = axis_points(run)
    axes = [x if a == component else x.new_zeros(1) for a in range(run.problem.d)]
    return gaussian_kde(v, axes, run.problem.bandwidth, weight).flatten()


def axis_marginal(run: RunRecord, v: Tensor, component: int = 0, weight: Tensor | None = None) -> Tensor:
    """Return the kernel estimate of the marginal density of one component, as :func:`axis_slice`."""
    return gaussian_kde(v[:, component : component + 1], [axis_points(run)], run.problem.bandwidth, weight)


def draw_slice(ax: Axes, run: RunRecord, snapshot: Snapshot, component: int, colour: Any, label: str) -> None:
    """Draw f along a velocity axis (d <= 3): particles in colour, exact dashed, smoothed exact dotted."""
    x, h = axis_points(run), run.problem.bandwidth
    ax.plot(x, axis_slice(run, snapshot.v, component, run.weight), color=colour, label=label, gid="particles")
    density = run.problem.density(snapshot.t)
    if density is not None:
        _draw_exact(ax, x, exact.slice_along(density, x, component), exact.smoothed_slice(density, x, component, h))
    others = ", 0" * (run.problem.d - 1)
    name = f"$f(v_1{others})$" if component == 0 else f"$f(v_{component + 1} e_{component + 1})$"
    velocity_axis(ax, run.views[component], component, name)


def draw_marginal(ax: Axes, run: RunRecord, snapshot: Snapshot, component: int, colour: Any, label: str) -> None:
    """Draw the marginal density of one velocity component, as in :func:`draw_slice`; exact for d <= 3."""
    x, h = axis_points(run), run.problem.bandwidth
    ax.plot(x, axis_marginal(run, snapshot.v, component, run.weight), color=colour, label=label, gid="particles")
    density = run.problem.density(snapshot.t) if run.problem.d <= 3 else None
    if density is not None:
        f = exact.marginal(density, x, component, run.half_width)
        _draw_exact(ax, x, f, exact.smoothed_curve(f, x, h))
    velocity_axis(ax, run.views[component], component, f"$f_{component + 1}(v_{component + 1})$")


def _draw_exact(ax: Axes, x: Tensor, f: Tensor, smoothed: Tensor) -> None:
    ax.plot(x, smoothed, gid="smoothed", **SMOOTHED)
    ax.plot(x, f, gid="exact", **EXACT)


def line_meanings(run: RunRecord, snapshots: list[Snapshot], axes: list[Axes]) -> list[Line2D]:
    """Return legend handles: the labelled curves of the first panel, then what dashed and dotted mean."""
    handles = [line for line in axes[0].get_lines() if not str(line.get_label()).startswith("_")]
    drawn = {line.get_gid() for ax in axes for line in ax.get_lines()}
    if "exact" in drawn:
        known = all(run.problem.density(snapshot.t) is not None for snapshot in snapshots)
        when = "" if known else f" ($t = {snapshots[0].t:.4g}$ only)"
        handles.append(Line2D([], [], label=f"exact{when}", **EXACT))
    if "smoothed" in drawn:
        kernel = f"exact, smoothed like the\nparticles (width {run.problem.bandwidth:g})"
        handles.append(Line2D([], [], label=kernel, **SMOOTHED))
    return handles


def figure(run: RunRecord) -> Figure:
    """Four times side by side: above the slice along v_1 (:func:`has_slices`), below the marginals."""
    snapshots = run.snapshots(4)
    d = run.problem.d
    slices = has_slices(run)
    rows = 2 if slices else 1
    fig = Figure(figsize=(3.2 * len(snapshots) + 0.4, 2.9 * rows + 0.9), layout="constrained")
    grid = fig.subplots(rows, len(snapshots), squeeze=False, sharey="row")
    for column, snapshot in enumerate(snapshots):
        if slices:
            draw_slice(grid[0, column], run, snapshot, 0, PALETTE[0], "particles, $v_1$")
        for a in range(min(d, 3)):
            draw_marginal(grid[-1, column], run, snapshot, a, PALETTE[a], f"particles, $v_{a + 1}$")
        low, high = zip(*run.views[:3], strict=True)
        grid[-1, column].set(xlabel="$v_a$ (dimensionless)", ylabel="marginals $f_a(v_a)$", xlim=(min(low), max(high)))
        grid[0, column].set_title(f"$t = {snapshot.t:.4g}$")
    for ax in grid[:, 1:].flat:
        ax.set_ylabel("")
    for ax in grid[:, 0]:
        ax.set_ylim(bottom=0)
    fig.legend(handles=line_meanings(run, snapshots, list(grid[::-1].flat)), loc="outside lower center", ncols=5)
    headline(fig, f"Density estimated from the particles: {run.title}")
    return fig
