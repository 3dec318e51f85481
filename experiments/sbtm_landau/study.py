"""What the figures of this folder share: their runs, the command line, where pictures and tables go."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from graphlandau.plotting import RunRecord
from graphlandau.plotting.style import PALETTE, STYLE, save
from graphlandau.sweep import run_sweep
from graphlandau.tables import write_csv

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
RESULTS = Path(__file__).parent / "results"

Records = Mapping[str, RunRecord]


def arguments(doc: str | None, figure: str, sizes: Sequence[int], smoke: Sequence[int]) -> argparse.Namespace:
    """Read the command line that all scripts have; ``sizes`` are numbers of particles, ``smoke`` the few of a trial."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="a few particles and steps, to see that it runs")
    parser.add_argument("--jobs", type=int, default=1, help="runs at the same time")
    parser.add_argument("--runs", type=Path, help=f"folder of the run folders (default runs/sbtm_landau/{figure})")
    parser.add_argument("--out", type=Path, help="folder of picture and table (default: results, beside this script)")
    parser.add_argument("--sizes", type=int, nargs="+", help=f"numbers of particles (default {list(sizes)})")
    options = parser.parse_args()
    options.sizes = options.sizes or list(smoke if options.smoke else sizes)
    options.runs = options.runs or Path("runs/sbtm_landau") / ("smoke" if options.smoke else "") / figure
    options.out = options.out or (options.runs if options.smoke else RESULTS)
    return options


def records(runs: Mapping[str, Sequence[str]], options: argparse.Namespace) -> dict[str, RunRecord]:
    """Run what is not finished; a run that failed ends the script, the others are kept."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    rows = run_sweep(runs, options.runs, jobs=options.jobs)
    failed = [f"{row['name']}: {row['error']}" for row in rows if row["status"] != "done"]
    if failed:
        raise SystemExit("\n".join(failed))
    return {row["name"]: RunRecord(row["folder"]) for row in rows}


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


def table(found: Records, keys: Sequence[str]) -> list[dict[str, Any]]:
    """Return a row for each run: its name, the numbers of its summary, and its wall seconds."""
    rows = []
    for name, run in found.items():
        numbers = {key: run.summary.get(key) for key in (*keys, "wall_seconds")}
        rows.append({"run": name, **{k: None if x is None else f"{x:.4g}" for k, x in numbers.items()}})
    return rows


def publish(
    options: argparse.Namespace, name: str, rows: Sequence[Mapping[str, Any]], draw: Callable[[], Figure]
) -> None:
    """Write ``name.csv`` and ``name.png``."""
    options.out.mkdir(parents=True, exist_ok=True)
    write_csv(options.out / f"{name}.csv", [dict(row) for row in rows])
    with matplotlib.rc_context(STYLE):
        picture = draw()
    print(save(picture, options.out / f"{name}.png"))
