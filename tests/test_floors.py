"""The floors of the house: imports point downward, nothing goes round, nothing lies loose at the top."""

from __future__ import annotations

import ast
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import graphlandau

# The order of DESIGN.md, the ground first. Of several names on a line none stands above another; a package stands where
# its longest name does, so that ``nn`` is what is not named before.
FLOORS = """
    base
    physics
    graphs
    fields
    reference
    problems
    nn.mesh
    nn.pairs
    nn.conv
    nn.linear
    nn nn.score nn.control nn.flow
    objectives
    integrators
    training
    methods
    diagnostics
    run
    plotting
    data
    cli
    __main__
"""
LOOSE = {"__init__", "__main__"}


class ImportGraph:
    """Which modules of a package import which, read from its sources.

    Every import counts, wherever it stands: at the top, in a function, under ``TYPE_CHECKING``. A name that comes
    through an ``__init__`` is an import of the module that defines it; a package imported as such is an import of all
    that it hands on. What an ``__init__`` takes from its own package is handed on, unless it uses it.

    Args:
        root: Folder of the package.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        files = sorted(root.rglob("*.py"))
        self.trees = {self._name(file): ast.parse(file.read_text(encoding="utf-8")) for file in files}
        self.packages = {self._name(file) for file in files if file.name == "__init__.py"}

    def _name(self, file: Path) -> str:
        parts = (self.root.name, *file.relative_to(self.root).with_suffix("").parts)
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    @cached_property
    def edges(self) -> dict[str, set[str]]:
        """The modules that each one imports."""
        return {module: self._imported_by(module) - {module} for module in self.trees}

    def _imported_by(self, module: str) -> set[str]:
        found: set[str] = set()
        used = {node.id for node in ast.walk(self.trees[module]) if isinstance(node, ast.Name)}
        for bound, source, name in self._bindings(module):
            inside = module in self.packages and f"{source}.".startswith(f"{module}.")
            if not inside or bound in used:
                found |= self._definers(source, name)
        return found

    def _bindings(self, module: str) -> list[tuple[str, str, str | None]]:
        """Every import of ``module`` from the package: the name bound, the module it is from, and its name there."""
        found: list[tuple[str, str, str | None]] = []
        for node in ast.walk(self.trees[module]):
            if isinstance(node, ast.Import):
                found += [(alias.asname or alias.name, alias.name, None) for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                source = self._absolute(module, node)
                found += [(alias.asname or alias.name, source, alias.name) for alias in node.names]
        return [each for each in found if each[1].partition(".")[0] == self.root.name]

    def _absolute(self, module: str, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        parts = module.split(".")
        above = parts[: len(parts) - node.level + (module in self.packages)]
        return ".".join([*above, *([node.module] if node.module else [])])

    def _definers(self, source: str, name: str | None) -> set[str]:
        """The modules that define ``name`` of ``source``; without a name, or with ``*``, all that ``source`` is."""
        if name is not None and f"{source}.{name}" in self.trees:
            source, name = f"{source}.{name}", None
        if source not in self.packages:
            return {source}
        handed_on = [(bound, *origin) for bound, *origin in self._bindings(source) if origin[0] != source]
        if name in (None, "*"):
            return {source}.union(*(self._definers(*origin) for _, *origin in handed_on))
        origins = [origin for bound, *origin in handed_on if bound == name]
        return self._definers(*origins[0]) if origins else {source}

    @property
    def upward(self) -> list[str]:
        """Imports from a floor above, and modules that are on none."""
        heights = {name: height for height, line in enumerate(FLOORS.split("\n")) for name in line.split()}

        def height(module: str) -> int:
            parts = module.split(".")[1:]
            names = (".".join(parts[:n]) for n in range(len(parts), 0, -1))
            return next((heights[name] for name in names if name in heights), 0)

        unknown = [module for module in self.trees if module != self.root.name and not height(module)]
        wrong = [(a, b) for a, others in self.edges.items() for b in sorted(others) if height(a) < height(b)]
        return [f"{module} is on no floor" for module in unknown] + [f"{a} imports {b}" for a, b in wrong]

    @property
    def cycle(self) -> list[str]:
        """Modules that import each other round and round; empty if there are none."""
        try:
            TopologicalSorter(self.edges).prepare()
        except CycleError as error:
            return error.args[1]
        return []

    @property
    def loose(self) -> set[str]:
        """Modules at the top of the package that have no room."""
        return {file.stem for file in self.root.glob("*.py")} - LOOSE


@pytest.fixture(scope="module")
def house() -> ImportGraph:
    return ImportGraph(Path(graphlandau.__file__).parent)


def test_nothing_imports_from_a_floor_above(house: ImportGraph):
    assert house.upward == []


def test_no_module_is_imported_by_what_it_imports(house: ImportGraph):
    assert house.cycle == []


def test_nothing_lies_loose_at_the_top(house: ImportGraph):
    assert house.loose == set()


def test_the_graph_sees_what_the_package_imports(house: ImportGraph):
    """A graph without edges would pass every rule."""
    assert "graphlandau.run.simulation" in house.edges["graphlandau.cli.config"]
    # Through the package's __init__, and inside a function.
    assert "graphlandau.run.observers.observer" in house.edges["graphlandau.run.simulation"]
    assert "graphlandau.cli.sweep" in house.edges["graphlandau.cli.main"]


# A sound house, and what is written into one of its files to break a rule.
SOUND = {
    "__init__.py": "__version__ = '1'",
    "base/__init__.py": "",
    "base/errors.py": "import house\nimport math",
    "methods/__init__.py": "from house.methods.blob import Blob\nfrom .method import Method",
    "methods/method.py": "from house.base import errors",
    "methods/blob.py": "from house.methods.method import Method\nfrom ..base.errors import InvalidArgument",
    "run/__init__.py": "",
    "run/simulation.py": "from house.methods import Blob",
}
UPWARD = {
    "at the top": ("base/errors.py", "from house.run.simulation import Simulation"),
    "in a function": ("base/errors.py", "def f():\n    import house.run.simulation"),
    "for a type": ("base/errors.py", "if TYPE_CHECKING:\n    from house.run import simulation"),
    "relative": ("base/errors.py", "from ..run.simulation import Simulation"),
    "through a package": ("base/errors.py", "from house.methods import Blob"),
    "of a package": ("base/errors.py", "from house import methods"),
    "of everything": ("base/errors.py", "from house.methods import *"),
    "in an __init__": ("base/__init__.py", "from house.run.simulation import Simulation"),
}
ROUND = {
    "two modules": {"methods/method.py": "from house.methods.blob import Blob"},
    "through the package": {"methods/method.py": "from house.methods import Blob"},
    "for a type": {"methods/method.py": "if TYPE_CHECKING:\n    from house.methods.blob import Blob"},
    "an __init__ that computes": {
        "methods/__init__.py": "from house.methods.blob import Blob\nDEFAULT = Blob()",
        "methods/blob.py": "from house.methods import DEFAULT",
    },
}


def built(root: Path, **changed: str) -> ImportGraph:
    for name, text in (SOUND | changed).items():
        (root / "house" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "house" / name).write_text(text)
    return ImportGraph(root / "house")


def test_a_sound_house_passes(tmp_path: Path):
    graph = built(tmp_path)
    assert (graph.upward, graph.cycle, graph.loose) == ([], [], set())
    assert graph.edges["house.run.simulation"] == {"house.methods.blob"}
    assert graph.edges["house.methods.blob"] == {"house.methods.method", "house.base.errors"}


@pytest.mark.parametrize("how", UPWARD)
def test_an_import_upward_is_found(tmp_path: Path, how: str):
    file, text = UPWARD[how]
    graph = built(tmp_path, **{file: text})
    importer = "house." + file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    assert [line for line in graph.upward if line.startswith(f"{importer} imports house.")] == graph.upward != []


@pytest.mark.parametrize("how", ROUND)
def test_a_circle_is_found(tmp_path: Path, how: str):
    assert {"house.methods.blob"} < set(built(tmp_path, **ROUND[how]).cycle)


def test_a_loose_module_is_found_and_is_on_no_floor(tmp_path: Path):
    graph = built(tmp_path, **{"helpers.py": ""})
    assert graph.loose == {"helpers"}
    assert graph.upward == ["house.helpers is on no floor"]
