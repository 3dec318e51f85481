"""The experiment scripts: every run they would start can be built, and a script runs through in its smoke mode."""

from __future__ import annotations

import csv
import importlib
import sys
from pathlib import Path

import pytest

from graphlandau.sweep import sweep_commands

ROOT = Path(__file__).parents[1]
FIGURES = ["figure_5_2", "figure_5_3", "figure_5_4", "figure_5_5"]


@pytest.fixture
def script(monkeypatch):
    """Import a script as it would run, from its own folder."""

    def load(folder, name):
        monkeypatch.syspath_prepend(str(ROOT / folder))
        return importlib.import_module(name)

    yield load
    for name in ["study", "problems", *FIGURES, "figure_5_1", "figure_5_6"]:
        sys.modules.pop(name, None)


@pytest.mark.parametrize("figure", FIGURES)
def test_all_runs_of_a_figure_can_be_built(figure, script, tmp_path):
    study, module = script("experiments/sbtm_landau", "study"), script("experiments/sbtm_landau", figure)
    runs = study.scan(figure, study.CASES, module.SIZES)
    commands = sweep_commands(runs, tmp_path)
    assert len(commands) == len(study.CASES) * len(module.SIZES)
    assert not list(tmp_path.iterdir())


def test_the_paper_sizes_of_all_problems_can_be_built(script, tmp_path):
    module = script("experiments", "problems")
    for sizes in (module.PAPER, module.SIZES):
        runs = {name: f"--problem {name} {size} {module.BASE}".split() for name, size in sizes.items()}
        assert len(sweep_commands(runs, tmp_path)) == 10


@pytest.mark.slow
@pytest.mark.parametrize("figure", ["figure_5_1", "figure_5_3", "figure_5_6"])
def test_smoke(figure, script, tmp_path, monkeypatch):
    """A table with a row for each run, and a picture."""
    module = script("experiments/sbtm_landau", figure)
    monkeypatch.setattr(sys, "argv", [figure, "--smoke", "--runs", str(tmp_path / "runs"), "--out", str(tmp_path)])
    module.main()
    with (tmp_path / f"{figure}.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == {"figure_5_1": 4, "figure_5_3": 10, "figure_5_6": 20}[figure]
    assert (tmp_path / f"{figure}.png").stat().st_size > 10_000
