"""What scripts of experiments share: their command line, their runs, where pictures and tables go."""

from __future__ import annotations

import argparse
import csv
import importlib
import itertools
import logging
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib import figure as mpl

from graphlandau.base.tables import write_csv
from graphlandau.cli.sweep import run_sweep
from graphlandau.plotting import RunRecord, Snapshot
from graphlandau.plotting.style import save, styled

__all__ = [
    "Figure",
    "cost_figure",
    "growth_exponent",
    "make_figures",
    "module_main",
    "number",
    "publish",
    "read_command_line",
    "records",
    "series",
    "snapshots_at",
    "table",
    "with_failures",
]

# Name, colour and marker of a line.
Look = tuple[str, str, str]

# What a failed run adds to its error, which differs between the first time and a resume, and names a folder.
_ADVICE = re.compile(r"; (change the input|the last checkpoint is kept in .*|the training is kept in .*)$")


def read_command_line(
    doc: str | None,
    script: str | Path,
    sizes: Sequence[int] = (),
    smoke_sizes: Sequence[int] = (),
    *,
    runs: str | None = None,
) -> argparse.Namespace:
    """Read the options that every script of an experiment has.

    Runs go to ``runs/<experiment>/<script>``, pictures and tables to ``results`` beside the script; in the smoke mode
    all go to ``runs/<experiment>/smoke/<script>``.

    Args:
        doc: Docstring of the script, for its help.
        script: ``__file__`` of the script; its folder names the experiment.
        sizes: Numbers of particles, if the script takes ``--sizes``.
        smoke_sizes: The few of a trial.
        runs: Another last part of the folder of the runs, for scripts that share theirs.
    """
    home, last = Path(script).resolve().parent, runs or Path(script).stem
    default = Path("runs") / home.name / last
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="a few particles and steps, to see that it runs")
    parser.add_argument("--jobs", type=int, default=1, help="runs at the same time")
    parser.add_argument(
        "--runs",
        type=Path,
        help=f"folder of the folders of runs, of which this takes {last} (default {default.parent})",
    )
    parser.add_argument("--out", type=Path, help="folder of picture and table (default: results, beside this script)")
    if sizes:
        parser.add_argument("--sizes", type=int, nargs="+", help=f"numbers of particles (default {list(sizes)})")
    options = parser.parse_args()
    if sizes:
        options.sizes = options.sizes or list(smoke_sizes if options.smoke else sizes)
    options.runs = (options.runs or (default.parent / "smoke" if options.smoke else default.parent)) / last
    options.out = options.out or (options.runs if options.smoke else home / "results")
    return options


class Figure(NamedTuple):
    """A figure of a paper: what it shows, and the function that makes it, which reads the options."""

    title: str
    make: Callable[[], None]


def module_main(name: str) -> Callable[[], None]:
    """The ``main`` of the script ``name`` beside the table, imported when it is called."""
    return lambda: importlib.import_module(name).main()


def make_figures(doc: str | None, figures: Mapping[str, Figure], argv: Sequence[str] | None = None) -> None:
    """Make the figures that a command line names: ``python figures.py 4 7 --smoke``; ``all``, or ``--list``.

    Args:
        doc: Docstring of the script, for its help.
        figures: Figures by the numbers of the paper.
        argv: The command line; options after the numbers go to every figure.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    names = list(itertools.takewhile(lambda word: not word.startswith("-"), argv))
    rest = argv[len(names) :]
    if rest[:1] == ["--list"] or not names:
        width = max(map(len, figures))
        lines = [f"{name:<{width}}  {figure.title}" for name, figure in figures.items()]
        print("\n".join([*([] if rest[:1] == ["--list"] else [(doc or "").strip(), ""]), *lines]))
        raise SystemExit(0 if rest[:1] in (["--list"], ["--help"], ["-h"]) else 2)
    names = list(figures) if names == ["all"] else [name.removeprefix("figure_") for name in names]
    for name in names:
        if name not in figures:
            raise SystemExit(f"error: there is no figure {name!r} here; known: all, {', '.join(figures)}")
    for name in names:
        sys.argv = [f"figure_{name}", *rest]
        figures[name].make()


def records(
    runs: Mapping[str, Sequence[str]], options: argparse.Namespace, *, may_fail: bool = False
) -> dict[str, RunRecord]:
    """Run what is not finished, and return the records of all by their names.

    A run that failed ends the script, the others are kept; with ``may_fail`` it is left out with a warning instead.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    rows = run_sweep(runs, options.runs, jobs=options.jobs)
    failed = [f"{row['name']}: {row['error']}" for row in rows if row["status"] != "done"]
    if failed and not may_fail:
        raise SystemExit("\n".join(failed))
    for line in failed:
        logging.warning("%s", line)
    return {row["name"]: RunRecord(row["folder"]) for row in rows if row["status"] == "done"}


