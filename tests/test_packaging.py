"""What is shipped agrees with itself: version, pins, presets, the wheel, the set-up script."""

from __future__ import annotations

import importlib
import re
import shutil
import subprocess
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import graphlandau

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PRESETS = sorted(p for p in (ROOT / "configs").glob("*/*.yaml") if p.parent.name != "experiment")


def _pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in pins}


def test_version_is_the_newest_of_the_changelog() -> None:
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    assert newest is not None
    assert newest[1] == PROJECT["version"] == graphlandau.__version__


def test_every_requirement_is_pinned_within_its_range() -> None:
    pins, extras = _pins(), PROJECT["optional-dependencies"]
    wanted = PROJECT["dependencies"] + extras["keops"] + extras["test"] + extras["dev"]
    for requirement in map(Requirement, wanted):
        assert pins[canonicalize_name(requirement.name)] in requirement.specifier, requirement


def test_torch_is_pinned_without_a_build() -> None:
    # "+cpu" would shut out every CUDA build; a range would let pip take a newer one.
    assert re.fullmatch(r"\d+\.\d+\.\d+", _pins()["torch"])


@pytest.mark.parametrize("preset", PRESETS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_presets_name_importable_classes(preset: Path) -> None:
    module, _, name = yaml.safe_load(preset.read_text())["class_path"].rpartition(".")
    assert isinstance(getattr(importlib.import_module(module), name), type)


def test_wheel_holds_the_package_and_its_configs(tmp_path: Path) -> None:
    wheel = pytest.importorskip("hatchling.builders.wheel")
    (built,) = wheel.WheelBuilder(str(ROOT)).build(directory=str(tmp_path))
    names = set(zipfile.ZipFile(built).namelist())
    for file in (ROOT / "configs").rglob("*.yaml"):
        assert f"graphlandau/{file.relative_to(ROOT).as_posix()}" in names
    for file in (ROOT / "graphlandau").rglob("*.py"):
        assert file.relative_to(ROOT).as_posix() in names
    assert "graphlandau/py.typed" in names
    assert not any(name.startswith("tests/") for name in names)


def _setup(folder: Path, *arguments: str, python: str = "") -> subprocess.CompletedProcess[str]:
    """Run a copy of setup.sh in ``folder`` with an interpreter that is the shell script ``python``."""
    shutil.copy(ROOT / "setup.sh", folder)
    shutil.copy(ROOT / "constraints.txt", folder)
    interpreter = folder / "python"
    interpreter.write_text(f"#!/bin/sh\n{python}\n")
    interpreter.chmod(0o755)
    return subprocess.run(
        ["sh", str(folder / "setup.sh"), *arguments],
        env={"PATH": "/usr/bin:/bin", "PYTHON": str(interpreter)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("arguments", [(), ("install",), ("demo", "extra")])
def test_setup_explains_itself(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    done = _setup(tmp_path, *arguments)
    assert done.returncode == 2
    assert "usage: sh setup.sh demo" in done.stderr


def test_setup_refuses_an_old_python(tmp_path: Path) -> None:
    old = 'case "$2" in *print*) echo 3.9 ;; *"(3, 11)"*) exit 1 ;; esac'
    done = _setup(tmp_path, "demo", python=old)
    assert done.returncode == 1
    assert re.search(r"Python 3\.11 or newer is needed \('.*python' is 3\.9\)", done.stderr)


def test_setup_names_a_missing_venv_module(tmp_path: Path) -> None:
    bare = 'case "$2" in *print*) echo 3.11 ;; *ensurepip*) exit 1 ;; esac'
    done = _setup(tmp_path, "test", python=bare)
    assert done.returncode == 1
    assert "apt-get install python3-venv (or python3.11-venv)" in done.stderr
    assert not (tmp_path / ".venv").exists()
