"""Phase space in motion: a GIF of the histograms of all snapshots."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from graphlandau.base.errors import InvalidArgument
from graphlandau.base.validation import require_integer
from graphlandau.plotting.histogram import phase_bins
from graphlandau.plotting.phase_snapshot import phase_snapshot
from graphlandau.plotting.phase_space import colour_norm, draw_histogram, draw_scale, draw_time
from graphlandau.plotting.style import NIGHT_MAP, styled
from graphlandau.run.record import RunRecord

__all__ = ["animate_phase_space"]

# Few colours, the same in all frames: a hundred frames of noisy particles then stay below 3 MB. They are equal steps of
# the colour map, and greys for the text.
_DPI = 96
_COLOURS, _GREYS = 56, 8
# Viewers do not show more frames in a second.
_FASTEST = 50


def animate_phase_space(run: RunRecord, path: Path, *, frames_per_second: int = 12) -> Path:
    r"""Write the histograms of :math:`(x_1, v_1)` at all snapshots of a run to the GIF ``path``.

    Bins, view and colours are the same in all frames. The last one stays for two seconds, then it starts anew.

    Raises:
        ValueError: If ``frames_per_second`` is not in 1..50, or ``path`` does not end in ``.gif``.
    """
    frames_per_second = require_integer("frames_per_second", frames_per_second, minimum=1)
    if frames_per_second > _FASTEST:
        raise InvalidArgument("frames_per_second", f"must be at most {_FASTEST}", frames_per_second)
    if Path(path).suffix != ".gif":
        raise InvalidArgument("path", "must end in .gif", path)
    with styled():
        frames = _frames(run)
    palette = Image.new("P", (1, 1))
    colours = NIGHT_MAP(np.linspace(0, 1, _COLOURS))[:, :3]
    greys = np.repeat(np.linspace(0, 1, _GREYS)[:, None], 3, axis=1)
    palette.putpalette([round(255 * float(x)) for x in np.concatenate([colours, greys]).ravel()])
    first, *others = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    duration = 1000 // frames_per_second
    durations = [duration] * len(others) + [2000]
    first.save(path, save_all=True, append_images=others, duration=durations, loop=0, optimize=False)
    return Path(path)


def _frames(run: RunRecord) -> list[Image.Image]:
    """Draw all frames."""
    places = range(len(run.times))
    bins = phase_bins(run, places)
    densities = [bins.density(phase_snapshot(run, place)) for place in places]
    fig = Figure(figsize=(5.4, 3.8), dpi=_DPI, layout="constrained")
    canvas = FigureCanvasAgg(fig)
    ax = fig.subplots()
    norm = colour_norm(max(float(density.max()) for density in densities))
    image = draw_histogram(ax, run, bins, phase_snapshot(run, 0), norm)
    draw_scale(ax, run, image)
    time = draw_time(ax, run.times[0])
    fig.draw_without_rendering()
    # Found once, so that nothing moves but the particles.
    fig.set_layout_engine("none")
    frames = []
    for t, density in zip(run.times, densities, strict=True):
        image.set_data(density.T)
        time.set_text(f"$t = {t:.2f}$")
        canvas.draw()
        frames.append(Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy()))
    return frames
