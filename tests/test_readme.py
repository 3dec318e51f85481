"""What README and the documentation show does run, each block pasted alone; their links lead somewhere."""

from __future__ import annotations

import re
import shlex
import sys
import types
from pathlib import Path

import pytest
import torch

from graphlandau.cli.arguments import read_arguments, refuse_typos
from graphlandau.cli.config import compose

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
TEXT = {name: page.read_text(encoding="utf-8") for name, page in zip(NAMES, PAGES, strict=True)}


def blocks(language):
    """Every block of a language, with the page and its number there."""
    return [
        pytest.param(block, id=f"{name}-{k}")
        for name, text in TEXT.items()
        for k, block in enumerate(re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL))
    ]


def commands():
    """Every run and sweep that is shown, without classes that only a reader has."""
    lines = [line for block in blocks("sh") for line in block.values[0].splitlines()]
    lines += [line for text in TEXT.values() for line in re.findall(r"`(graphlandau run --[^`]*)`", text)]
    runs = [" ".join(line.partition("#")[0].split()) for line in lines if line.startswith("graphlandau run")]
    of_a_reader = re.compile(r"--resume|my_lab|[A-Z]{2}|runs/\w+/config|\.\.\.")
    return [line for line in dict.fromkeys(runs) if not of_a_reader.search(line)]


@pytest.mark.parametrize("block", blocks("python"))
def test_a_python_block_runs_alone(block, tmp_path, monkeypatch, small_and_quick):
    monkeypatch.chdir(tmp_path)
    module = types.ModuleType("pasted")
    monkeypatch.setitem(sys.modules, "pasted", module)  # PyG looks up the module of a layer
    names = vars(module)
    exec(compile(block, "pasted", "exec"), names)
    plasma = names.get("plasma")
    if plasma is not None:
        v, edge_index = names["v"], names["edge_index"]
        assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in plasma.parameters())
        # Momentum is exact for any network: rounding of a float32 mean over 500 particles.
        assert float((plasma(v, edge_index) - v).mean(0).abs().max()) < 1e-6


@pytest.mark.parametrize("line", commands())
def test_a_command_that_is_shown_can_be_composed(line):
    given = read_arguments(shlex.split(line)[2:])
    given.pop("out", None)
    refuse_typos(given)
    compose(given)


@pytest.mark.parametrize("name", NAMES)
def test_files_that_are_linked_exist(name):
    for target in re.findall(r"\]\(([^)\s]+)\)", TEXT[name]):
        if not target.startswith("http"):
            assert ((ROOT / name).parent / target.partition("#")[0]).exists(), target


def test_scripts_that_are_named_exist():
    """In commands that begin with python, wherever they stand."""
    for name, text in TEXT.items():
        for script in re.findall(r"python ((?:experiments|benchmarks)/[\w/]+\.py)", text):
            assert (ROOT / script).exists(), f"{script} in {name}"


def test_the_readme_can_be_read_in_a_minute():
    assert len(TEXT["README.md"].splitlines()) <= 120


def test_every_page_is_in_the_index():
    index = TEXT["docs/index.md"]
    pages = [name.removeprefix("docs/") for name in NAMES if name.startswith("docs/") and name != "docs/index.md"]
    assert all(page in index for page in pages)
