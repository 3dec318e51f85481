"""One look for all figures: fonts, a colour-blind-safe palette, how exact curves and baselines are drawn."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogFormatterSciNotation, LogLocator, NullFormatter, NullLocator

from graphlandau.base.files import write_atomically
from graphlandau.run.record import RunRecord

__all__ = [
    "DENSITY_MAP",
    "DPI",
    "EXACT",
    "FORMATS",
    "NIGHT",
    "NIGHT_MAP",
    "PALETTE",
    "REFERENCE",
    "SMOOTHED",
    "STYLE",
    "case_lines",
    "draw_errors",
    "headline",
    "legend",
    "legend_below",
    "log_axis",
    "save",
    "say_impossible",
    "styled",
    "time_axis",
    "time_colours",
    "velocity_axis",
    "widen_decades",
]

DPI = 150

FORMATS = ("png", "pdf", "svg")

# Okabe and Ito's palette, in the order in which its colours stay apart on white for every colour vision.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")

EXACT: dict[str, Any] = {"color": "black", "linestyle": (0, (4.5, 2.2)), "linewidth": 1.4, "zorder": 5}
SMOOTHED: dict[str, Any] = {"color": "0.35", "linestyle": (0, (1, 1.3)), "linewidth": 1.3, "zorder": 4}
REFERENCE: dict[str, Any] = {"color": "0.55", "linestyle": (0, (6, 2, 1, 2)), "linewidth": 1.1, "zorder": 1.5}

NIGHT = "#0d0b1a"
_GLOW = ("#4b2a8c", "#8b2f97", "#cf3f7c", "#f4685c", "#fca65d", "#fde28a", "#fffde0")
# For particles: starts well above the background, so that the last particle of the tail is still seen on it.
DENSITY_MAP = LinearSegmentedColormap.from_list("density", _GLOW)
# For histograms: starts at the background, of which an empty bin is part.
NIGHT_MAP = LinearSegmentedColormap.from_list("night", (NIGHT, "#251a52", *_GLOW))

STYLE: Any = {
    "figure.dpi": DPI,
    "savefig.dpi": DPI,
    "figure.facecolor": "white",
    "figure.titlesize": 13,
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "mathtext.fontset": "dejavusans",
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.labelsize": 10.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "0.9",
    "grid.linewidth": 0.7,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "lines.linewidth": 1.8,
    "lines.markersize": 5,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "legend.handlelength": 2.2,
    # Text of a PDF stays text, which journals ask for.
    "pdf.fonttype": 42,
}


@contextmanager
def styled() -> Iterator[None]:
    """Draw in the style of this package, free of what a ``matplotlibrc`` sets (``text.usetex`` needs LaTeX).

    Example:
        >>> with matplotlib.rc_context({"text.usetex": True}), styled():
        ...     matplotlib.rcParams["text.usetex"]
        False
    """
    with matplotlib.style.context(STYLE, after_reset=True):
        yield


def case_lines(cases: Iterable[str], widths: Sequence[float]) -> dict[str, dict[str, Any]]:
    """Return colour and width of the line of each case; earlier ones should be wider, so that all are seen."""
    looks = zip(cases, PALETTE[: len(widths)], widths, strict=True)
    return {case: {"color": colour, "linewidth": width} for case, colour, width in looks}


def time_colours(count: int) -> list[Any]:
    """Return ``count`` colours from early (dark blue) to late (orange), monotone in lightness."""
    ramp = LinearSegmentedColormap.from_list("time", ["#2c2f7a", "#8a2f8b", "#d1495b", "#f0a03c"])
    return [ramp(k / max(count - 1, 1)) for k in range(count)]


def velocity_axis(ax: Axes, half_width: float | tuple[float, float], component: int, y: str, title: str = "") -> None:
    """Make the horizontal axis that velocity component, from ``-half_width`` to ``half_width`` or over an interval."""
    ax.set_xlabel(f"$v_{component + 1}$ (dimensionless)")
    ax.set_xlim(half_width if isinstance(half_width, tuple) else (-half_width, half_width))
    ax.set_ylabel(y)
    ax.set_title(title)


def time_axis(ax: Axes, span: tuple[float, float], y: str, title: str = "") -> None:
    """Make the horizontal axis time, over the ``span`` of the run."""
    ax.set_xlabel("time $t$ (dimensionless)")
    ax.locator_params(axis="x", nbins=6)
    ax.set_xlim(span[0], max(span[1], span[0] + 1e-9))
    ax.set_ylabel(y)
    ax.set_title(title)


def draw_errors(ax: Axes, run: RunRecord, name: str, colour: Any) -> np.ndarray:
    """Shade two errors on either side of a metric that the run has, and return the errors, zero if it has none.

    Those of the column ``<name>_error``, of sample and fit; of an older run, or one in which they are not known, the
    standard errors.
    """
    series = run.series(name)
    assert series is not None
    t, values = series
    meanings = {f"{name}_error": r"$\pm 2$ errors, of sample and fit", f"{name}_stderr": r"$\pm 2$ standard errors"}
    for column, label in meanings.items():
        known = run.series(column)
        if known is not None:
            error = np.interp(t, *known)
            ax.fill_between(
                t, values - 2 * error, values + 2 * error, color=colour, alpha=0.25, linewidth=0, label=label
            )
            return error
    return np.zeros_like(values)


def say_impossible(ax: Axes, run: RunRecord) -> None:
    """Write into a panel of the entropy that it ends below what is possible, if it does."""
    if run.summary.get("entropy_impossible"):
        text = "at the end below what is possible:\nthe carried log-density is wrong"
        ax.text(0.03, 0.1, text, color=PALETTE[1], fontsize=9, transform=ax.transAxes, gid="impossible", zorder=6)


def widen_decades(ax: Axes, *, above: float = 0.0) -> None:
    """Make the vertical axis logarithmic, one decade or more, with ``above`` of its length free on top."""
    curves = [np.asarray(line.get_ydata(), dtype=float) for line in ax.get_lines()]
    values = np.concatenate([curve[curve > 0] for curve in curves] or [np.ones(1)])
    if not values.size:
        return
    low, high = np.log10(values.min()), np.log10(values.max())
    margin = max(0.06 * (high - low), (1.1 - (high - low)) / 2)
    low, high = low - margin, high + margin
    log_axis(ax, 10**low, 10 ** (high + above * (high - low)))


def log_axis(ax: Axes, low: float, high: float) -> None:
    """Make the vertical axis logarithmic from ``low`` to ``high``, with labels that do not crowd and always two.

    Where there are two powers of ten or more, these are labelled, with ticks but no labels between; else 1, 2 and 5
    times a power of ten are, without ticks between.
    """
    ax.set_ylim(low, high)
    ax.set_yscale("log")
    decades = np.log10(high / low)
    if np.floor(np.log10(high)) - np.ceil(np.log10(low)) >= 1:
        ax.yaxis.set_minor_formatter(NullFormatter())
        return
    # Over less than a factor of three even 1, 2 and 5 may be off the axis.
    subs = (1, 2, 5) if decades > 0.5 else tuple(range(1, 10))
    ax.yaxis.set_major_locator(LogLocator(subs=subs))
    ax.yaxis.set_minor_locator(NullLocator())
    plain = low >= 1e-3 and high < 1e4
    ax.yaxis.set_major_formatter(
        FuncFormatter(lambda y, _: f"{y:g}") if plain else LogFormatterSciNotation(minor_thresholds=(np.inf, np.inf))
    )


def legend(ax: Axes, handles: Sequence[Any] | None = None, **where: Any) -> None:
    """Draw the legend, where it hides least unless told; nothing if no artist carries a label."""
    found = ax.get_legend_handles_labels()[0] if handles is None else list(handles)
    if found:
        ax.legend(handles=found, **where)


def legend_below(fig: Figure, ncols: int = 6) -> None:
    """Draw one legend for all panels, each label once."""
    labelled = [ax.get_legend_handles_labels() for ax in fig.axes]
    entries = {label: handle for handles, labels in labelled for handle, label in zip(handles, labels, strict=True)}
    fig.legend(entries.values(), entries.keys(), loc="outside lower center", ncols=ncols)


def headline(fig: Figure, text: str, size: float = 13.0) -> None:
    """Write the title of ``fig`` from its left edge, in two lines or smaller where it would not fit."""

    def widest(line: str) -> float:
        # A character of this font is 0.58 of its size wide, on average; a formula's backslashes are not seen.
        return 72 * 0.98 * fig.get_figwidth() / (0.58 * max(1, len(line.replace("\\", "").replace("$", ""))))

    parts = text.split(" · ")
    if widest(text) < 0.85 * size and len(parts) > 1:
        # Where the longer of both lines is shortest.
        breaks = [(" · ".join(parts[:k]), " · ".join(parts[k:])) for k in range(1, len(parts))]
        text = "\n".join(min(breaks, key=lambda lines: max(map(len, lines))))
    fig.suptitle(text, x=0.01, ha="left", fontsize=min([size, *map(widest, text.split("\n"))]))


def save(figure: Figure, path: Path) -> Path:
    """Write ``figure`` to ``path``, as its ending says (:data:`FORMATS`), at 150 dpi, without pyplot or a display."""
    FigureCanvasAgg(figure)
    with styled():
        picture = io.BytesIO()
        figure.savefig(picture, dpi=DPI, format=path.suffix.removeprefix(".") or "png")
    write_atomically(path, picture.getvalue())
    return path
