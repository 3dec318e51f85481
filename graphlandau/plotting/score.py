"""The score carried by the particles against the exact score."""

from __future__ import annotations

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from graphlandau.plotting.style import EXACT, PALETTE, REFERENCE, headline, velocity_axis
from graphlandau.problems import Gaussian, Problem
from graphlandau.run.record import RunRecord, Snapshot

__all__ = ["draw_score", "draw_score_error", "figure", "robust_limits"]

# Drawn against the curve are the particles this close to the axis on which it is taken, but never fewer or more.
_CLOSE, _FEWEST, _MOST = 0.12, 300, 2500
_POINTS = 400


def draw_score(
    ax: Axes,
    run: RunRecord,
    snapshot: Snapshot,
    component: int,
    colour: str = PALETTE[0],
    limits: tuple[float, float] | None = None,
) -> None:
    r"""Draw :math:`s_a` against :math:`v_a` for the particles nearest to axis a, and the exact one on it.

    Where no exact density is known, the Gaussian of the exact covariance, or else the Maxwellian of equal energy,
    serves as a reference, drawn grey because it is not the solution. ``limits`` of the vertical axis are those of the
    particles unless given.
    """
    v, s = snapshot.v, snapshot.s
    distance = (v.square().sum(dim=1) - v[:, component].square()).clamp(min=0).sqrt()
    close = int((distance < _CLOSE).sum())
    nearest = distance.argsort()[: min(max(close, _FEWEST), _MOST)]
    ax.scatter(
        v[nearest, component], s[nearest, component], s=7, color=colour, alpha=0.55, linewidths=0, rasterized=True
    )
    low, high = limits or robust_limits(s[nearest, component].numpy())
    x = torch.linspace(-run.half_width, run.half_width, _POINTS, dtype=torch.float64)
    density, reference = run.problem.density(snapshot.t), _reference(run.problem, snapshot.t)
    if density is not None:
        line = x.new_zeros(x.numel(), run.problem.d)
        line[:, component] = x
        curve = density.score(line)[:, component]
        # Blank far outside the panel, at a jump, and where there is no density: no line joins two branches.
        jump = curve.diff(append=curve[-1:]).abs() > high - low
        far = (curve < 2 * low - high) | (curve > 2 * high - low)
        curve[far | jump | density.log_prob(line).isneginf()] = torch.nan
        ax.plot(x, curve, gid="exact", **EXACT)
    elif reference is not None:
        line = reference.mean.repeat(x.numel(), 1)
        line[:, component] = x
        ax.plot(x, reference.score(line)[:, component], gid="gaussian", **REFERENCE)
    velocity_axis(ax, run.views[component], component, f"$s_{component + 1}$", f"$t = {snapshot.t:.4g}$")
    if len(v) > len(nearest):
        near = f"particles within {float(distance[nearest].max()):.2f} of the axis"
        ax.set_title(near, loc="right", fontsize=8.5, color="0.4")
    ax.set_ylim(low, high)


def _reference(problem: Problem, t: float) -> Gaussian | None:
    equilibrium, covariance = problem.equilibrium(), problem.covariance(t)
    if equilibrium is None or covariance is None:
        return equilibrium
    return Gaussian(equilibrium.mean, covariance)


def draw_score_error(ax: Axes, run: RunRecord, snapshot: Snapshot, component: int) -> None:
    r"""Draw :math:`s_a - \partial_a \log f` at all particles against :math:`v_a`."""
    difference = (snapshot.s - run.problem.score(snapshot.v, snapshot.t))[:, component]
    ax.scatter(snapshot.v[:, component], difference, s=2, color=PALETTE[1], alpha=0.35, linewidths=0, rasterized=True)
    ax.axhline(0, **EXACT)
    name = rf"$s_{component + 1} - \partial_{component + 1} \log \, f$"
    velocity_axis(ax, run.views[component], component, name)
    ax.set_ylim(*robust_limits(difference.numpy(), symmetric=True))


def robust_limits(values: np.ndarray, *, symmetric: bool = False) -> tuple[float, float]:
    """Limits that a few particles beside a singularity of the score (BKW: the origin at t = 0) do not set."""
    low, high = np.quantile(values, [0.004, 0.996])
    if symmetric:
        high = max(abs(low), abs(high))
        low = -high
    margin = 0.15 * max(high - low, 1e-12)
    return low - margin, high + margin


def figure(run: RunRecord) -> Figure:
    """First row: score component 1. Second row: its error where the truth is known, else component 2."""
    snapshots = run.snapshots(3)
    known = all(run.problem.density(snapshot.t) is not None for snapshot in snapshots)
    fig = Figure(figsize=(4.1 * len(snapshots), 6.6), layout="constrained")
    axes = fig.subplots(2, len(snapshots), squeeze=False)
    for column, snapshot in enumerate(snapshots):
        draw_score(axes[0, column], run, snapshot, 0)
        if known:
            draw_score_error(axes[1, column], run, snapshot, 0)
        else:
            draw_score(axes[1, column], run, snapshot, 1)
    drawn = {line.get_gid() for ax in fig.axes for line in ax.get_lines()}
    handles = [Line2D([], [], color=PALETTE[0], marker="o", linestyle="", label="particles")]
    if known:
        handles.append(Line2D([], [], color=PALETTE[1], marker="o", linestyle="", label="error, all particles"))
    if "exact" in drawn:
        handles.append(Line2D([], [], label="exact score on the axis", **EXACT))
    if "gaussian" in drawn:
        known = run.problem.covariance(run.problem.t_start) is not None
        kind = "Gaussian of the exact covariance" if known else "Maxwellian of equal energy"
        handles.append(Line2D([], [], label=f"score of the {kind}", **REFERENCE))
    fig.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    headline(fig, f"Score at the particles: {run.title}")
    return fig
