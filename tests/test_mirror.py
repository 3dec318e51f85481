"""Every source file has its tests where a maintainer would look."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import graphlandau

SOURCES, TESTS = Path(graphlandau.__file__).parent, Path(__file__).parent
# Rooms in which this holds.
ROOMS = ("base", "physics", "graphs", "fields", "reference", "problems", "diagnostics", "run")
# Files without a test of their own name, and where they are tested.
ELSEWHERE = {
    # One benchmark is a few numbers: all are checked against their equations together.
    "problems/bimaxwellian.py": "problems/test_mixture.py",
    "problems/landau_damping.py": "problems/test_kinetic_benchmarks.py",
    "problems/two_stream.py": "problems/test_kinetic_benchmarks.py",
    "problems/vfp_double_well.py": "problems/test_kinetic_benchmarks.py",
    "problems/vfp_gaussian.py": "problems/test_kinetic_benchmarks.py",
    "problems/vfp_periodic.py": "problems/test_kinetic_benchmarks.py",
    "problems/vpfp_beams.py": "problems/test_kinetic_benchmarks.py",
    # The reader of a run is tried on the written runs that the figures share.
    "run/record.py": "plotting/test_record.py",
    # Every density answers the same questions.
    "problems/densities/mixture_density.py": "problems/densities/test_density.py",
    # A density that is not known is what a problem of samples has.
    "problems/densities/unknown.py": "problems/test_samples.py",
}
FILES = sorted(
    str(path.relative_to(SOURCES))
    for room in ROOMS
    for path in (SOURCES / room).rglob("*.py")
    if path.name != "__init__.py"
)


def namesake(source: str) -> Path:
    path = Path(source)
    return TESTS / path.parent / f"test_{path.name}"


@pytest.mark.parametrize("source", FILES)
def test_a_source_file_has_its_test(source: str):
    if source not in ELSEWHERE:
        assert namesake(source).exists(), f"write {namesake(source)}, or say in ELSEWHERE where {source} is tested"


@pytest.mark.parametrize("source", ELSEWHERE)
def test_what_is_tested_elsewhere_is_there(source: str):
    """The test names the file or one of its public names; an entry that is not needed any more is taken out."""
    assert source in FILES
    assert not namesake(source).exists()
    tree = ast.parse((SOURCES / source).read_text(encoding="utf-8"))
    public = {
        node.name for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name[0] != "_"
    }
    text = (TESTS / ELSEWHERE[source]).read_text(encoding="utf-8")
    assert any(name in text for name in public), f"{ELSEWHERE[source]} has none of {sorted(public)}"
