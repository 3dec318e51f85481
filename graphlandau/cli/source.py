"""What stands in the source of this package, read without importing it: importing torch takes seconds."""

from __future__ import annotations

import ast
import functools
from pathlib import Path

__all__ = ["classes_of", "first_line", "located", "options_of"]

PACKAGE = Path(__file__).resolve().parents[1]


def located(path: str) -> tuple[str, ast.ClassDef] | None:
    """Return the module in which the class at the import path ``path`` of this package stands, and its definition.

    Example:
        >>> module, found = located("graphlandau.problems.BKW")
        >>> module, found.name
        ('graphlandau.problems.bkw', 'BKW')
    """
    module, _, name = path.rpartition(".")
    tree = _tree(module)
    if tree is None:
        return None
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            return module, node
        if isinstance(node, ast.ImportFrom) and node.module and any(alias.name == name for alias in node.names):
            return located(f"{node.module}.{name}")
    return None


def first_line(path: str) -> str:
    """Return the first line of the docstring of a class of this package, empty if there is none.

    Example:
        >>> first_line("graphlandau.methods.Blob")
        'Blob method: transport along the kernel-density score of :class:`~graphlandau.nn.BlobScore`.'
    """
    found = located(path)
    return (ast.get_docstring(found[1]) or "").partition("\n")[0] if found else ""


def classes_of(module: str) -> list[str]:
    """Return the names of the classes that a module of this package defines.

    Example:
        >>> classes_of("graphlandau.training.schedules")
        ['Schedule', 'StepDecay', 'ExponentialDecay', 'CosineDecay']
    """
    tree = _tree(module)
    return [node.name for node in tree.body if isinstance(node, ast.ClassDef)] if tree else []


@functools.cache
def _tree(module: str) -> ast.Module | None:
    head, *parts = module.split(".")
    if head != PACKAGE.name:
        return None
    for file in (PACKAGE.joinpath(*parts, "__init__.py"), PACKAGE.joinpath(*parts).with_suffix(".py")):
        if file.is_file():
            return ast.parse(file.read_text(encoding="utf-8"))
    return None


def options_of(path: str) -> list[str] | None:
    """Return the options of the constructor of a class of this package, those of a group by their own names.

    Returns:
        ``None`` for a class that is not of this package, or whose constructor cannot be read.

    Example:
        >>> options_of("graphlandau.problems.BKW")
        ['d', 'strength', 't_start', 't_end']
        >>> options_of("my_lab.problems.Beam") is None
        True
    """
    place = located(path)
    if place is None:
        return None
    module, found = place
    if any(isinstance(base, ast.Name | ast.Attribute) and _named(base) == "NamedTuple" for base in found.bases):
        return None
    if any(_named(each) == "dataclass" for each in found.decorator_list):
        return list(dict.fromkeys([*_inherited(module, found), *_fields(found)]))
    constructor = next((x for x in found.body if isinstance(x, ast.FunctionDef) and x.name == "__init__"), None)
    if constructor is None:
        return _inherited(module, found)
    given = constructor.args
    pairs = [
        *_defaults([*given.posonlyargs, *given.args], given.defaults),
        *zip(given.kwonlyargs, given.kw_defaults, strict=True),
    ]
    names = []
    for argument, default in pairs:
        group = options_of(f"{module}.{_named(default.func)}") if isinstance(default, ast.Call) else None
        names += [argument.arg] if group is None else group
    names = [name for name in names if name != "self"]
    return names if given.kwarg is None else [*names, *(x for x in _inherited(module, found) if x not in names)]


def _named(node: ast.expr) -> str:
    """The last name of ``a.b.name``, ``name`` or ``name(...)``."""
    if isinstance(node, ast.Call):
        node = node.func
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _defaults(arguments: list[ast.arg], defaults: list[ast.expr]) -> list[tuple[ast.arg, ast.expr | None]]:
    return list(zip(arguments, [None] * (len(arguments) - len(defaults)) + defaults, strict=True))


def _fields(found: ast.ClassDef) -> list[str]:
    return [
        node.target.id
        for node in found.body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and _subscripted(node) != "ClassVar"
    ]


def _subscripted(node: ast.AnnAssign) -> str:
    return _named(node.annotation.value) if isinstance(node.annotation, ast.Subscript) else ""


def _inherited(module: str, found: ast.ClassDef) -> list[str]:
    """Options of the first base class of this package."""
    for base in found.bases:
        name = _named(base.value if isinstance(base, ast.Subscript) else base)
        options = options_of(f"{module}.{name}") if name else None
        if options is not None:
            return options
    return []