def with_failures(
    runs: Mapping[str, Sequence[str]], options: argparse.Namespace
) -> tuple[dict[str, RunRecord], dict[str, str]]:
    """Run what is not finished; return the records, also of runs that failed on the way, and the errors of these.

    A run that failed before its first row has no record.
    """
    found = records(runs, options, may_fail=True)
    with (options.runs / "sweep.csv").open(newline="") as lines:
        outcome = {row["folder"]: row["error"] or row["status"] for row in csv.DictReader(lines)}
    errors = {name: _ADVICE.sub("", text) for name, text in outcome.items() if name not in found}
    begun = [name for name in errors if (options.runs / name / "snapshots.h5").exists()]
    found |= {name: RunRecord(options.runs / name) for name in begun}
    return {name: found[name] for name in runs if name in found}, errors


def number(x: float | None) -> str | None:
    """Four digits for a table."""
    return None if x is None else f"{x:.4g}"


def series(run: RunRecord, key: str) -> tuple[np.ndarray, np.ndarray]:
    """Return times and values of a metric that every run here has.

    Raises:
        ValueError: If this one does not.
    """
    found = run.series(key)
    if found is None:
        raise ValueError(f"{run.path} has no values of {key}")
    return found


def snapshots_at(run: RunRecord, shares: Sequence[float]) -> list[Snapshot]:
    """Return the snapshots nearest to these shares of the time of the run: shorter in a trial, so are its times."""
    times = run.times[0] + np.array(shares) * (run.times[-1] - run.times[0])
    return [run.snapshot(int(np.abs(run.times - t).argmin())) for t in times]


def table(found: Mapping[str, RunRecord], keys: Sequence[str]) -> list[dict[str, Any]]:
    """Return a row for each run: its name, the numbers of its summary, and its wall seconds."""
    rows = []
    for name, run in found.items():
        numbers = {key: run.summary.get(key) for key in (*keys, "wall_seconds")}
        rows.append({"run": name, **{k: None if x is None else f"{x:.4g}" for k, x in numbers.items()}})
    return rows


def publish(
    options: argparse.Namespace, name: str, rows: Sequence[Mapping[str, Any]], draw: Callable[[], mpl.Figure]
) -> None:
    """Write ``name.csv`` and ``name.png`` to the folder of results."""
    options.out.mkdir(parents=True, exist_ok=True)
    write_csv(options.out / f"{name}.csv", [dict(row) for row in rows])
    with styled():
        picture = draw()
    print(save(picture, options.out / f"{name}.png"))


def growth_exponent(times: Mapping[int, float]) -> float:
    """Return the slope of the last three costs against the number of particles, on logarithmic axes.

    Example:
        >>> round(growth_exponent({100: 9.0, 200: 4.0, 400: 16.0, 800: 64.0}), 6)
        2.0
    """
    n, seconds = np.log(np.array(list(times.items())[-3:])).T
    return float(np.polyfit(n, seconds, 1)[0])


def cost_figure(measured: Mapping[str, Mapping[int, float]], looks: Mapping[str, Look], title: str) -> mpl.Figure:
    """Draw seconds against the number of particles, a line for each case, with the exponents it grows by."""
    fig = mpl.Figure(figsize=(8, 5.5), layout="constrained")
    ax = fig.subplots()
    for case, times in measured.items():
        name, colour, marker = looks[case]
        label = f"{name}: $N^{{{growth_exponent(times):.2f}}}$"
        ax.loglog(*zip(*times.items(), strict=True), label=label, color=colour, marker=marker)
    ax.set_xlabel("particles $N$")
    ax.set_ylabel("seconds")
    ax.set_title(title)
    ax.legend()
    return fig
