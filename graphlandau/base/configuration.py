"""The text of configurations: YAML whose plain words mean what they mean on the command line, every key once."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import yaml
from yaml.constructor import ConstructorError

__all__ = ["RepeatedKey", "read_entries", "read_value", "write_configuration"]


def _integer(text: str) -> int:
    return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))


# What a plain word is, and its value: the core schema of YAML 1.2. There are no dates, no numbers to base 60, no digits
# with underscores, and no truth but true and false.
WORDS: dict[str, tuple[str, str, Callable[[str], Any]]] = {
    "null": (r"null|Null|NULL|~|", "~nN", lambda text: None),
    "bool": (r"true|True|TRUE|false|False|FALSE", "tTfF", lambda text: text.lower() == "true"),
    "int": (r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789", _integer),
    "float": (
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+.0123456789",
        lambda text: float(text.lower().replace(".inf", "inf").replace(".nan", "nan")),
    ),
}


def _tag(name: str) -> str:
    return f"tag:yaml.org,2002:{name}"


class RepeatedKey(yaml.YAMLError):
    """A key that stands twice in one mapping, and in which lines."""

    def __init__(self, key: str, first: int, second: int) -> None:
        super().__init__(key, first, second)
        self.key, self.first, self.second = key, first, second

    def __str__(self) -> str:
        return f"{self.key!r} in line {self.first} and in line {self.second}"


class _Reader(yaml.SafeLoader):
    """Values by the core schema of YAML 1.2; keys are text, and come once."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[str, Any]:
        """The mapping of a node, with a key once."""
        lines: dict[str, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise ConstructorError(None, None, "a key must be a word", key.start_mark)
            line = key.start_mark.line + 1
            if key.value in lines and key.tag != _tag("merge"):
                raise RepeatedKey(key.value, lines[key.value], line)
            lines[key.value] = line
        self.flatten_mapping(node)
        return {key.value: self.entry(value) for key, value in node.value}

    def entry(self, node: yaml.Node) -> Any:
        """The value of a key."""
        return self.construct_object(node, deep=True)

    def sequence(self, node: yaml.SequenceNode) -> list[Any]:
        """The list of a node."""
        return self.construct_sequence(node, deep=True)

    def scalar(self, node: yaml.ScalarNode) -> Any:
        """The value of a word; of one with a tag too it must look like what the tag says."""
        name = node.tag.rpartition(":")[2]
        form, _, value = WORDS[name]
        if not re.fullmatch(form, node.value):
            raise ConstructorError(None, None, f"{node.value!r} is no {name}", node.start_mark)
        return value(node.value)


class _EntryReader(_Reader):
    """The value of a key is left as the text that it is wherever that says more: 010, 1e3 or 0x1F may be a name."""

    def entry(self, node: yaml.Node) -> Any:
        """The value of a key, or the text of it."""
        value = super().entry(node)
        if not isinstance(node, yaml.ScalarNode) or value is None or json.dumps(value) == node.value:
            return value
        return node.value


class _Writer(yaml.SafeDumper):
    """Quotes what either version of YAML would read as something other than text."""


# Of the reader's own: none of YAML 1.1. Those of the writer are added to these.
_Reader.yaml_implicit_resolvers = {}
_Reader.yaml_constructors = {None: yaml.SafeLoader.construct_undefined}
for _name, (_form, _first, _) in WORDS.items():
    for _kind in (_Reader, _Writer):
        _kind.add_implicit_resolver(_tag(_name), re.compile(f"^(?:{_form})$"), [*_first, *([""] * (_name == "null"))])
    _Reader.add_constructor(_tag(_name), _Reader.scalar)
_Reader.add_implicit_resolver(_tag("merge"), re.compile(r"^<<$"), ["<"])
_Reader.add_constructor(_tag("str"), _Reader.construct_scalar)
_Reader.add_constructor(_tag("seq"), _Reader.sequence)
_Reader.add_constructor(_tag("map"), _Reader.construct_mapping)


def read_value(text: str) -> Any:
    """Return the number, list or mapping that a text stands for, by the core schema of YAML 1.2.

    Raises:
        yaml.YAMLError: If it is no YAML, or a key stands twice (:class:`RepeatedKey`).

    Example:
        >>> read_value("[010, 1e3, 0x1F, true, on, 1:00, 2026-01-01, 0_1]")
        [10, 1000.0, 31, True, 'on', '1:00', '2026-01-01', '0_1']
    """
    return _read(text, _Reader)


def read_entries(text: str) -> Any:
    """Return the keys and values of a configuration; a value that may be meant as text is left as it is written.

    Raises:
        yaml.YAMLError: As :func:`read_value`.

    Example:
        >>> read_entries("dt: 0.1, out: 010, seed: 1e3, score.hidden: [8, 8]".replace(", ", chr(10), 3))
        {'dt': 0.1, 'out': '010', 'seed': '1e3', 'score.hidden': [8, 8]}
    """
    return _read(text, _EntryReader)


def _read(text: str, reader: type[_Reader]) -> Any:
    try:
        return yaml.load(text, Loader=reader)
    except RecursionError:
        raise yaml.YAMLError("it is nested too deeply") from None


def write_configuration(content: Any) -> str:
    """Return the YAML of keys and values, which :func:`read_value` reads as they were.

    Example:
        >>> print(write_configuration({"dt": 0.1, "name": "1e3"}), end="")
        dt: 0.1
        name: '1e3'
    """
    return yaml.dump(content, Dumper=_Writer, sort_keys=False)
