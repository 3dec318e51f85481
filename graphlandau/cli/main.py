"""The command ``graphlandau``: run, sweep, compare, list, plot, doctor."""

from __future__ import annotations

import inspect
import logging
import os
import shlex
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import graphlandau
from graphlandau.base.errors import InvalidArgument

if TYPE_CHECKING:
    from graphlandau.cli.config import RunConfig
    from graphlandau.run.simulation import Simulation

__all__ = ["main"]

# torch and torch_geometric take seconds to import: each command imports what it needs.

USAGE = """usage: graphlandau run --problem NAME --method NAME [--score NAME | --control NAME] [--KEY VALUE ...]
       graphlandau run --config FILE [--KEY VALUE ...]
       graphlandau run --resume RUN_DIR [--t_end LATER] [--threads NUMBER]
       torchrun --nproc-per-node=K -m graphlandau run ...    the same by K processes
       graphlandau sweep --out DIR --over KEY=V1,V2,... [--case NAME="--KEY VALUE ..."] [--jobs NUMBER] [--commands]
                         [--KEY VALUE ...]
       graphlandau compare RUN_DIR RUN_DIR ... [--out DIR]
       graphlandau list            problems, methods, scores, backends, experiments
       graphlandau plot RUN_DIR    draw the figures of a run
       graphlandau doctor          what works on this machine
       graphlandau --version

A NAME is one of `graphlandau list`, or the import path of a class of your own (my_lab.nets.MyScore).
`graphlandau run --problem NAME --method NAME --help` lists every KEY; `--print_config` shows the run.

sweep makes a run in DIR for each combination of the values of every --over (KEY=[V1,V2] where a value has a comma)
and each --case, a named set of options that belong together:
  graphlandau sweep --out sweeps/a --problem bkw_2d --over particles=1000,4000 --over seed=0,1 --jobs 2 \\
      --case blob="--method blob" --case mlp="--method sbtm --score mlp"
The same command goes on where it stopped; DIR/sweep.csv has a row for each run. --commands prints the runs that are
left, one `graphlandau run` a line, for a job array. compare draws runs of one problem into one figure and one table
(comparison/comparison.png and .csv unless --out is given); files among the folders are passed over."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return 0, 1 if a run failed, 2 for bad input, 130 if interrupted.

    Example:
        >>> main(["lisst"])
        2
    """
    argv = list(sys.argv[1:] if argv is None else argv)
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
        return _fail(f"unknown command {argv[0]!r}; known: {', '.join(commands)}", 2)
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))  # where a user's own classes are
    if _several() and argv[0] != "run":
        return _fail(f"torchrun is for the command 'run' (got {argv[0]!r})", 2)
    try:
        with _messages_on_stderr():
            return commands[argv[0]](argv[1:])
    except ValueError as error:
        return _fail(str(error), 2)
    except ConnectionError as error:  # another process has ended
        return _fail(str(error), 1, follows=True)
    except KeyboardInterrupt:
        return _fail("interrupted", 130)
    finally:
        if _several():
            from graphlandau.base import distributed

            distributed.stop()


