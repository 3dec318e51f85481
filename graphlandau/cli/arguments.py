"""What was asked for: keys and values of the command line and of YAML files, checked one by one."""

from __future__ import annotations

import argparse
import functools
import importlib
import inspect
import json
import math
import re
import shlex
import types
import typing
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from jsonargparse import ArgumentParser, Namespace

from graphlandau.base.configuration import RepeatedKey, read_entries, read_value
from graphlandau.base.errors import InvalidArgument
from graphlandau.cli.aliases import current_keys, current_path
from graphlandau.cli.options import OPTIONS, RunOptions
from graphlandau.cli.presets import (
    GROUPS,
    construct,
    experiment_names,
    experiment_path,
    imported,
    known_options,
    preset_names,
    require_known,
    suggest,
)

__all__ = [
    "describe_type",
    "dotted",
    "full_key",
    "keys_text",
    "known_keys",
    "options_text",
    "parse_values",
    "read_arguments",
    "read_cases",
    "read_values",
    "read_yaml",
    "refuse_typos",
    "to_arguments",
]

FLAGS = ("help", "print_config")


def read_arguments(argv: Sequence[str], flags: Sequence[str] = FLAGS, words: str = "") -> dict[str, list[str]]:
    """Read ``--key value`` and ``--key=value`` pairs.

    Args:
        argv: The command line; ``-h`` is ``--help``.
        flags: Keys that need no value.
        words: Key under which words without a key are gathered; they are refused unless it is given.

    Raises:
        ValueError: If something is not preceded by its key, or a key has no value.

    Example:
        >>> read_arguments(["--dt", "0.1", "--problem.gamma=-3", "--print_config"])
        {'dt': ['0.1'], 'problem.gamma': ['-3'], 'print_config': []}
    """
    pairs: dict[str, list[str]] = {}
    tokens = ["--help" if token == "-h" else token for token in argv]
    while tokens:
        token = tokens.pop(0)
        if not token.startswith("--"):
            if not words:
                raise ValueError(f"unexpected {token!r}: every option is written --key value")
            pairs.setdefault(words, []).append(token)
            continue
        key, equals, value = token[2:].partition("=")
        if not equals and tokens and not tokens[0].startswith("--"):
            equals, value = "=", tokens.pop(0)
        if not equals and key not in flags:
            raise InvalidArgument(key, "needs a value", "none")
        pairs.setdefault(key, []).extend([value] if equals else [])
    return pairs


def refuse_typos(given: Mapping[str, Sequence[str]]) -> None:
    """Refuse what can be seen to be wrong without importing what was chosen: names, files and keys.

    Raises:
        ValueError: In one line that names the key, its value and what is known.
    """
    files = [read_yaml(name) for name in given.get("config", [])]
    typed = current_keys(
        {key: values[-1] for key, values in given.items() if values and key not in ("config", "resume")}
    )
    chosen: dict[str, str] = {}
    for values in (*files, typed):
        chosen |= {group: str(values[group]) for group in GROUPS if values.get(group) not in (None, "null")}
    for group, name in chosen.items():
        require_known(group, name)
    # None for a class that is not of this package: only importing it would tell.
    known = {group: known_options(group, name) for group, name in chosen.items()}
    for key, value in typed.items():
        group, dot, name = full_key(key).partition(".")
        if not dot and key in (*GROUPS, *OPTIONS):
            continue
        of_group = known.get(group if dot else "method", [] if not dot else None)
        if of_group is not None and (not dot or name.partition(".")[0] not in of_group):
            keys = [*OPTIONS, *(f"{each}.{option}" for each, options in known.items() for option in options or ())]
            raise ValueError(f"'{key}' is not a known key (got {value!r}); {_suggest_key(key, keys)}")


