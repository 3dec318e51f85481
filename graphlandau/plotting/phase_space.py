"""The particles in phase space: histograms of position and velocity, with contours of what is known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, Normalize, PowerNorm
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.text import Text

from graphlandau.plotting.histogram import HARMONICS, Bins, carries_small_wave, phase_bins
from graphlandau.plotting.known import plane_density, target
from graphlandau.plotting.phase_snapshot import PhaseSnapshot, phase_snapshot
from graphlandau.plotting.style import NIGHT, NIGHT_MAP, headline
from graphlandau.run.record import RunRecord

__all__ = ["LEVELS", "axis_names", "colour_norm", "contour_meaning", "draw_histograms", "draw_scale", "figure"]

# Contours, as shares of the largest value.
LEVELS = (0.01, 0.1, 0.5)
_POINTS = 201
WAVE_MAP = colormaps["RdBu_r"]
# Keeps the time legible where a contour passes behind it.
_PLATE = {"facecolor": NIGHT, "edgecolor": "none", "alpha": 0.7, "boxstyle": "round,pad=0.2"}


def axis_names(run: RunRecord) -> tuple[str, str]:
    """Return what position and velocity are called: without a number where there is only one."""
    return "$x$" if run.problem.d_x == 1 else "$x_1$", "$v$" if run.problem.d == 1 else "$v_1$"


def draw_histogram(ax: Axes, run: RunRecord, bins: Bins, snapshot: PhaseSnapshot, norm: Normalize) -> AxesImage:
    """Draw the histogram density of (x_1, v_1) on the dark ground."""
    return _draw_image(ax, run, bins, bins.density(snapshot), norm, NIGHT_MAP)


def draw_wave(ax: Axes, run: RunRecord, bins: Bins, snapshot: PhaseSnapshot, norm: Normalize) -> AxesImage:
    """Draw what of the histogram density varies along the box, red where there is more than the mean."""
    return _draw_image(ax, run, bins, bins.wave(snapshot, HARMONICS * run.problem.mode), norm, WAVE_MAP)


def _draw_image(
    ax: Axes, run: RunRecord, bins: Bins, values: np.ndarray, norm: Normalize, colours: Colormap
) -> AxesImage:
    image = ax.imshow(
        values.T,
        extent=bins.extent,
        origin="lower",
        aspect="auto",
        cmap=colours,
        norm=norm,
        interpolation="bilinear",
    )
    x, v = axis_names(run)
    ax.set(xlim=bins.x_view, ylim=bins.v_view, facecolor=colours(0.0), xlabel=f"{x} (dimensionless)", ylabel=v)
    ax.grid(visible=False)
    return image


def draw_time(ax: Axes, t: float) -> Text:
    """Write the time into the upper left corner."""
    return ax.text(
        0.035, 0.955, f"$t = {t:.4g}$", color="white", fontsize=12, va="top", transform=ax.transAxes, bbox=_PLATE
    )


def draw_contours(ax: Axes, run: RunRecord, bins: Bins, t: float) -> str | None:
    """Draw contours of the exact density, else of the stationary one; return which, ``None`` if neither is known."""
    found = target(run, t)
    x, v = (torch.linspace(*view, _POINTS, dtype=torch.float64) for view in (bins.x_view, bins.v_view))
    f = None if found is None else plane_density(found[0], x, v)
    if found is None or f is None:
        return None
    levels = [share * float(f.max()) for share in LEVELS]
    ax.contour(x, v, f.T, levels=levels, colors="white", linewidths=0.8, alpha=0.6)
    return found[1]


def colour_norm(highest: float) -> Normalize:
    """Return the scale of the colours, between linear and the root, that ends above the ``highest`` density."""
    return PowerNorm(0.7, 0, 1.15 * highest)


def draw_histograms(
    axes: Sequence[Axes], run: RunRecord, snapshots: Sequence[PhaseSnapshot], bins: Bins
) -> tuple[ScalarMappable, str | None]:
    """Draw a panel per snapshot; return the colour scale they share, and what the contours are of.

    A small wave (:func:`graphlandau.plotting.histogram.carries_small_wave`) is drawn without the mean over the box,
    which would hide it.
    """
    if carries_small_wave(run, snapshots, bins):
        return _draw_waves(axes, run, snapshots, bins), None
    norm = colour_norm(max(float(bins.density(snapshot).max()) for snapshot in snapshots))
    meaning = None
    for ax, snapshot in zip(axes, snapshots, strict=True):
        draw_histogram(ax, run, bins, snapshot, norm)
        draw_time(ax, snapshot.t)
        meaning = draw_contours(ax, run, bins, snapshot.t)
    return ScalarMappable(norm, NIGHT_MAP), meaning


def _draw_waves(axes: Sequence[Axes], run: RunRecord, snapshots: Sequence[PhaseSnapshot], bins: Bins) -> ScalarMappable:
    # Late structures are fine and weak, noise at the edge is rare and strong: colours end at a high quantile.
    waves = np.abs([bins.wave(snapshot, HARMONICS * run.problem.mode) for snapshot in snapshots])
    highest = float(np.quantile(waves, 0.998))
    norm = Normalize(-highest, highest)
    for ax, snapshot in zip(axes, snapshots, strict=True):
        draw_wave(ax, run, bins, snapshot, norm)
        draw_time(ax, snapshot.t)
    return ScalarMappable(norm, WAVE_MAP)


def scale_label(run: RunRecord, scale: ScalarMappable) -> str:
    """Return what the colours mean."""
    x, v = axis_names(run)
    pair = f"({x[1:-1]}, {v[1:-1]})"
    if scale.cmap is not WAVE_MAP:
        return f"density of ${pair}$"
    return rf"$\delta f{pair}$: density less its mean over the box," + f"\nthe first {HARMONICS} harmonics of the mode"


def draw_scale(ax: Axes, run: RunRecord, scale: ScalarMappable) -> None:
    """Draw the colour bar right of ``ax``, as high as it."""
    bar = ax.figure.colorbar(scale, cax=ax.inset_axes((1.04, 0, 0.04, 1)), label=scale_label(run, scale))
    bar.outline.set_visible(False)


def contour_meaning(meaning: str) -> Line2D:
    """Return the legend entry of the contours: they are white on the dark ground, grey here."""
    *rest, last = [f"{share:g}" for share in LEVELS]
    label = f"contours: {meaning} density at {', '.join(rest)} and {last} of its maximum"
    return Line2D([], [], color="0.55", linewidth=1.2, label=label)


def figure(run: RunRecord) -> Figure:
    """Histograms of the first position and velocity at up to six times."""
    places = run.places(6)
    snapshots, bins = [phase_snapshot(run, place) for place in places], phase_bins(run, places)
    columns = min(3, len(snapshots))
    rows = -(-len(snapshots) // columns)
    fig = Figure(figsize=(3.7 * columns + 0.9, 3.1 * rows + 0.9), layout="constrained")
    grid = fig.subplots(rows, columns, squeeze=False)
    axes = list(grid.flat)
    scale, meaning = draw_histograms(axes[: len(snapshots)], run, snapshots, bins)
    for ax in axes[len(snapshots) :]:
        ax.set_axis_off()
    for k, ax in enumerate(axes[: len(snapshots)]):
        ax.tick_params(labelleft=k % columns == 0, labelbottom=k + columns >= len(snapshots))
        ax.set_ylabel(ax.get_ylabel() if k % columns == 0 else "")
        ax.set_xlabel(ax.get_xlabel() if k + columns >= len(snapshots) else "")
    bar = fig.colorbar(scale, ax=list(axes), label=scale_label(run, scale), pad=0.012, aspect=20 * rows)
    bar.outline.set_visible(False)
    if meaning is not None:
        fig.legend(handles=[contour_meaning(meaning)], loc="outside lower center")
    headline(fig, f"Particles in phase space: {run.title}")
    return fig
