"""Runs of one problem side by side: a table and a figure, each run named by what sets it apart."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from graphlandau.base.errors import InvalidArgument
from graphlandau.base.tables import write_csv
from graphlandau.cli.aliases import current_keys
from graphlandau.cli.arguments import dotted
from graphlandau.cli.presets import GROUPS, Choice, preset_label
from graphlandau.plotting import RunRecord
from graphlandau.plotting.comparison import Swept, figure
from graphlandau.plotting.style import PALETTE, save
from graphlandau.run.summary import left_out

__all__ = ["compare_runs", "final_numbers", "labels", "read_runs", "swept", "title"]

# Arguments of a problem that are no more than defaults of the run, or say how particles represent the same density.
DEFAULTS = ("t_end", "dt", "particles", "bandwidth", "cells", "loading")

# Named wherever they differ; anything else only where these do not tell two runs apart.
MAIN = (*GROUPS, "particles", "dt", "seed")

# What a summary has of the field's mode beside the last row of metrics.
FITTED = ("growth_rate", "frequency", "growth_rate_exact", "frequency_exact")


def compare_runs(folders: Sequence[str | Path], out: str | Path) -> list[dict[str, Any]]:
    """Write ``comparison.csv`` and ``comparison.png`` of two or more runs into ``out``, and return the rows.

    Raises:
        ValueError: Whatever :func:`read_runs` refuses, or if ``out`` cannot be written.
    """
    runs = read_runs([folder for folder in folders if Path(folder).resolve() != Path(out).resolve()])
    rows = [final_numbers(label, run) for label, run in runs.items()]
    picture = figure(runs, title(list(runs.values())), swept(runs))
    try:
        Path(out).mkdir(parents=True, exist_ok=True)
        write_csv(Path(out) / "comparison.csv", rows)
    except OSError as error:
        raise InvalidArgument("out", "must be a writable folder", f"{out}: {error.strerror}") from error
    save(picture, Path(out) / "comparison.png")
    return rows


def read_runs(folders: Sequence[str | Path]) -> dict[str, RunRecord]:
    """Return the runs by their labels; files among the ``folders`` are passed over, as is a run without a step.

    Raises:
        ValueError: If a folder is no run folder or is given twice, if there are fewer than two, or if two
            have different problems.
    """
    runs: dict[Path, RunRecord] = {}
    for folder in map(Path, folders):
        if folder.is_file():
            continue
        if not (folder / "config.yaml").is_file():
            raise InvalidArgument("run_dir", "must be the folder of a run", f"{folder}, which has no config.yaml")
        if folder.resolve() in runs:
            raise InvalidArgument("run_dir", "must not be given twice", folder)
        try:
            run = RunRecord(folder)
            _ = run.time_span
        except ValueError as error:
            warnings.warn(f"{folder} is left out: {error}", stacklevel=2)
            continue
        runs[folder.resolve()] = run
    if len(runs) < 2:
        raise InvalidArgument("run_dir", "must be two or more run folders", len(runs))
    records = list(runs.values())
    configs = [current_keys(dotted(run.config)) for run in records]
    _require_one_problem(records, configs)
    names = labels(configs, [str(run.path) for run in records])
    return dict(zip(names, records, strict=True))


def _require_one_problem(runs: Sequence[RunRecord], configs: Sequence[Mapping[str, Any]]) -> None:
    for run, config in zip(runs, configs, strict=True):
        for key in dict.fromkeys([*configs[0], *config]):
            physics = key.partition(".")[0] == "problem" and key.partition(".")[2] not in DEFAULTS
            if physics and config.get(key) != configs[0].get(key):
                pair = f"{runs[0].path} has {configs[0].get(key)} and {run.path} has {config.get(key)}"
                raise ValueError(f"'{key}' must be the same in all runs ({pair})")


def labels(configs: Sequence[Mapping[str, Any]], paths: Sequence[str]) -> list[str]:
    """Return a short label for each run: what differs between them; the path as well where nothing does.

    Args:
        configs: Resolved configurations, as :func:`graphlandau.cli.arguments.dotted` gives them.
        paths: Where the runs are.

    Example:
        >>> runs = [{"method": "my_lab.A", "dt": dt, "threads": 2} for dt in (0.1, 0.2)]
        >>> labels([*runs, {"method": "my_lab.B", "dt": 0.2, "threads": 1}], ["a", "b", "c"])
        ['A, dt=0.1', 'A, dt=0.2', 'B, dt=0.2']
    """
    keys = [key for key in dict.fromkeys(key for config in configs for key in config) if _varies(key, configs)]
    found = [_label(config, keys) for config in configs]
    for key in [key for key in reversed(keys) if key not in MAIN]:
        rest = [other for other in keys if other != key]
        shorter = [_label(config, rest) for config in configs]
        if len(set(shorter)) == len(set(found)):
            keys, found = rest, shorter
    if len(set(found)) < len(found):
        found = [f"{label} ({path})" if label else path for label, path in zip(found, paths, strict=True)]
    return found


def swept(runs: Mapping[str, RunRecord]) -> Swept | None:
    """Return the number over which the runs are a sweep, ``None`` if they are not.

    That is the first that varies, particles and dt before others, if it takes three values, or two in four runs or
    more, and at most as many cases as there are colours. The seed makes no case.
    """
    configs = {label: current_keys(dotted(run.config)) for label, run in runs.items()}
    given = list(configs.values())
    varying = [key for key in dict.fromkeys(key for config in given for key in config) if _varies(key, given)]
    numbers = [k for k in varying if k not in ("seed", "t_end", "threads") and all(map(_is_positive, _of(k, given)))]
    for key in sorted(numbers, key=lambda key: ("particles", "dt", key).index(key)):
        values = {label: float(config[key]) for label, config in configs.items()}
        others = [{k: x for k, x in config.items() if k not in (key, "seed", "threads")} for config in given]
        rest = [k for k in varying if k not in (key, "seed", "threads")]
        names = [_label(config, rest) or "all runs" for config in others]
        many = len(set(values.values())) >= (3 if len(runs) < 4 else 2)
        if many and len(set(names)) <= len(PALETTE):
            return Swept(key, values, dict(zip(runs, names, strict=True)))
    return None


def _of(key: str, configs: Sequence[Mapping[str, Any]]) -> list[Any]:
    return [config.get(key) for config in configs]


def _is_positive(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0


def title(runs: Sequence[RunRecord]) -> str:
    """Return how many runs these are, and what they have in common."""
    configs = [dotted(run.config) for run in runs]
    same = {key: value for key, value in configs[0].items() if all(c.get(key) == value for c in configs)}
    choices = [_choice(configs[0], group) for group in GROUPS if group in same]
    particles = [f"{same['particles']:,} particles"] if "particles" in same else []
    return " · ".join([f"{len(runs)} runs", *choices, *particles])


def _varies(key: str, configs: Sequence[Mapping[str, Any]]) -> bool:
    """Whether ``key`` has two values; an argument of a class counts among the runs with that class only."""
    group, _, name = key.partition(".")
    alike = [list(configs)]
    if group in GROUPS and name:
        alike = [[c for c in configs if c.get(group) == kind] for kind in {c.get(group) for c in configs}]
    return any(len({json.dumps(config.get(key)) for config in some}) > 1 for some in alike)


def _label(config: Mapping[str, Any], keys: Sequence[str]) -> str:
    names = [key for key in keys if config.get(key) is not None]
    choices = " ".join(_choice(config, key) for key in names if key in GROUPS)
    last = [key.rpartition(".")[2] for key in keys]
    shorter = {key: name if last.count(name) == 1 else key for key, name in zip(keys, last, strict=True)}
    values = [f"{shorter[key]}={_text(config[key])}" for key in names if key not in GROUPS]
    return ", ".join([choices, *values] if choices else values)


def _choice(config: Mapping[str, Any], group: str) -> str:
    arguments = {key.partition(".")[2]: value for key, value in config.items() if key.startswith(f"{group}.")}
    return preset_label(group, Choice(group, str(config[group]), arguments))


def _text(value: Any) -> str:
    text = f"{value:g}" if isinstance(value, float) else value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 24 else f"{text[:21]}..."


def final_numbers(label: str, run: RunRecord) -> dict[str, Any]:
    """Return what is known of a run at its last row of metrics; ``None`` where that row has no value."""
    # The square of the field is a number of its own, though its name ends like that of a component.
    repeated = left_out(run.metrics) - {"e2"}
    last = {key: float(values[-1]) for key, values in run.metrics.items()}
    numbers = {key: value if np.isfinite(value) else None for key, value in last.items() if key not in repeated}
    return {
        "label": label,
        "folder": str(run.path),
        "particles": run.config.get("particles"),
        "dt": run.config.get("dt"),
        "t": last["t"],
        "finished": "yes" if run.summary else "no",
        **numbers,
        **{key: run.summary[key] for key in FITTED if key in run.summary},
        "wall_seconds": run.summary.get("wall_seconds", last.get("wall_seconds")),
    }
