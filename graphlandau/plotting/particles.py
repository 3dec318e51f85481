"""The particles themselves, coloured by the density around them."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from scipy.interpolate import RegularGridInterpolator

from graphlandau.diagnostics import gaussian_kde, grid_axes, scott_bandwidth
from graphlandau.plotting.style import DENSITY_MAP, NIGHT, headline
from graphlandau.run.record import RunRecord, Snapshot

__all__ = ["density_at_particles", "draw_particles", "draw_scale", "figure", "plane_view"]

_POINTS = 161
# Up to this ratio of the extents in v_1 and v_2 a circle is drawn as one.
_ONE_SCALE = 1.6


def density_at_particles(run: RunRecord, snapshot: Snapshot) -> np.ndarray:
    r"""Return the estimated density of :math:`(v_1, v_2)` at each particle, shape :math:`(N,)`.

    For d = 2 this is f itself, for larger d its marginal. Gaussian kernel of Scott's bandwidth, tabulated
    on a grid and interpolated linearly.
    """
    plane = snapshot.v[:, :2]
    axes = grid_axes(float(plane.abs().max()) + 1e-6, _POINTS, 2)
    f = gaussian_kde(plane, axes, scott_bandwidth(plane), run.weight)
    return RegularGridInterpolator([axis.numpy() for axis in axes], f.numpy())(plane.numpy())


def plane_view(run: RunRecord) -> tuple[tuple[float, float], tuple[float, float], Literal["equal", "auto"]]:
    """Return limits of v_1 and v_2 and the aspect of the panel: one scale for both unless most of it stayed empty."""
    (left, right), (bottom, top) = run.views[:2]
    width, height = right - left, top - bottom
    if max(width, height) > _ONE_SCALE * min(width, height):
        return (left, right), (bottom, top), "auto"
    half = max(width, height) / 2
    x, y = (left + right) / 2, (bottom + top) / 2
    return (x - half, x + half), (y - half, y + half), "equal"


def draw_particles(
    axes: list[Axes], run: RunRecord, snapshots: list[Snapshot], *, thinning: int = 40_000
) -> ScalarMappable:
    """Scatter (v_1, v_2), a panel per snapshot, densest on top; return the colour scale they share.

    Of more than ``thinning`` particles the first so many are drawn, which are as random as all of them.
    """
    density = [density_at_particles(run, snapshot)[:thinning] for snapshot in snapshots]
    norm = Normalize(0, max(f.max() for f in density))
    x, y, aspect = plane_view(run)
    for ax, snapshot, f in zip(axes, snapshots, density, strict=True):
        order = np.argsort(f)
        v = snapshot.v[:thinning, :2][torch.from_numpy(order)].numpy()
        size = float(np.clip(5e4 / len(v), 1.2, 22))
        # As an image in a PDF: tens of thousands of circles are slow to open.
        ax.scatter(v[:, 0], v[:, 1], c=f[order], norm=norm, cmap=DENSITY_MAP, s=size, linewidths=0, rasterized=True)
        ax.set_facecolor(NIGHT)
        ax.grid(visible=False)
        ax.set(xlim=x, ylim=y, aspect=aspect)
        ax.text(
            0.04,
            0.95,
            f"$t = {snapshot.t:.4g}$",
            color="white",
            fontsize=12,
            va="top",
            transform=ax.transAxes,
        )
        ax.set_xlabel("$v_1$ (dimensionless)")
    axes[0].set_ylabel("$v_2$")
    for ax in axes[1:]:
        ax.tick_params(labelleft=False)
    return ScalarMappable(norm, DENSITY_MAP)


def draw_scale(ax: Axes, run: RunRecord, scale: ScalarMappable) -> None:
    """Draw the colour bar right of ``ax``, as high as it."""
    label = "density $f(v_1, v_2)$" if run.problem.d == 2 else "density of $(v_1, v_2)$"
    bar = ax.figure.colorbar(scale, cax=ax.inset_axes((1.04, 0, 0.04, 1)), label=label)
    bar.outline.set_visible(False)


def figure(run: RunRecord) -> Figure:
    """Particles in the plane of the first two velocity components, at four times."""
    snapshots = run.snapshots(4)
    fig = Figure(figsize=(3.4 * len(snapshots) + 0.9, 3.9), layout="constrained")
    axes = list(fig.subplots(1, len(snapshots), squeeze=False)[0])
    scale = draw_particles(axes, run, snapshots)
    draw_scale(axes[-1], run, scale)
    headline(fig, f"Particles coloured by density: {run.title}")
    return fig
