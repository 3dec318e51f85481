"""``graphlandau run``: compose, run or resume, report."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import graphlandau
from graphlandau.base.errors import InvalidArgument
from graphlandau.cli.arguments import options_text, read_arguments, refuse_typos
from graphlandau.cli.presets import GROUPS
from graphlandau.cli.report import report
from graphlandau.cli.words import USAGE, fail, several, speaks

if TYPE_CHECKING:
    from graphlandau.cli.config import RunConfig
    from graphlandau.run.simulation import Simulation

__all__ = ["run"]


def run(argv: list[str]) -> int:
    """Run what is asked for, or go on with a run; return the status of the command."""
    given = read_arguments(argv)
    if "help" in given and not given.keys() & {*GROUPS, "config"}:
        print(f"{USAGE}\n\n{options_text()}")
        return 0
    if not several():
        refuse_typos(given)
    # torch takes seconds to import: only what has to be run is worth them.
    from graphlandau.base import distributed
    from graphlandau.cli.config import compose, help_text, require_agreement

    if several():
        distributed.start()
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
        try:
            config = compose(recorded)
        except ValueError as error:
            if folder.of_this_version:
                raise
            now = f"graphlandau {graphlandau.__version__}"
            raise ValueError(f"{folder.config}, of {folder.written_by}, cannot be read by {now}: {error}") from error
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
            wanted = config.options.figures
            kind = wanted if isinstance(wanted, str) else "png"
            drawn = any(folder.path.glob(f"figures/*.{kind}")) or not speaks()
            return _draw(folder.path, wanted) if wanted and not drawn else 0
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
    from graphlandau.base.threads import thread_warning
    from graphlandau.run.folder import RunFolder

    if new_in is not None:
        simulation.folder = RunFolder.create(new_in, config.to_yaml())
    folder = simulation.folder
    assert folder is not None
    resume = folder.command("run", "--resume")
    try:
        if simulation.device.type == "cpu" and not several() and (slow := thread_warning()):
            warnings.warn(slow, stacklevel=2)
        result = simulation.run()
    except Diverged as error:
        if folder.training.exists() and len(simulation.rows) <= 1:
            return fail(f"{error}; the training is kept in {folder.training}", 1)
        if new_in is not None and simulation.step == 0:
            if not simulation.rows:
                folder.discard()
            return fail(f"{error}; change the input", 1)
        return fail(f"{error}; the last checkpoint is kept in {folder.path}", 1)
    except KeyboardInterrupt:
        where = f"at step {simulation.step} of {simulation.steps}"
        return fail(f"interrupted {where}; continue with: {resume}", 130)
    except RankError as error:
        where = f"at step {simulation.step} of {simulation.steps}"
        return fail(f"{error} {where}; continue with: {resume}", 1, follows=True)
    except ValueError as error:
        if simulation.rows and not (new_in is not None and simulation.step == 0):
            return fail(f"{error} (at step {simulation.step} of {simulation.steps}); once cured: {resume}", 1)
        if new_in is not None and not folder.training.exists():
            folder.discard()
        raise
    except Exception as error:  # a full disk or memory, or whatever a user's own classes raise
        reason = _first_line(error)
        if new_in is not None and not simulation.rows and not folder.training.exists():
            folder.discard()
            return fail(f"the run could not start ({reason})", 2)
        return fail(f"{reason} at step {simulation.step} of {simulation.steps}; once cured: {resume}", 1)
    finally:
        folder.close()
    print(report(result.summary))
    print(f"  {'folder':<28}{folder.path}")
    return _draw(folder.path, config.options.figures) if config.options.figures and speaks() else 0


def _first_line(error: Exception) -> str:
    """Return the type of an error and the first line of what it says."""
    return ": ".join([type(error).__name__, *str(error).strip().splitlines()[:1]])


def _draw(folder: Path, figures: bool | str) -> int:
    """Draw the figures; the run is complete, with figures or without."""
    from graphlandau.run.folder import RunFolder

    kind = f" --figures {figures}" if isinstance(figures, str) else ""
    again = f"the run is complete, try: {RunFolder(folder).command('plot')}{kind}"
    try:
        from graphlandau.plotting import plot_run

        pictures = plot_run(folder, figures) if isinstance(figures, str) else plot_run(folder)
    except KeyboardInterrupt:
        return fail(f"interrupted while the figures were drawn; {again}", 130)
    except Exception as error:
        warnings.warn(f"no figures ({_first_line(error)}); {again}", stacklevel=2)
        return 0
    for picture in pictures:
        print(f"  {'picture':<28}{picture}")
    return 0
