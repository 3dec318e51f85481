"""What can be chosen by name: presets ``configs/<group>/<name>.yaml``, or any class by its import path."""

from __future__ import annotations

import copy
import difflib
import functools
import importlib
import inspect
import sys
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from graphlandau.base.configuration import read_value
from graphlandau.base.errors import InvalidArgument
from graphlandau.cli.aliases import current_path
from graphlandau.cli.option_groups import closed
from graphlandau.cli.source import first_line, options_of

__all__ = [
    "FILLED_IN",
    "GROUPS",
    "Choice",
    "choices_of",
    "choose",
    "construct",
    "describe_preset",
    "experiment_names",
    "experiment_path",
    "first_comment",
    "import_class",
    "imported",
    "known_options",
    "load_preset",
    "preset_folder",
    "preset_label",
    "preset_names",
    "require_known",
    "suggest",
]

# Groups of choices, each with the class that every choice of the group derives from. By their paths: torch takes
# seconds to import, and a list of names needs none of it.
GROUPS = {
    "problem": "graphlandau.problems.InitialValueProblem",
    "method": "graphlandau.methods.Method",
    "score": "torch.nn.Module",
    "flow": "torch.nn.Module",
    "control": "torch.nn.Module",
    "graph": "torch_geometric.transforms.BaseTransform",
}
# Names that need a file of the user's beside them, and so are no presets.
INPUTS = {
    "problem": {
        "samples": "graphlandau.problems.Samples",
        "phase_samples": "graphlandau.problems.PhaseSamples",
    }
}
# Constructor arguments that the run itself fills in; they are no keys.
FILLED_IN: dict[str, set[str | int]] = {
    "problem": {"state"},
    "method": {"score", "flow", "control", "graph", "seed"},
    "score": {"d", "seed"},
    "flow": {"d", "seed"},
    "control": {"embedding", "d_x", "d", "seed"},
    "graph": {"generator"},
}


@dataclass
class Choice:
    """A chosen class and the arguments set for it so far; ``label`` is the name it was chosen by."""

    label: str
    class_path: str
    init_args: dict[str, Any] = field(default_factory=dict)


def preset_folder() -> Path:
    """Return the folder of the presets: inside the installed package, or beside it in a checkout.

    Raises:
        FileNotFoundError: If neither exists (a broken installation).
    """
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "configs", package.parent / "configs"):
        if folder.is_dir():
            return folder
    raise FileNotFoundError(f"no configs folder in or beside {package}: reinstall graphlandau")


def preset_names(group: str) -> list[str]:
    """Return the sorted names of the presets of a group.

    Example:
        >>> "bkw_2d" in preset_names("problem")
        True
    """
    return sorted(path.stem for path in (preset_folder() / group).glob("*.yaml"))


def choices_of(group: str) -> list[str]:
    """Return the sorted names that can be chosen: the presets, and those that want a file.

    Example:
        >>> "samples" in choices_of("problem")
        True
    """
    return sorted([*preset_names(group), *INPUTS.get(group, {})])


def load_preset(group: str, name: str) -> Choice:
    """Read one preset."""
    content = _content(preset_folder() / group / f"{name}.yaml")
    return Choice(name, content["class_path"], copy.deepcopy(content.get("init_args") or {}))


@functools.cache
def _content(path: Path) -> dict[str, Any]:
    return read_value(path.read_text(encoding="utf-8"))


def describe_preset(group: str, name: str) -> str:
    """Return one line about a name: the comment that a preset begins with, else the first line of the docstring."""
    if name in INPUTS.get(group, {}):
        return first_line(INPUTS[group][name])
    comment = first_comment(preset_folder() / group / f"{name}.yaml")
    return comment or first_line(load_preset(group, name).class_path)


def first_comment(path: Path) -> str:
    """Return the comment in the first line of a file, empty if there is none."""
    first = path.read_text(encoding="utf-8").partition("\n")[0]
    return first.lstrip("# ") if first.startswith("#") else ""


def preset_label(group: str, choice: Choice) -> str:
    """Return the name for tables: the preset of that class with the most equal arguments, else the class."""
    inputs = {path: name for name, path in INPUTS.get(group, {}).items()}
    if choice.class_path in inputs:
        return inputs[choice.class_path]
    presets = [load_preset(group, name) for name in preset_names(group)]
    same = [preset for preset in presets if preset.class_path == choice.class_path]
    if not same:
        return choice.class_path.rpartition(".")[2]
    return max(same, key=lambda preset: len(preset.init_args.items() & choice.init_args.items())).label


