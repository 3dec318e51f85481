"""Options of a constructor side by side: groups of them (frozen dataclasses) opened into flat keys, and closed again.

A parameter whose default is a dataclass is a group: ``step: Step = Step()`` gives the keys ``integrator`` and
``log_det`` in place of ``step``.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Mapping
from typing import Any

import docstring_parser
from jsonargparse import ArgumentParser

__all__ = ["add_arguments", "closed", "keys_of"]


def groups_of(found: type) -> dict[str, Any]:
    """Return the groups among the parameters of the constructor of ``found``, each with its default."""
    parameters = _parameters(found)
    return {name: p.default for name, p in parameters.items() if dataclasses.is_dataclass(p.default)}


def _parameters(found: type) -> dict[str, inspect.Parameter]:
    """Parameters of a constructor, and of the one above it to which it hands on its ``**options``."""
    parameters: dict[str, inspect.Parameter] = {}
    for base in found.__mro__:
        if "__init__" not in vars(base):
            continue
        own = inspect.signature(found if base is found else base.__init__).parameters
        parameters = {name: p for name, p in own.items() if name != "self"} | parameters
        if not any(p.kind is p.VAR_KEYWORD for p in own.values()):
            break
    return {name: p for name, p in parameters.items() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}


def keys_of(found: type) -> list[str]:
    """Return the options of the constructor of ``found``, those inside groups by their own names.

    Example:
        >>> from graphlandau.methods import Blob
        >>> keys_of(Blob)[:7]
        ['bandwidth', 'correct', 'cutoff', 'seed', 'integrator', 'log_det', 'backend']
    """
    groups = groups_of(found)
    inside = [field.name for group in groups.values() for field in dataclasses.fields(group)]
    return [name for name in _parameters(found) if name not in groups] + inside


def closed(found: type, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return flat ``options`` as arguments of the constructor of ``found``: those of a group inside it.

    Raises:
        ValueError: If a group refuses an option.

    Example:
        >>> from graphlandau.methods import Blob
        >>> closed(Blob, {"cutoff": 3.0, "log_det": "none"})
        {'cutoff': 3.0, 'step': Step(integrator='euler', log_det='none')}
    """
    arguments = dict(options)
    for name, default in groups_of(found).items():
        inside = {f.name: arguments.pop(f.name) for f in dataclasses.fields(default) if f.name in arguments}
        if inside:
            arguments[name] = dataclasses.replace(default, **inside)
    return arguments


def add_arguments(parser: ArgumentParser, found: type, key: str, skip: set[str | int]) -> None:
    """Add the options of the constructor of ``found`` to ``parser`` as ``key.option``, groups opened."""
    groups = groups_of(found)
    parser.add_class_arguments(found, key, skip={*skip, *groups}, fail_untyped=False, instantiate=False)
    for group in groups.values():
        hidden: set[str | int] = {f.name for f in dataclasses.fields(group) if f.name in skip}
        parser.add_class_arguments(type(group), key, as_group=False, skip=hidden, fail_untyped=False, instantiate=False)
        meanings = _documented(type(group))
        for field in dataclasses.fields(group):
            if field.name not in hidden:
                parser.set_defaults({f"{key}.{field.name}": getattr(group, field.name)})
                action = parser._option_string_actions[f"--{key}.{field.name}"]
                action.help = meanings.get(field.name, action.help)


@functools.cache
def _documented(kind: type) -> dict[str, str]:
    """Return what a dataclass and those that it derives from say of their fields."""
    meanings: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        for parameter in docstring_parser.parse(inspect.getdoc(base) or "").params if base is not object else ():
            meanings[parameter.arg_name] = " ".join((parameter.description or "").split())
    return meanings
