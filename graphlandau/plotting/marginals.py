"""The density of each position and each velocity at the end, against the exact or the stationary one."""

from __future__ import annotations

from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from graphlandau.plotting.histogram import line_bins, line_histogram
from graphlandau.plotting.known import line_density
from graphlandau.plotting.phase_snapshot import PhaseSnapshot, phase_snapshot
from graphlandau.plotting.style import EXACT, PALETTE, REFERENCE, headline, legend_below
from graphlandau.run.record import RunRecord

__all__ = ["draw_marginal", "figure"]

_POINTS = 401
_COMPONENTS = 3
_INITIAL: dict[str, Any] = {"color": "0.45", "linestyle": (0, (1, 1.3)), "linewidth": 1.3, "zorder": 3}
_STATIONARY: dict[str, Any] = REFERENCE | {"linewidth": 1.5, "zorder": 4}


def coordinates(snapshot: PhaseSnapshot) -> Tensor:
    """Return positions and velocities as one tensor (N, d_x + d)."""
    return torch.cat([snapshot.x, snapshot.v], dim=1)


def draw_marginal(ax: Axes, run: RunRecord, snapshot: PhaseSnapshot, coordinate: int) -> None:
    """Draw the histogram density of one entry of (x, v), and the exact, stationary and initial ones where known."""
    problem = run.problem
    is_x = coordinate < problem.d_x
    period = problem.lengths[coordinate] if is_x and problem.lengths is not None else None
    values = coordinates(snapshot)[:, coordinate]
    edges, view = line_bins(values, period, quiet=problem.loading == "quiet")
    f = line_histogram(values, edges)
    ax.stairs(f, edges, fill=True, color=PALETTE[0], alpha=0.3, label=f"particles at $t = {snapshot.t:.4g}$")
    ax.stairs(f, edges, color=PALETTE[0], linewidth=1.0, gid="particles")
    points = torch.linspace(*view, _POINTS, dtype=torch.float64)
    known = problem.density(problem.t_end) is not None
    curves: list[tuple[Any, str, str, dict[str, Any]]] = [
        (problem.initial, "initial", "initial density", _INITIAL),
        (problem.equilibrium(), "stationary", "stationary density", _STATIONARY if known else EXACT),
        (problem.density(snapshot.t) if known else None, "exact", "exact density", EXACT),
    ]
    heights = [float(f.max())]
    for density, gid, label, style in curves:
        y = None if density is None else line_density(density, coordinate, points)
        if y is not None:
            ax.plot(points, y, label=label, gid=gid, **style)
            heights.append(float(y.max()) if gid != "initial" else 0.0)
    component = coordinate if is_x else coordinate - problem.d_x
    alone = problem.d_x == 1 if is_x else problem.d == 1
    name = ("x" if is_x else "v") + ("" if alone else f"_{component + 1}")
    ax.set(xlabel=f"${name}$ (dimensionless)", ylabel=f"density of ${name}$", xlim=view)
    # An initial beam may be many times as high as all that follows.
    highest = max(heights)
    ax.set_ylim(0, min(max(1.12 * highest, ax.get_ylim()[1]), 2.2 * highest))


def figure(run: RunRecord) -> Figure:
    """Every position, then every velocity, up to three of each, at the last snapshot."""
    snapshot = phase_snapshot(run, -1)
    d_x, d = run.problem.d_x, run.problem.d
    cells = [*range(min(d_x, _COMPONENTS)), *(d_x + a for a in range(min(d, _COMPONENTS)))]
    # Velocities under their positions where there are as many, else in two lines.
    columns = 2 if d == 1 else -(-len(cells) // 2)
    rows = -(-len(cells) // columns)
    fig = Figure(figsize=(max(4.1 * columns, 9.4), 3.3 * rows + (1.0 if rows == 1 else 0.5)), layout="constrained")
    axes = list(fig.subplots(rows, columns, squeeze=False).flat)
    for ax, coordinate in zip(axes, cells, strict=False):
        draw_marginal(ax, run, snapshot, coordinate)
    for ax in axes[len(cells) :]:
        ax.set_axis_off()
    legend_below(fig)
    headline(fig, f"Positions and velocities at $t = {snapshot.t:.4g}$: {run.title}")
    return fig