def _several() -> bool:
    """Whether torchrun has started several processes, of which this is one."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and "MASTER_ADDR" in os.environ


def _first() -> bool:
    """Whether this process speaks for all."""
    return not _several() or os.environ.get("RANK", "0") == "0"


def _fail(message: str, status: int, follows: bool = False) -> int:
    """Say what is wrong; of several processes that have one error, one says it, and last of all one it ``follows``."""
    said = " ".join(message.split())
    if _several():
        from graphlandau.base import distributed

        # torchrun ends the others as soon as one has ended: they may finish their sentence.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        if distributed.world() > 1:
            said = distributed.what_to_say(said, follows)
        elif not _first():
            said = None
    if said is not None:
        print(f"error: {said}", file=sys.stderr)
    return status


@contextmanager
def _messages_on_stderr() -> Iterator[None]:
    """Show what the library says, and each warning in one line; all but the first process are silent."""

    def show(message: Warning | str, *_: Any) -> None:
        print(f"warning: {' '.join(str(message).split())}", file=sys.stderr)

    logger = logging.getLogger("graphlandau")
    handler = logging.StreamHandler(sys.stderr) if _first() else logging.NullHandler()
    with ExitStack() as after, warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch_geometric causes some on import
        logger.addHandler(handler)
        after.callback(logger.removeHandler, handler)
        if _first():
            logger.setLevel(logging.INFO)
            warnings.showwarning = show
        else:
            warnings.simplefilter("ignore")
            after.enter_context(redirect_stdout(after.enter_context(open(os.devnull, "w"))))
        yield


def _run(argv: list[str]) -> int:
    from graphlandau.base import distributed
    from graphlandau.cli.arguments import read_arguments
    from graphlandau.cli.config import compose, help_text, require_agreement

    if _several():
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # how torchrun ends a process: as by Ctrl-C
        distributed.start()
    given = read_arguments(argv)
    if "help" in given:
        print(f"{USAGE}\n\n{help_text(given)}")
        return 0
    if "resume" in given:
        return _resume(given)
    show = given.pop("print_config", None) is not None
    config = compose(given)
    if show:
        print(config.to_yaml(), end="")
        return 0
    require_agreement(config)
    simulation = config.simulation(progress=True)
    new_in = distributed.by_first(lambda: Path(config.options.out or _free_folder(config)))
    return _execute(simulation, config, new_in)


def _free_folder(config: RunConfig) -> Path:
    """Return runs/<problem>-<method>-<score or control>, numbered if it is taken."""
    stem = "-".join(label for label in config.labels.values() if label)
    names = (f"runs/{stem}" + (f"-{n}" if n > 1 else "") for n in count(1))
    return next(Path(name) for name in names if not Path(name).exists())


def _resume(given: Mapping[str, list[str]]) -> int:
    from graphlandau.base import distributed
    from graphlandau.cli.config import compose, require_agreement
    from graphlandau.run.folder import RunFolder

    name = given["resume"][-1]
    others = sorted(given.keys() - {"resume", "t_end", "threads"})
    if others:
        keys = ", ".join(f"'{key}'" for key in others)
        raise ValueError(f"{keys} must not be given with --resume, which reads {name}/config.yaml")
    folder = RunFolder.open(name)
    try:
        recorded = {"config": [str(folder.config)]}
        if "threads" in given:  # another machine may have fewer
            recorded["threads"] = given["threads"]
        config = compose(recorded)
        if "t_end" in given:
            before, config = config.options.t_end, compose({**recorded, "t_end": given["t_end"]})
            after = config.options.t_end
            assert before is not None  # both are resolved
            assert after is not None
            if after < before:
                raise InvalidArgument("t_end", f"must be at least {before:g}, the end so far", f"{after:g}")
        require_agreement(config)
        simulation = config.simulation(progress=True, folder=folder)
        summary = distributed.by_first(folder.read_summary)
        if summary is not None and summary["steps"] == simulation.steps:
            print(f"{folder.path} is finished at t = {summary['t']:g}; a later --t_end would continue it")
            drawn = any(folder.path.glob("figures/*.png")) or not _first()
            return _draw(folder.path) if config.options.figures and not drawn else 0
        before = folder.config.read_text(encoding="utf-8")
        folder.reopen(config.to_yaml())
        try:
            return _execute(simulation, config)
        except ValueError:  # refused, before anything was done
            folder.reopen(before)
            if summary is not None:
                folder.write_summary(summary)
            raise
    finally:
        folder.close()


def _execute(simulation: Simulation, config: RunConfig, new_in: Path | None = None) -> int:
    """Run; a new folder is claimed first, and taken back if the input is refused before the first step."""
    from graphlandau.base.distributed import RankError
    from graphlandau.base.errors import Diverged
    from graphlandau.run.folder import RunFolder

    if new_in is not None:
        simulation.folder = RunFolder.create(new_in, config.to_yaml())
    folder = simulation.folder
    assert folder is not None
    resume = f"graphlandau run --resume {folder.path}"
    try:
        result = simulation.run()
    except Diverged as error:
        if folder.training.exists() and len(simulation.rows) <= 1:
            return _fail(f"{error}; the training is kept in {folder.training}", 1)
        if new_in is not None and simulation.step == 0:
            if not simulation.rows:
                folder.discard()
            return _fail(f"{error}; change the input", 1)
        return _fail(f"{error}; the last checkpoint is kept in {folder.path}", 1)
    except KeyboardInterrupt:
        where = f"at step {simulation.step} of {simulation.steps}"
        return _fail(f"interrupted {where}; continue with: {resume}", 130)
    except RankError as error:
        where = f"at step {simulation.step} of {simulation.steps}"
        return _fail(f"{error} {where}; continue with: {resume}", 1, follows=True)
    except ValueError as error:
        if simulation.rows and not (new_in is not None and simulation.step == 0):
            return _fail(f"{error} (at step {simulation.step} of {simulation.steps}); once cured: {resume}", 1)
        if new_in is not None and not folder.training.exists():
            folder.discard()
        raise
    except Exception as error:  # a full disk or memory, or whatever a user's own classes raise
        reason = _first_line(error)
        if new_in is not None and not simulation.rows and not folder.training.exists():
            folder.discard()
            return _fail(f"the run could not start ({reason})", 2)
        return _fail(f"{reason} at step {simulation.step} of {simulation.steps}; once cured: {resume}", 1)
    finally:
        folder.close()
    print(_report(result.summary))
    print(f"  {'folder':<28}{folder.path}")
    return _draw(folder.path) if config.options.figures and _first() else 0


def _first_line(error: Exception) -> str:
    """Return the type of an error and the first line of what it says."""
    return ": ".join([type(error).__name__, *str(error).strip().splitlines()[:1]])


def _report(summary: Mapping[str, Any]) -> str:
    """Return the few numbers that say how good the run is."""
    title = " · ".join(str(summary[key]) for key in ("problem", "method", "score", "control") if summary.get(key))
    lines = [f"{title} · {summary['particles']:,} particles · t = {summary['t']:g} in {summary['steps']} steps"]

    def add(name: str, key: str, note: str = "") -> None:
        if summary.get(key) is not None:
            lines.append(f"  {name:<28}{summary[key]:<12.3g}{note}".rstrip())

    floors = {"exact score": "rel_l2_density_exact_score", "fresh exact samples": "rel_l2_density_fresh"}
    known = [f"{name} {summary[key]:.3g}" for name, key in floors.items() if summary.get(key) is not None]
    add("density error (rel. L2)", "rel_l2_density", f"floors: {', '.join(known)}" if known else "")
    add("score error (rel. Fisher)", "rel_fisher_divergence")
    add("trajectory error (squared)", "rel_trajectory_error")
    sample = summary.get("cov_sample_error")
    note = "" if sample is None else f"{sample:.3g} from the exact evolution of this sample"
    add("covariance error", "cov_frobenius_error", note)
    error = summary.get("kl_stderr")
    if error is None:
        add("KL from the exact", "kl")
    else:
        add("KL from equilibrium", "kl", f"standard error {error:.2g}")
    add("growth rate of the mode", "growth_rate", _beside(summary, "growth_rate_exact"))
    add("frequency of the mode", "frequency", _beside(summary, "frequency_exact"))
    add("free energy", "free_energy")
    add("bound of KL (certificate)", "kl_bound_pairs", "if the score is radial")
    add("energy drift (relative)", "energy_rel_drift")
    add("wall seconds", "wall_seconds", f"{summary['seconds_per_step']:.3g} per step")
    return "\n".join(lines)


def _beside(summary: Mapping[str, Any], key: str) -> str:
    """Return the theoretical value beside a measured one."""
    return "" if summary.get(key) is None else f"{summary[key]:.3g} by the dispersion relation"


def _draw(folder: Path) -> int:
    from graphlandau.plotting import plot_run

    try:
        pictures = plot_run(folder)
    except Exception as error:  # the numbers are safe: a figure that fails must not look like a failed run
        reason = f"{type(error).__name__}: {error}"
        return _fail(f"no figures ({reason}); the run is complete, try: graphlandau plot {folder}", 1)
    for picture in pictures:
        print(f"  {'picture':<28}{picture}")
    return 0


def _plot(argv: list[str]) -> int:
    if len(argv) != 1 or argv[0].startswith("-"):
        raise ValueError(f"plot takes one run folder: graphlandau plot RUN_DIR (got {' '.join(argv) or 'nothing'})")
    from graphlandau.plotting import plot_run

    for picture in plot_run(Path(argv[0])):
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
    # What schedulers send: as with Ctrl-C, no run may go on without its sweep.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        rows = run_sweep(runs, out, jobs=int(jobs))
    except KeyboardInterrupt:
        again = shlex.join(["graphlandau", "sweep", *argv])
        return _fail(f"interrupted; the same command continues: {again}", 130)
    finally:
        signal.signal(signal.SIGTERM, before)
    shown = [{"run": row["name"], "status": row["status"]} | main_numbers(row["summary"]) for row in rows]
    print(aligned([show | {"error": row["error"] or None} for show, row in zip(shown, rows, strict=True)]))
    print(f"  {'table':<28}{Path(out) / 'sweep.csv'}")
    failed = sum(1 for row in rows if row["error"])
    if failed:
        return _fail(f"{failed} of {len(rows)} runs failed; once cured, the same command tries them again", 1)
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
    from graphlandau.cli import presets
    from graphlandau.nn.pairs import BACKENDS
    from graphlandau.training import schedules

    sections = {
        f"{g}s (--{g} NAME)": {name: presets.describe_preset(g, name) for name in presets.preset_names(g)}
        for g in presets.GROUPS
    }
    sections["backends (--backend NAME)"] = BACKENDS
    sections["learning-rate schedules (--method.schedule graphlandau.training.NAME --method.schedule.KEY VALUE)"] = {
        name: (inspect.getdoc(getattr(schedules, name)) or "").partition("\n")[0]
        for name in schedules.__all__
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
