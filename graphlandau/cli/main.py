"""The command ``graphlandau``: run, sweep, compare, list, plot, doctor."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import graphlandau
from graphlandau.base.errors import InvalidArgument
from graphlandau.cli.signals import signals_interrupt
from graphlandau.cli.streams import forgiving_streams
from graphlandau.cli.words import USAGE, fail, messages_on_stderr, several

__all__ = ["command", "main"]

# torch and torch_geometric take seconds to import: each command imports what it needs.


def _run(argv: list[str]) -> int:
    from graphlandau.cli.run import run

    return run(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return 0, 1 if a run failed, 2 for bad input, 130 if interrupted.

    Whether what it prints arrives does not matter; SIGTERM and SIGHUP interrupt as Ctrl-C does.

    Example:
        >>> main(["lisst"])
        2
    """
    with forgiving_streams(), signals_interrupt():
        return command(list(sys.argv[1:] if argv is None else argv))


def command(argv: list[str]) -> int:
    """Run one command as :func:`main` does, with the streams and signals that there are."""
    if not argv or argv[0] in ("-h", "--help"):
        print(USAGE)
        return 0
    if argv[0] == "--version":
        print(graphlandau.__version__)
        return 0
    commands: dict[str, Callable[[list[str]], int]] = {
        "run": _run,
        "sweep": _sweep,
        "compare": _compare,
        "list": _list,
        "plot": _plot,
        "doctor": _doctor,
    }
    if argv[0] not in commands:
        return fail(f"unknown command {argv[0]!r}; known: {', '.join(commands)}", 2)
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))  # where a user's own classes are
    if several() and argv[0] != "run":
        return fail(f"torchrun is for the command 'run' (got {argv[0]!r})", 2)
    try:
        with messages_on_stderr():
            return commands[argv[0]](argv[1:])
    except ValueError as error:
        return fail(str(error), 2)
    except ConnectionError as error:  # another process has ended
        return fail(str(error), 1, follows=True)
    except OSError as error:  # a full disk, a folder that has gone
        return fail(f"{type(error).__name__}: {error}", 1)
    except KeyboardInterrupt:
        return fail("interrupted", 130)
    finally:
        if several():
            from graphlandau.base import distributed

            distributed.stop()


def _plot(argv: list[str]) -> int:
    from graphlandau.cli.arguments import read_arguments
    from graphlandau.cli.presets import suggest

    given = read_arguments(argv, words="run_dir")
    if "help" in given:
        print(USAGE)
        return 0
    for key in sorted(given.keys() - {"run_dir", "figures"}):
        raise ValueError(f"'{key}' is not a known key of plot; {suggest(key, ['figures'])}")
    folders = given.get("run_dir", [])
    if len(folders) != 1:
        raise ValueError(f"plot takes one run folder: graphlandau plot RUN_DIR (got {' '.join(folders) or 'nothing'})")
    from graphlandau.plotting import plot_run

    for picture in plot_run(Path(folders[0]), given.get("figures", ["png"])[-1]):
        print(picture)
    return 0


def _sweep(argv: list[str]) -> int:
    from graphlandau.cli.arguments import FLAGS, read_arguments, read_cases, read_values, to_arguments

    given = read_arguments(argv, flags=(*FLAGS, "commands"))
    if "help" in given:
        print(USAGE)
        return 0
    axes, cases = read_values("over", given.pop("over", [])), read_cases("case", given.pop("case", []))
    out, jobs = given.pop("out", [""])[-1], given.pop("jobs", ["1"])[-1]
    only_commands = given.pop("commands", None) is not None
    if not out.strip():
        raise InvalidArgument("out", "must name the folder of the sweep", repr(out))
    if not axes and not cases:
        raise InvalidArgument("over", "or 'case' must be given: what varies between the runs", "none")
    if not jobs.isdecimal() or int(jobs) < 1:
        raise InvalidArgument("jobs", "must be an integer >= 1", repr(jobs))
    from graphlandau.base.tables import aligned, main_numbers
    from graphlandau.cli.sweep import grid, run_sweep, sweep_commands

    runs = grid(to_arguments(given), axes, cases)
    if only_commands:
        for command in sweep_commands(runs, out):
            print(command)
        return 0
    again = shlex.join(["graphlandau", "sweep", *argv])
    try:
        rows = run_sweep(runs, out, jobs=int(jobs))
    except KeyboardInterrupt:
        return fail(f"interrupted; the same command continues: {again}", 130)
    except OSError as error:
        return fail(f"{type(error).__name__}: {error}; once cured, the same command continues: {again}", 1)
    shown = [{"run": row["name"], "status": row["status"]} | main_numbers(row["summary"]) for row in rows]
    print(aligned([show | {"error": row["error"] or None} for show, row in zip(shown, rows, strict=True)]))
    print(f"  {'table':<28}{Path(out) / 'sweep.csv'}")
    failed = sum(1 for row in rows if row["error"])
    if failed:
        return fail(f"{failed} of {len(rows)} runs failed; once cured, the same command tries them again", 1)
    return 0


def _compare(argv: list[str]) -> int:
    from graphlandau.cli.arguments import read_arguments
    from graphlandau.cli.presets import suggest

    given = read_arguments(argv, words="run_dir")
    if "help" in given:
        print(USAGE)
        return 0
    for key in sorted(given.keys() - {"run_dir", "out"}):
        raise ValueError(f"'{key}' is not a known key of compare; {suggest(key, ['out'])}")
    out = given.get("out", ["comparison"])[-1]
    if not out.strip():
        raise InvalidArgument("out", "must name a folder", repr(out))
    from graphlandau.base.tables import aligned, main_numbers
    from graphlandau.cli.comparison import compare_runs

    rows = compare_runs(given.get("run_dir", []), out)
    shown = [{"run": row["label"]} | {key: row[key] for key in ("particles", "dt", "t")} for row in rows]
    print(aligned([first | main_numbers(row) for first, row in zip(shown, rows, strict=True)]))
    print(f"  {'table':<28}{Path(out) / 'comparison.csv'}")
    print(f"  {'picture':<28}{Path(out) / 'comparison.png'}")
    return 0


def _list(argv: list[str]) -> int:
    if argv:
        raise ValueError(f"list takes no arguments (got {' '.join(argv)})")
    from graphlandau.base.backends import BACKENDS
    from graphlandau.cli import presets
    from graphlandau.cli.source import classes_of, first_line

    sections = {
        f"{g}s (--{g} NAME)": {name: presets.describe_preset(g, name) for name in presets.choices_of(g)}
        for g in presets.GROUPS
    }
    sections["backends (--backend NAME)"] = BACKENDS
    sections["learning-rate schedules (--method.schedule graphlandau.training.NAME --method.schedule.KEY VALUE)"] = {
        name: first_line(f"graphlandau.training.{name}")
        for name in sorted(classes_of("graphlandau.training.schedules"))
        if name != "Schedule"
    }
    sections["experiments (--config NAME)"] = {
        name: presets.first_comment(presets.experiment_path(name)) for name in presets.experiment_names()
    }
    for title, entries in sections.items():
        print(title)
        width = max(map(len, entries))
        for name, description in entries.items():
            print(f"  {name:<{width}}  {description}")
    return 0


def _doctor(argv: list[str]) -> int:
    if argv:
        raise ValueError(f"doctor takes no arguments (got {' '.join(argv)})")
    from graphlandau.cli.doctor import report

    print(report())
    return 0


if __name__ == "__main__":
    sys.exit(main())