def experiment_names() -> list[str]:
    """Return the names of the complete runs that are shipped, such as ``sbtm/bkw_2d``."""
    folder = preset_folder() / "experiment"
    return sorted(str(path.relative_to(folder).with_suffix("")) for path in folder.rglob("*.yaml"))


def experiment_path(name: str) -> Path:
    """Return the file of a shipped run."""
    return preset_folder() / "experiment" / f"{name}.yaml"


def suggest(name: str, known: Iterable[str], prefix: str = "") -> str:
    """Return ``did you mean ...? known: ...``, for the end of a refusal.

    Example:
        >>> suggest("bkw2d", ["bkw_2d", "bkw_3d"])
        "did you mean 'bkw_2d'? known: bkw_2d, bkw_3d"
    """
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1)
    meant = f"did you mean '{prefix}{close[0]}'? " if close else ""
    return f"{meant}known: {', '.join(prefix + each for each in known) or 'none'}"


def choose(group: str, name: str) -> Choice:
    """Return the preset ``name``, or the class at the import path ``name`` without arguments.

    Raises:
        ValueError: If it is neither, naming what is known.
    """
    if name in preset_names(group):
        return load_preset(group, name)
    path = INPUTS.get(group, {}).get(name) or current_path(name)
    import_class(group, path)
    return Choice(name, path)


def require_known(group: str, name: str) -> None:
    """Refuse a ``name`` that is neither a preset nor an import path, without importing anything.

    Raises:
        InvalidArgument: Naming what is known.
    """
    if name not in choices_of(group) and "." not in name:
        hint = "or the import path of a class, such as my_lab.nets.MyNet"
        raise InvalidArgument(group, f"must be a known name {hint}", f"{name!r}; {suggest(name, choices_of(group))}")


def known_options(group: str, name: str) -> list[str] | None:
    """Return the options of a preset, or of a class of this package; ``None`` where only importing it would tell."""
    path = INPUTS.get(group, {}).get(name, name)
    options = options_of(load_preset(group, name).class_path if name in preset_names(group) else path)
    return None if options is None else [option for option in options if option not in FILLED_IN[group]]


_imported: dict[str, tuple[ModuleType, Any]] = {}


def imported(path: str) -> Any:
    """Return what stands at an import path; a module is imported once.

    Raises:
        Exception: Whatever the module does when it is imported.
    """
    module_name, _, name = path.rpartition(".")
    module, found = _imported.get(path, (None, None))
    if module is None or sys.modules.get(module_name) is not module:
        module = importlib.import_module(module_name)
        found = getattr(module, name)
        _imported[path] = module, found
    return found


def construct(key: str, label: str, found: type, arguments: Mapping[str, Any], keys: Collection[str]) -> Any:
    """Build an object of the class ``found``; a refused argument that is one of ``keys`` is refused under its key.

    Raises:
        ValueError: Whatever the constructor raises, in one line.
    """
    try:
        return found(**closed(found, arguments))
    except Exception as error:  # a user's own constructor may raise anything
        if isinstance(error, InvalidArgument) and error.argument in keys:
            raise error.renamed(f"{key}.{error.argument}") from error
        reason = " ".join(str(error).split())
        kind = "" if isinstance(error, ValueError | ImportError) else f"{type(error).__name__}: "
        raise ValueError(f"'{key}' {label} cannot be built: {kind}{reason}") from error


def import_class(group: str, path: str) -> type:
    """Import the class at ``path``.

    Raises:
        ValueError: If the import fails, or what is there is no class of the ``group``.
    """
    if "." not in path:
        require_known(group, path)
    base = imported(GROUPS[group])
    try:
        found = imported(path)
    except Exception as error:  # whatever a user's module does when it is imported
        raise InvalidArgument(
            group,
            f"must be a known name ({', '.join(preset_names(group))}) or an importable class",
            f"{path!r}: {type(error).__name__}: {error}",
        ) from error
    if not (inspect.isclass(found) and issubclass(found, base)) or inspect.isabstract(found):
        raise InvalidArgument(group, f"must name a subclass of {GROUPS[group]}", f"{path!r}, which is {found!r:.80}")
    return found
