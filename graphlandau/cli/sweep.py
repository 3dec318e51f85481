"""Many runs: a grid of settings, each run a process of its own, taken up again where it stopped."""

from __future__ import annotations

import itertools
import json
import logging
import os
import re
import shlex
import signal
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from graphlandau.base.configuration import read_entries
from graphlandau.base.errors import InvalidArgument
from graphlandau.base.tables import main_numbers, write_csv
from graphlandau.base.validation import require_integer
from graphlandau.cli.arguments import dotted, read_arguments, read_yaml, to_arguments
from graphlandau.cli.config import RunConfig, compose
from graphlandau.cli.workers import Worker
from graphlandau.run.folder import RunFolder

log = logging.getLogger(__name__)

__all__ = ["grid", "run_sweep", "sweep_commands"]

# Where a run is computed, not what: a sweep may go on elsewhere.
MACHINE = ("compile", "device", "threads")


def grid(
    base: Sequence[str], axes: Mapping[str, Sequence[Any]], cases: Mapping[str, Sequence[str]] | None = None
) -> dict[str, list[str]]:
    """Return the arguments of every combination of a case and a value of each axis, by the name of its folder.

    Args:
        base: Arguments of ``graphlandau run`` that all runs have.
        axes: Values of each key that varies.
        cases: Names of settings that belong together, with their arguments; these come after ``base``.

    Raises:
        ValueError: If an axis is empty, or set in ``base`` or a case as well; if two combinations have one
            name, or a name is too long for a folder.

    Example:
        >>> cases = {"blob": ["--method", "blob"], "mlp": ["--method", "sbtm", "--score", "mlp"]}
        >>> runs = grid(["--problem", "bkw_2d"], {"seed": [0, 1]}, cases)
        >>> list(runs)
        ['blob,seed=0', 'blob,seed=1', 'mlp,seed=0', 'mlp,seed=1']
        >>> runs["blob,seed=1"]
        ['--problem', 'bkw_2d', '--method', 'blob', '--seed', '1']
    """
    for where, arguments in {"": base, **(cases or {})}.items():
        for key in sorted(read_arguments(arguments).keys() & axes.keys() - {"config"}):
            also = f"in the case {where!r}" if where else "for all runs"
            raise ValueError(f"'{key}' must not be varied and be set {also} too")
    for key, values in axes.items():
        if not values:
            raise InvalidArgument(key, "must be given at least one value", "none")
    runs: dict[str, list[str]] = {}
    for (case, arguments), *values in itertools.product((cases or {"": []}).items(), *axes.values()):
        chosen = {key: [_text(value)] for key, value in zip(axes, values, strict=True)}
        parts = [case] * bool(case) + [f"{key}={value}" for key, (value,) in chosen.items()]
        name = re.sub(r"[^\w.+=,-]+", "_", ",".join(parts))
        if name in runs or not name:
            raise ValueError(f"two runs would have the folder {name!r}" if name else "nothing varies")
        if len(name) > 200:
            raise ValueError(f"the folder {name[:40]}... would have a name of {len(name)} letters: name the cases")
        runs[name] = [*base, *arguments, *to_arguments(chosen)]
    return runs


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


@dataclass
class _Run:
    """One run of a sweep: its arguments as given, and what the folder says of it."""

    name: str
    folder: RunFolder
    given: dict[str, list[str]]
    steps: int
    error: str = ""

    @property
    def summary(self) -> dict[str, Any]:
        """The summary of the finished run, else empty."""
        summary = self.folder.read_summary()
        return summary if summary is not None and summary["steps"] == self.steps else {}

    @property
    def status(self) -> str:
        """``done``, ``failed`` or ``waiting`` (also when it was interrupted)."""
        return "done" if self.summary else "failed" if self.error else "waiting"

    @property
    def arguments(self) -> list[str]:
        """Arguments of ``graphlandau`` that begin the run, or take it up again."""
        if not self.folder.config.exists():
            return ["run", *to_arguments(self.given | {"out": [str(self.folder.path)]})]
        return ["run", "--resume", str(self.folder.path)]


def run_sweep(
    runs: Mapping[str, Sequence[str]], out: str | Path, jobs: int = 1, threads: int | None = None
) -> list[dict[str, Any]]:
    """Run what is not finished yet, and return a row for every run.

    All runs are checked before the first one starts. A run that fails does not stop the others. After each
    run ``out/sweep.csv`` is brought up to date: folder, the keys that vary, status, summary, error.

    Args:
        runs: Arguments of ``graphlandau run`` by the name of the folder, inside ``out``.
        out: Folder of the sweep.
        jobs: Number of runs at the same time, each by a process that runs one after the other.
        threads: Threads of each run; the processors are shared evenly unless given here or in the arguments.

    Returns:
        For each run its ``name``, ``status`` (done, failed), ``folder``, ``summary`` and ``error`` (empty
        if there was none).

    Raises:
        ValueError: If a run is refused, or its folder holds another run than the one asked for.

    Example:
        >>> runs = grid(["--problem", "bkw_2d", "--method", "blob"], {"particles": [100, 200], "seed": [0, 1]})
        >>> rows = run_sweep(runs, "sweeps/blob", jobs=2)  # doctest: +SKIP
    """
    require_integer("jobs", jobs, minimum=1)
    share = _share(jobs) if threads is None else threads
    planned = _plan(runs, Path(out), str(share))
    waiting = [run for run in planned if not run.summary]
    if len(waiting) < len(planned):
        log.info("%d of %d runs are finished already", len(planned) - len(waiting), len(planned))
    try:
        Path(out).mkdir(parents=True, exist_ok=True)
        _write_table(planned, Path(out))
    except OSError as error:
        raise InvalidArgument("out", "must be a writable folder", f"{out}: {error.strerror}") from error
    with closing(_processes(waiting, jobs)) as finished:
        for count, (run, error, seconds) in enumerate(finished, start=1):
            run.error = "" if run.summary else error
            _write_table(planned, Path(out))
            log.info("[%d of %d] %s", count, len(waiting), _outcome(run, seconds))
    return [
        {"name": r.name, "status": r.status, "folder": r.folder.path, "summary": r.summary, "error": r.error}
        for r in planned
    ]


