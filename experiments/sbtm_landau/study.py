"""What the figures of this folder share: the estimators that are compared, and how they are drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes

from graphlandau.plotting import RunRecord
from graphlandau.plotting.style import PALETTE

# The estimators that are compared. "sbtm" is the experiment's own configuration: the paper's network and training.
CASES: dict[str, list[str]] = {
    "sbtm": [],
    "residual": ["--method", "sbtm", "--score", "residual", "--log_det", "none"],
    "closed_form": ["--method", "sbtm", "--score", "closed_form", "--log_det", "none"],
    "blob": ["--method", "blob", "--log_det", "none"],
    "blob_corrected": ["--method", "blob", "--method.correct", "true", "--log_det", "none"],
}
NAMES = {
    "sbtm": "SBTM (the paper's network)",
    "residual": "SBTM, residual network",
    "closed_form": "SBTM, closed form",
    "blob": "blob",
    "blob_corrected": "blob, corrected",
}
COLOURS = dict(zip(CASES, PALETTE, strict=False))
MARKERS = dict(zip(CASES, "osD^v", strict=False))

Records = Mapping[str, RunRecord]


def scan(figure: str, cases: Mapping[str, Sequence[str]], sizes: Sequence[int], *more: str) -> dict[str, list[str]]:
    """Return the runs of an experiment for every case and number of particles, by the names ``case-particles``."""
    base = ["--config", f"sbtm_landau/{figure}", "--figures", "false", "--checkpoint_every", "100", *more]
    return {f"{c}-{n}": [*base, *a, "--particles", str(n)] for c, a in cases.items() for n in sizes}


def against_particles(ax: Axes, found: Records, sizes: Sequence[int], key: str, title: str, y: str) -> None:
    """Draw a number of the summaries against the number of particles, a line for each case."""
    for case in CASES:
        known = [(n, found[f"{case}-{n}"].summary.get(key)) for n in sizes if f"{case}-{n}" in found]
        points = [(n, x) for n, x in known if x is not None]
        if points:
            ax.loglog(*zip(*points, strict=True), label=NAMES[case], color=COLOURS[case], marker=MARKERS[case])
    ax.set_xlabel("particles $n$")
    ax.set_ylabel(y)
    ax.set_title(title)


def over_time(ax: Axes, found: Records, sizes: Sequence[int], key: str, title: str, y: str, sign: float = 1.0) -> None:
    """Draw a metric over time for a few and for many particles: dotted and solid lines."""
    for case in CASES:
        for n, dashes in zip(sizes, (":", "-"), strict=True):
            series = found[f"{case}-{n}"].series(key) if f"{case}-{n}" in found else None
            if series is not None:
                ax.plot(series[0], sign * series[1], dashes, color=COLOURS[case], linewidth=1.6)
    ax.set_xlabel("time $t$ (dimensionless)")
    ax.set_ylabel(y)
    ax.set_title(f"{title}: {sizes[0]:,} (dotted), {sizes[1]:,} particles")
