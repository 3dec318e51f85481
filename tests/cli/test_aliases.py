"""Old names: read with one notice, refused beside the new one."""

from __future__ import annotations

import logging

import pytest

from graphlandau.cli import aliases
from graphlandau.cli.arguments import read_arguments
from graphlandau.cli.config import compose

RUN = "--problem bkw_2d --method sbtm --score mlp"


@pytest.fixture(autouse=True)
def _nothing_noticed_yet(monkeypatch):
    monkeypatch.setattr(aliases, "_noticed", set())


def test_an_old_key_is_the_new_one_with_one_notice(caplog):
    with caplog.at_level(logging.WARNING):
        old, new = (compose(read_arguments(f"{RUN} --{key} false".split())) for key in ("floors", "baselines"))
    assert old.options == new.options
    assert [record.getMessage() for record in caplog.records] == [
        "note: --floors is now --baselines; the old name goes with the next version"
    ]


def test_an_old_key_in_a_file(tmp_path):
    """A run folder of before has it in its configuration."""
    (tmp_path / "config.yaml").write_text("problem: bkw_2d\nmethod: blob\nfloors: false\n")
    assert compose({"config": [str(tmp_path / "config.yaml")]}).options.baselines is False


def test_both_names_are_refused():
    with pytest.raises(ValueError, match=r"'floors' is the old name of 'baselines' \(got both\)"):
        compose(read_arguments(f"{RUN} --floors true --baselines false".split()))


@pytest.mark.parametrize(
    ("line", "group", "path"),
    [
        (
            "--problem graphlandau.problems.kinetic.VFPGaussian --method vlasov --problem.epsilon 0",
            "problem",
            "VFPGaussian",
        ),
        ("--problem landau_damping --method graphlandau.methods.kinetic.vlasov.Vlasov", "method", "Vlasov"),
    ],
)
def test_an_old_import_path_is_the_new_one(line, group, path, caplog):
    with caplog.at_level(logging.WARNING):
        config = compose(read_arguments(line.split()))
    assert config.choices[group].class_path == f"graphlandau.{group}s.{path}"
    assert "is now graphlandau" in caplog.text


def test_a_schedule_of_before():
    """Inside a method, on the command line and as a configuration holds it."""
    path = "graphlandau.schedules.ExponentialDecay"
    line = f"{RUN} --method.schedule {path} --method.schedule.half_life 2"
    typed = compose(read_arguments(line.split()))
    assert typed.choices["method"].init_args["schedule"]["class_path"].startswith("graphlandau.training.")
    assert typed.instances["method"]["schedule"](2.0) == 0.5