def sweep_commands(runs: Mapping[str, Sequence[str]], out: str | Path) -> list[str]:
    """Return a shell command for each run that is not finished; refuses what :func:`run_sweep` refuses."""
    planned = _plan(runs, Path(out), None)
    return [shlex.join(["graphlandau", *run.arguments]) for run in planned if not run.summary]


def _share(jobs: int) -> int:
    """Return the threads that one of ``jobs`` processes may take, never more than a run alone would."""
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(torch.get_num_threads(), processors // jobs))


def _plan(runs: Mapping[str, Sequence[str]], out: Path, threads: str | None) -> list[_Run]:
    """Compose every run and look into its folder; nothing is written."""
    if not runs:
        raise InvalidArgument("runs", "must hold at least one run", "none")
    planned = []
    for name, arguments in runs.items():
        try:
            given = read_arguments(arguments)
            for key in ("out", "resume", "print_config", "help"):
                if key in given:
                    raise ValueError(f"'{key}' must not be given for a run of a sweep")
            if threads is not None and not any("threads" in read_yaml(file) for file in given.get("config", [])):
                given = {"threads": [threads]} | given
            config = compose(given)
            run = _Run(name, RunFolder(out / name), given, _steps(config))
            if run.folder.config.exists():
                _require_same(run.folder, config)
        except ValueError as error:
            raise ValueError(f"{error} (in the run {name})") from error
        planned.append(run)
    return planned


def _steps(config: RunConfig) -> int:
    """Build the run, which refuses what its classes refuse, and return its number of steps."""
    threads = torch.get_num_threads()
    try:
        with torch.random.fork_rng(devices=[]):
            return config.simulation().steps
    finally:
        torch.set_num_threads(threads)


def _require_same(folder: RunFolder, config: RunConfig) -> None:
    there, asked = read_yaml(str(folder.config)), dotted(read_entries(config.to_yaml()))
    for key in asked | there:
        if key not in MACHINE and there.get(key) != asked.get(key):
            is_there = f"{folder.path} holds a run with {key} = {there.get(key)}"
            raise InvalidArgument(key, "must be what it was, or 'out' another folder", f"{asked.get(key)}; {is_there}")


def _processes(runs: Sequence[_Run], jobs: int) -> Generator[tuple[_Run, str, float]]:
    """Run each by a worker, ``jobs`` at a time; yield it as it ends, with its error and its seconds.

    Workers that are left when the generator is closed are ended; the folders of their runs can be taken up again.
    """
    waiting = list(runs)
    workers = [Worker() for _ in range(min(jobs, len(waiting)))]
    running: dict[int, tuple[_Run, float]] = {}
    try:
        while waiting or running:
            for number, worker in enumerate(workers):
                if number not in running and waiting:
                    running[number] = waiting.pop(0), time.perf_counter()
                    worker.start(running[number][0].arguments)
                status = worker.poll() if number in running else None
                if status is not None:
                    run, began = running.pop(number)
                    yield run, _error(status, worker.said()), time.perf_counter() - began
            time.sleep(0.02)
    finally:
        for worker in workers:
            worker.close()


def _error(status: int, said: str) -> str:
    """Return why a run failed, in one line; empty if it did not."""
    if status == 0:
        return ""
    lines = said.splitlines()
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    if status < 0:
        return f"ended by {signal.Signals(-status).name}"
    return (errors or lines or [f"ended with status {status}"])[-1]


def _outcome(run: _Run, seconds: float) -> str:
    numbers = list(main_numbers(run.summary).items())[:1]
    first = "".join(f", {name} {value:.3g}" for name, value in numbers if name != "seconds")
    return f"{run.name}: {run.status} in {seconds:.3g} s{first}" + (f": {run.error}" if run.error else "")


def _write_table(runs: Sequence[_Run], out: Path) -> None:
    """Write ``sweep.csv``: what varies as it was given, and every single number of the summary."""
    last = [{key: values[-1] for key, values in run.given.items() if values} for run in runs]
    varying = [key for key in dict.fromkeys(itertools.chain(*last)) if len({given.get(key) for given in last}) > 1]
    rows = []
    for run, given in zip(runs, last, strict=True):
        row = {"folder": run.name, **{key: given.get(key) for key in varying}, "status": run.status}
        row |= {key: value for key, value in run.summary.items() if not isinstance(value, list)}
        rows.append({**row, "error": run.error})
    write_csv(out / "sweep.csv", rows)
