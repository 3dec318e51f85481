"""From the command line and YAML files to one resolved configuration, and from that to a simulation."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from jsonargparse import ArgumentParser

import graphlandau
from graphlandau.base import distributed
from graphlandau.base.configuration import read_value, write_configuration
from graphlandau.base.errors import InvalidArgument
from graphlandau.base.validation import require_integer
from graphlandau.cli.aliases import current_keys
from graphlandau.cli.arguments import FLAGS, dotted, full_key, keys_text, parse_values, read_yaml
from graphlandau.cli.option_groups import add_arguments, keys_of
from graphlandau.cli.options import OPTIONS, RunOptions
from graphlandau.cli.presets import (
    FILLED_IN,
    GROUPS,
    Choice,
    choices_of,
    choose,
    construct,
    import_class,
    load_preset,
    preset_label,
    preset_names,
    suggest,
)
from graphlandau.methods import Method
from graphlandau.nn.control import PhaseEmbedding, as_control_model
from graphlandau.nn.pairs.compiled import chosen_mode, compile_mode
from graphlandau.nn.time_field import as_time_field
from graphlandau.problems import InitialValueProblem, KineticProblem, Problem
from graphlandau.run.arguments import require_device, require_seed
from graphlandau.run.observers import Observer
from graphlandau.run.observers.certificate import Certificate
from graphlandau.run.simulation import Simulation

__all__ = ["RunConfig", "RunOptions", "compose", "help_text", "require_agreement", "run_parser"]

DEFAULT_FLOW = "time_mlp"
DEFAULT_CONTROL = "features"


def _merge(sources: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Choice], dict[str, Any]]:
    """Merge dotted keys, later sources over earlier ones; a new choice drops the arguments of the old one."""
    choices: dict[str, Choice] = {}
    options: dict[str, Any] = {}
    for source in sources:
        for group in GROUPS:
            if group not in source:
                continue
            if source[group] in (None, "null"):
                choices.pop(group, None)
            else:
                choices[group] = choose(group, str(source[group]))
        own = _parameters("method", choices["method"]) if "method" in choices else []
        for key, value in source.items():
            group, _, name = full_key(key, own).partition(".")
            default = _default(group, choices) if name and group not in choices else None
            if default is not None:
                choices[group] = default
            if group not in GROUPS:
                options[key] = value
            elif name and group in choices:
                choices[group].init_args[name] = value
            elif name:
                raise InvalidArgument(key, f"needs a choice of {group}", f"none; {suggest('', choices_of(group))}")
    return {group: choices[group] for group in GROUPS if group in choices}, options


def _default(group: str, choices: Mapping[str, Choice]) -> Choice | None:
    """Return what the chosen method takes of ``group`` unless another is chosen, ``None`` if it takes none."""
    if "method" not in choices or group not in _parameters("method", choices["method"]):
        return None
    defaults = {"score": _method(choices).default_score, "flow": DEFAULT_FLOW, "control": DEFAULT_CONTROL}
    return choose(group, defaults[group]) if group in defaults else None


@dataclass
class RunConfig:
    """A resolved run: every key has its value, and :meth:`to_yaml` gives a file that repeats it.

    Args:
        choices: The chosen classes with all their arguments, as they are written to YAML.
        options: The options of the run.
        instances: The same arguments with nested classes built.
        problem: The problem itself.
    """

    choices: dict[str, Choice]
    options: RunOptions
    instances: dict[str, dict[str, Any]]
    problem: InitialValueProblem

    @property
    def labels(self) -> dict[str, str | None]:
        """Names of problem, method and score for summaries and titles."""
        names = [g for g in GROUPS if g not in ("flow", "control", "graph") or g in self.choices]
        return {g: preset_label(g, self.choices[g]) if g in self.choices else None for g in names}

    def to_yaml(self) -> str:
        """Return the text of ``config.yaml``; it leaves the folder out, so that a rerun takes a new one."""
        groups = {g: {"class_path": c.class_path, "init_args": c.init_args} for g, c in self.choices.items()}
        header = f"# graphlandau {graphlandau.__version__}, torch {torch.__version__}\n"
        options = {key: value for key, value in vars(self.options).items() if key != "out"}
        return header + write_configuration(groups | options)

    def simulation(self, *, observers: Sequence[Observer] = (), **options: Any) -> Simulation:
        """Build score model, method and simulation; networks are initialised from the seed.

        Raises:
            ValueError: If an argument is out of range, or the score model is none.
        """
        run = self.options
        torch.set_num_threads(run.threads or torch.get_num_threads())
        torch.manual_seed(run.seed)
        filled: dict[str, Any] = {"d": self.problem.d, "seed": run.seed}
        if "score" in self.choices:
            as_score = _method(self.choices).as_score
            filled["score"] = as_score(self._build("score", filled), self.problem.d)
        if "flow" in self.choices:
            filled["flow"] = as_time_field(self._build("flow", filled), self.problem.d, "flow")
        if "graph" in self.choices:
            filled["graph"] = self._build("graph", {})
        if "control" in self.choices and isinstance(self.problem, KineticProblem):
            p = self.problem
            embedding = PhaseEmbedding(p.d_x, p.d, lengths=p.lengths, wavelengths=p.wavelengths)
            control = self._build("control", filled | {"embedding": embedding, "d_x": p.d_x})
            filled["control"] = as_control_model(control, p.d_x, p.d)
        method = self._build("method", filled)
        certificate = [Certificate(_certifiable(self.problem), method)] if run.certificate else []
        return Simulation(
            self.problem,
            method,
            particles=run.particles,
            dt=run.dt,
            t_end=run.t_end,
            seed=run.seed,
            device=distributed.own_device(run.device),
            dtype=getattr(torch, run.dtype),
            snapshots=run.snapshots,
            metrics_every=run.metrics_every,
            checkpoint_every=run.checkpoint_every,
            baselines=run.baselines,
            compile=run.compile,
            observers=[*certificate, *observers],
            labels=self.labels,
            **options,
        )

    def _build(self, group: str, filled: Mapping[str, Any]) -> Any:
        """Build the chosen object from its arguments, and from ``filled`` those that are no keys."""
        takes = FILLED_IN[group].intersection(_parameters(group, self.choices[group]))
        arguments = self.instances[group] | {name: filled[name] for name in filled if name in takes}
        return _construct(group, self.choices[group], arguments)


def _gather(arguments: Mapping[str, list[str]]) -> tuple[dict[str, Choice], dict[str, Any], dict[str, str]]:
    given = dict(arguments)
    sources: list[Mapping[str, Any]] = [read_yaml(name) for name in given.pop("config", [])]
    command_line = current_keys({key: values[-1] for key, values in given.items()})
    return *_merge([*sources, command_line]), command_line


def help_text(arguments: Mapping[str, list[str]]) -> str:
    """Return a line for every key of the chosen classes and of the run: type, default, meaning.

    The defaults are those of the presets that are chosen, and of the problem.
    """
    choices, _, _ = _gather({key: values for key, values in arguments.items() if key not in FLAGS})
    defaults = {f"{group}.{name}": x for group, choice in choices.items() for name, x in choice.init_args.items()}
    if "problem" in choices:
        with suppress(ValueError):  # it cannot be built without arguments
            defaults |= _defaults_of(choices["problem"])
    return keys_text(run_parser(choices), defaults)


def _defaults_of(choice: Choice) -> dict[str, Any]:
    """Return what a run of a problem takes unless it is told otherwise, by key."""
    parser = run_parser({"problem": choice})
    namespace = parse_values(parser, {f"problem.{name}": value for name, value in choice.init_args.items()})
    arguments = dict(vars(parser.instantiate(namespace)["problem"]))
    problem = _construct("problem", choice, arguments)
    _fill_in(arguments, problem)
    of_run = {key: getattr(problem, key) for key in ("particles", "t_end", "dt")}
    return {f"problem.{name}": value for name, value in arguments.items()} | of_run


def compose(arguments: Mapping[str, list[str]]) -> RunConfig:
    """Resolve what :func:`read_arguments` gave: files first, later ones over earlier ones, the rest over all.

    Raises:
        ValueError: In one line that names the key, its value and what is allowed.
    """
    choices, options, command_line = _gather(arguments)
    for group in ("problem", "method"):
        if group not in choices:
            typed = get_close_matches(group, [key for key in options if key not in OPTIONS], n=1)
            if typed:
                raise InvalidArgument(
                    typed[0], "is not a known key", repr(options[typed[0]]), f"; did you mean '{group}'?"
                )
            raise InvalidArgument(group, "must be given", f"none; {suggest('', choices_of(group))}")
    own_score = issubclass(_method(choices).solves, Problem)
    reasons = {
        "score": "has a score of its own" if own_score else "takes no score",
        "flow": "learns no flow",
        "control": "has no control",
        "graph": "sums no collisions over pairs",
    }
    for group, reason in reasons.items():
        if group not in _parameters("method", choices["method"]):
            if group in command_line:
                own = f"{choices['method'].label} {reason}"
                raise InvalidArgument(group, f"must not be given, {own}", repr(command_line[group]))
            choices.pop(group, None)
        elif group not in choices and (default := _default(group, choices)) is not None:
            choices[group] = default
    return _resolve({group: choices[group] for group in GROUPS if group in choices}, options)


def require_agreement(config: RunConfig) -> None:
    """Refuse to run if several processes would run different things, in every one of them alike.

    Raises:
        ValueError: If a key of the configuration, the package or torch is not the same in all processes.
    """
    own = {"graphlandau": graphlandau.__version__, "torch": str(torch.__version__)}
    every = distributed.gather_objects(own | dotted(read_value(config.to_yaml())))
    for key in dict.fromkeys(key for one in every for key in one):
        values = [one.get(key) for one in every]
        other = next((r for r, value in enumerate(values) if value != values[0]), None)
        if other is not None:
            got = f"got {values[0]} in rank 0, {values[other]} in rank {other}"
            raise ValueError(f"'{key}' must be the same in all processes ({got})")


def _resolve(choices: dict[str, Choice], options: dict[str, Any]) -> RunConfig:
    if options.get("out") is not None and not str(options["out"]).strip():
        raise InvalidArgument("out", "must name a folder", repr(options["out"]))
    parser = run_parser(choices)
    arguments = {f"{g}.{name}": value for g, c in choices.items() for name, value in c.init_args.items()}
    namespace = parse_values(parser, arguments | options)
    written = json.loads(json.dumps(namespace.as_dict(), default=str))
    resolved = {g: Choice(c.label, c.class_path, written.get(g) or {}) for g, c in choices.items()}
    built = parser.instantiate(namespace)
    instances = {g: dict(vars(built[g])) if g in built else {} for g in choices}
    problem = _construct("problem", resolved["problem"], instances["problem"])
    _require_solvable(choices, problem)
    _fill_in(resolved["problem"].init_args, problem)
    run = RunOptions(**{key: written[key] for key in OPTIONS})
    run.particles = problem.particles if run.particles is None else run.particles
    run.t_end = problem.t_end if run.t_end is None else run.t_end
    run.dt = problem.dt if run.dt is None else run.dt
    run.seed = require_seed(run.seed)
    run.device = _device(run.device)
    run.threads = _threads(run.threads)
    with compile_mode(run.compile):
        run.compile = chosen_mode()
    return RunConfig(resolved, run, instances, problem)


def _require_solvable(choices: Mapping[str, Choice], problem: InitialValueProblem) -> None:
    """Refuse a method that is for another kind of problem, and say which are for this one."""
    method = _method(choices)
    if not isinstance(problem, method.solves):
        presets = {
            name: import_class("method", load_preset("method", name).class_path) for name in preset_names("method")
        }
        fitting = [name for name, found in presets.items() if isinstance(problem, found.solves)]
        label = choices["problem"].label
        got = f"got {choices['method'].label!r}; known: {', '.join(fitting)}"
        raise ValueError(f"'method' must be one for the equation of {label} ({got})")


def _fill_in(arguments: dict[str, Any], problem: InitialValueProblem) -> None:
    """Give arguments left to the problem (``None``) the numbers it has taken for them, and files their whole path."""
    for name, value in arguments.items():
        taken = getattr(problem, name, None)
        if value is None and isinstance(taken, int | float) and not isinstance(taken, bool):
            arguments[name] = taken
        elif isinstance(taken, Path):  # a run may be taken up, or drawn, from elsewhere
            arguments[name] = str(taken)


def _certifiable(problem: InitialValueProblem) -> Problem:
    """Return a problem for the Landau equation; the bounds are for no other."""
    if not isinstance(problem, Problem):
        raise InvalidArgument(
            "certificate", f"must be false for {problem.name}: its bounds are for the Landau equation", "True"
        )
    return problem


def _threads(threads: int | None) -> int:
    most = os.cpu_count() or 1
    if threads is None:
        return min(torch.get_num_threads(), most)
    if require_integer("threads", threads, minimum=1) > most:
        raise InvalidArgument("threads", f"must be at most {most}, the processors of this machine", threads)
    return threads


def _method(choices: Mapping[str, Choice]) -> type[Method]:
    return import_class("method", choices["method"].class_path)


def _parameters(group: str, choice: Choice) -> list[str]:
    return keys_of(import_class(group, choice.class_path))


def _construct(group: str, choice: Choice, arguments: Mapping[str, Any]) -> Any:
    """Build the chosen object; what its constructor refuses is refused under the key that set it."""
    found = import_class(group, choice.class_path)
    return construct(group, choice.label, found, arguments, choice.init_args)


def _device(name: str) -> str:
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    require_device(name)
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:  # torch asserts when it is built without CUDA
        reason = " ".join(str(error).split())
        raise InvalidArgument(
            "device", "must be auto, cpu or a device of this machine", f"{name!r}: {reason:.80}"
        ) from error
    return name


def run_parser(choices: Mapping[str, Choice]) -> ArgumentParser:
    """Return the typed parser of the chosen classes' arguments and of the run's options."""
    parser = ArgumentParser(exit_on_error=False, prog="graphlandau run", print_config=None, add_help=False)
    for group, choice in choices.items():
        found = import_class(group, choice.class_path)
        add_arguments(parser, found, group, FILLED_IN[group])
    parser.add_class_arguments(RunOptions)
    return parser