def to_arguments(pairs: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the command line that :func:`read_arguments` reads as ``pairs``.

    Example:
        >>> to_arguments({"dt": ["0.1"], "problem.gamma": ["-3"]})
        ['--dt', '0.1', '--problem.gamma', '-3']
    """
    argv = []
    for key, values in pairs.items():
        argv += [] if values else [f"--{key}"]
        for value in values:
            argv += [f"--{key}={value}"] if value.startswith("--") or value == "-h" else [f"--{key}", value]
    return argv


def read_values(option: str, texts: Sequence[str]) -> dict[str, list[Any]]:
    """Read ``KEY=V1,V2,...``, or ``KEY=[...]`` with a YAML list, each of ``texts`` for another key.

    Raises:
        ValueError: If a text is not written like that, or two have the same key.

    Example:
        >>> read_values("over", ["particles=100,200", "score.hidden=[[8, 8], [16]]"])
        {'particles': ['100', '200'], 'score.hidden': [[8, 8], [16]]}
    """
    found: dict[str, list[Any]] = {}
    for key, text in _named(option, texts, "KEY=V1,V2,..."):
        if text.startswith("["):
            try:
                values = read_value(text)
            except yaml.YAMLError:
                values = None
        else:
            values = [value.strip() for value in text.split(",")]
        if not isinstance(values, list) or not values or "" in values:
            raise InvalidArgument(option, "must be KEY=V1,V2,... or KEY=[...] with a YAML list", f"{key}={text}")
        found[key] = values
    return found


def read_cases(option: str, texts: Sequence[str]) -> dict[str, list[str]]:
    """Read ``NAME=--key value --key value``, quoted as in a shell.

    Raises:
        ValueError: If a text is not written like that, or two have the same name.

    Example:
        >>> read_cases("case", ["mlp=--method sbtm --score mlp"])
        {'mlp': ['--method', 'sbtm', '--score', 'mlp']}
    """
    found: dict[str, list[str]] = {}
    for name, text in _named(option, texts, 'NAME="--KEY VALUE ..."'):
        if not re.fullmatch(r"\w[\w.+-]*", name):
            raise InvalidArgument(option, "must have a name of letters, digits, '.', '+' and '-'", repr(name))
        try:
            found[name] = shlex.split(text)
            read_arguments(found[name])
        except ValueError as error:
            raise InvalidArgument(option, f"{name} must be options as of a run", f"{text!r}: {error}") from error
    return found


def _named(option: str, texts: Sequence[str], form: str) -> Iterator[tuple[str, str]]:
    """Split ``NAME=text``; every name once."""
    seen: set[str] = set()
    for given in texts:
        name, equals, text = (part.strip() for part in given.partition("="))
        if not name or not equals:
            raise InvalidArgument(option, f"must be {form}", repr(given))
        if name in seen:
            raise InvalidArgument(option, f"must be given once for {name}", f"{given!r} too")
        seen.add(name)
        yield name, text


def read_yaml(name: str) -> dict[str, Any]:
    """Read a configuration file, or a shipped experiment by its name, into dotted keys.

    A value means what it would mean on the command line.

    Raises:
        ValueError: If there is no such file, or it does not hold keys and values, or one of them twice.
    """
    path = experiment_path(name) if name in experiment_names() else Path(name)
    try:
        content = read_entries(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        hint = f"{error.strerror}; {suggest(name, experiment_names())}"
        raise InvalidArgument("config", "must be a YAML file or a shipped experiment", f"{name!r}: {hint}") from error
    except RepeatedKey as error:
        raise InvalidArgument("config", "must hold every key once", f"{name!r}, which has {error}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InvalidArgument("config", "must be a YAML file", f"{name!r}: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict | None):
        raise InvalidArgument("config", "must hold keys and values", f"{name!r}, which holds {content!r:.40}")
    return current_keys(dotted(content or {}))


def dotted(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys of a configuration side by side, as on the command line.

    Raises:
        InvalidArgument: If one key is there in two ways of writing it.

    Example:
        >>> dotted({"problem": {"class_path": "my_lab.Beam", "init_args": {"drift": 3.0}}, "dt": 0.1})
        {'problem': 'my_lab.Beam', 'problem.drift': 3.0, 'dt': 0.1}
    """
    found: dict[str, Any] = {}
    written: dict[str, str] = {}
    for key, value, way in _dotted(content):
        full = full_key(key)
        if full in written:
            raise InvalidArgument(full, "must be given once", f"{written[full]!r} and {way!r}")
        found[key], written[full] = value, way
    return found


def _dotted(content: Mapping[str, Any]) -> Iterator[tuple[str, Any, str]]:
    """Yield ``problem.strength``, its value, and how it is written: ``problem: init_args: strength``."""
    for key, value in content.items():
        if key not in GROUPS or not isinstance(value, Mapping):
            yield str(key), value, str(key)
            continue
        for name, argument in value.items():
            if name == "class_path":
                yield key, argument, f"{key}: class_path"
            elif name != "init_args":
                yield f"{key}.{name}", argument, f"{key}: {name}"
            elif not isinstance(argument, Mapping | None):
                raise InvalidArgument(f"{key}.init_args", "must hold keys and values", f"{argument!r:.40}")
            else:
                for inner, each in (argument or {}).items():
                    yield f"{key}.{inner}", each, f"{key}: init_args: {inner}"


def full_key(key: str, own: Collection[str] = ()) -> str:
    """Return a key with its group: an option of a method may be written without ``method.``.

    Args:
        key: As it is typed.
        own: Options of the method that is chosen; those of all methods of this package are known.

    Example:
        >>> full_key("batch_size"), full_key("schedule.factor"), full_key("dt"), full_key("score.width")
        ('method.batch_size', 'method.schedule.factor', 'dt', 'score.width')
    """
    head = key.partition(".")[0]
    of_run = head in GROUPS or head in OPTIONS
    return key if of_run or head not in {*own, *_methods_by_option()} else f"method.{key}"


@functools.cache
def _methods_by_option() -> dict[str, list[str]]:
    """Return which methods of this package have an option."""
    found: dict[str, list[str]] = {}
    for method in preset_names("method"):
        for option in known_options("method", method) or ():
            found.setdefault(option, []).append(method)
    return found


def options_text() -> str:
    """Return a line for every option that all runs have: type, default, meaning."""
    parser = ArgumentParser(exit_on_error=False, add_help=False)
    parser.add_class_arguments(RunOptions)
    return keys_text(parser)


def keys_text(parser: ArgumentParser, defaults: Mapping[str, Any] | None = None) -> str:
    """Return a line for every key of ``parser``: type, default (one of ``defaults`` if it is there), meaning."""
    lines = []
    for key, action in known_keys(parser).items():
        value = (defaults or {}).get(key, action.default)
        default = "" if value is None else f", default {value}"
        meaning = " ".join(re.sub(r":\w+:`~?([^`]*)`", r"\1", action.help or "").replace("``", "").split())
        lines.append(f"  --{key:<26} {meaning} ({describe_type(action._typehint)}{default})")
    return "\n".join(lines)


def known_keys(parser: ArgumentParser) -> dict[str, Any]:
    """Return the keys that ``parser`` takes, each with its action (``_typehint``, ``default``, ``help``)."""
    typed = (action for action in parser._actions if hasattr(action, "_typehint"))
    return {action.dest: action for action in typed if not action.dest.endswith(".help")}


def describe_type(hint: Any) -> str:
    """Return a type in words.

    Example:
        >>> describe_type(int | None), describe_type(Literal["euler", "midpoint"])
        ('an integer', 'one of euler, midpoint')
    """
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return f"one of {', '.join(map(str, arguments))}"
    if origin in (typing.Union, types.UnionType):
        named = str in arguments  # what has a name: an object in its place only in Python
        words = [a for a in arguments if a is not type(None) and not (named and inspect.isabstract(a))]
        return " or ".join(map(describe_type, words))
    words = {int: "an integer", float: "a number", bool: "true or false", str: "text"}
    return words.get(hint) or (hint.__name__ if origin is None and isinstance(hint, type) else str(hint))


def parse_values(parser: ArgumentParser, values: Mapping[str, Any]) -> Namespace:
    """Give every value the type of its key; text, as on a command line, is converted.

    Raises:
        ValueError: In one line, if a key is unknown or missing, or a value does not have the type of its key.
    """
    known = known_keys(parser)
    argv = []
    values = {key: _current_class(value) for key, value in values.items()}
    for key, value in values.items():
        if ".".join(key.split(".")[:2]) not in known:
            raise ValueError(f"'{key}' is not a known key (got {value!r}); {_suggest_key(key, known)}")
        value = _as_integer(value) if key in known and _is_integer(known[key]._typehint) else value
        argv.append(f"--{key}={_argument(known[key]._typehint if key in known else str | float, value)}")
    for key, action in known.items():
        base = _class_of(action._typehint)
        if base is not None:
            _require_class(key, base, values)
    try:
        found = parser.parse_args(argv)
    except argparse.ArgumentError as error:
        for key, action in known.items():
            simple = _class_of(action._typehint) is None and not isinstance(values.get(key), Mapping)
            if key in values and simple and not _fits(action._typehint, values[key]):
                raise InvalidArgument(key, f"must be {describe_type(action._typehint)}", repr(values[key])) from error
        raise ValueError(" ".join(str(error).split())) from error
    for key in known.keys() & values.keys():
        # Where a name may stand for a number or a truth: this is none here, but one to jsonargparse.
        if (
            isinstance(values[key], str)
            and isinstance(found[key], float | bool)
            and isinstance(_meaning(values[key]), str)
        ):
            raise InvalidArgument(key, f"must be {describe_type(known[key]._typehint)}", repr(values[key]))
    return found


def _argument(hint: Any, value: Any) -> str:
    """Return a value, or the text that stands for it, so that jsonargparse reads it as a configuration is read.

    It reads numbers and truths by YAML 1.1, where 010 is 8, 1:00 is 60 and on is true: it is given those of JSON.
    """
    if not isinstance(value, str):
        return json.dumps(value)
    kinds = _kinds(hint) - {type(None)}
    meant = value if kinds <= {str} else _meaning(value)
    return value if isinstance(meant, str) and not kinds <= {bool, int, float} else json.dumps(meant)


def _meaning(text: str) -> Any:
    """Return the finite number, truth or list that a text is, or the text."""
    try:
        meant = read_value(text)
    except yaml.YAMLError:
        return text
    return text if isinstance(meant, float) and not math.isfinite(meant) else meant


def _kinds(hint: Any) -> set[Any]:
    """Return the types of a union, and those of the choices of a literal."""
    if typing.get_origin(hint) is Literal:
        return {type(choice) for choice in typing.get_args(hint)}
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return set().union(*map(_kinds, typing.get_args(hint)))
    return {hint}


def _fits(hint: Any, value: Any) -> bool:
    """Whether a value, or the text that stands for it, is of a type."""
    one = ArgumentParser(exit_on_error=False)
    one.add_argument("--value", type=hint)
    try:
        one.parse_args([f"--value={_argument(hint, value)}"])
    except argparse.ArgumentError:
        return False
    return True


def _current_class(value: Any) -> Any:
    """A value, with the import path that a class in it has now."""
    if isinstance(value, Mapping) and isinstance(value.get("class_path"), str):
        return {**value, "class_path": current_path(value["class_path"])}
    return current_path(value) if isinstance(value, str) else value


def _class_of(hint: Any) -> type | None:
    """Return the class of which a key takes an instance, by its import path; None for numbers, text, and names."""
    choices = typing.get_args(hint) or (hint,)
    found = [a for a in choices if inspect.isclass(a) and inspect.isabstract(a)]
    return found[0] if found and str not in choices else None


def _require_class(key: str, base: type, values: Mapping[str, Any]) -> None:
    """Refuse, under its own key, what the class chosen for ``key`` or its constructor does not take.

    Raises:
        ValueError: If no class is chosen, it is not one, or an argument is unknown, missing or refused.
    """
    given = {name.removeprefix(f"{key}."): value for name, value in values.items() if name.startswith(f"{key}.")}
    chosen = values.get(key)
    if isinstance(chosen, Mapping):  # {class_path: ..., init_args: {...}}, as config.yaml has it
        given, chosen = {**(chosen.get("init_args") or {}), **given}, chosen.get("class_path")
    given = {name.removeprefix("init_args."): value for name, value in given.items() if name != "class_path"}
    if chosen in (None, "null"):
        if given:
            raise InvalidArgument(
                key, f"must be given with '{key}.{next(iter(given))}'", f"none; {_known_classes(base)}"
            )
        return
    path = str(chosen) if "." in str(chosen) else f"{base.__module__}.{chosen}"
    name, allowed = path.rpartition(".")[2], f"must be the import path of a {base.__name__}"
    try:
        found = imported(path)
    except Exception as error:  # whatever a user's module does when it is imported
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise InvalidArgument(key, allowed, f"{chosen!r}: {reason}; {_known_classes(base)}") from error
    if not (inspect.isclass(found) and issubclass(found, base)):
        raise InvalidArgument(key, allowed, f"{chosen!r}; {_known_classes(base)}")
    takes = inspect.signature(found).parameters
    for argument, value in given.items():
        if argument not in takes:
            known = [f"{key}.{name}" for name in takes]
            raise ValueError(f"'{key}.{argument}' is not a known key (got {value!r}); {suggest(argument, known)}")
    for argument, parameter in takes.items():
        if parameter.default is parameter.empty and argument not in given:
            raise InvalidArgument(f"{key}.{argument}", f"must be given for {name}", "none")
    construct(key, name, found, {argument: _typed(value) for argument, value in given.items()}, takes)


def _typed(value: Any) -> Any:
    """Return the number or list that text on a command line stands for."""
    return _meaning(value) if isinstance(value, str) else value


def _known_classes(base: type) -> str:
    """Return the import paths of the shipped classes, in words."""
    package = base.__module__.rpartition(".")[0]
    found = {name: getattr(importlib.import_module(package), name) for name in importlib.import_module(package).__all__}
    names = [n for n, x in found.items() if inspect.isclass(x) and issubclass(x, base) and x is not base]
    return f"known: {', '.join(f'{package}.{name}' for name in names)}"


def _is_integer(hint: Any) -> bool:
    return hint is int or set(typing.get_args(hint)) == {int, type(None)}


def _as_integer(value: Any) -> Any:
    """Return ``1e4`` or ``10000.0``, as text or number, as the integer that it is; all else as it came."""
    if isinstance(value, bool | int) or not re.fullmatch(r"[+-]?\d+(\.\d*)?(e\+?\d+)?", str(value).lower()):
        return value
    if isinstance(value, str) and value.lstrip("+-").isdecimal():
        return value  # a float would lose its last digits
    return int(float(value)) if float(value).is_integer() else value


def _suggest_key(key: str, known: Iterable[str]) -> str:
    """Say which methods have an option that is no key here, or which of the ``known`` keys is nearest to it."""
    group, dot, name = full_key(key).partition(".")
    if dot and group not in GROUPS:
        return suggest(group, GROUPS)
    if dot:
        of_others = _methods_by_option().get(name, []) if group == "method" else []
        others = f"it is an option of {', '.join(of_others)}; " if of_others else ""
        return others + suggest(name, [k.partition(".")[2] for k in known if k.startswith(f"{group}.")], f"{group}.")
    inside = [k for k in known if k.endswith(f".{key}")]
    if inside:
        return f"did you mean '{inside[0]}'?"
    short = [k.removeprefix("method.") for k in known if "." not in k.removeprefix("method.")]
    return suggest(key, [*GROUPS, *short])
