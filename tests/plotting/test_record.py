"""Reading run folders: the whole of it, part of it, none of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import yaml

from graphlandau.plotting import RunRecord
from graphlandau.problems import BKW

RunDir = Callable[[str], Path]


def test_problem_is_rebuilt_with_its_arguments(run_dir: RunDir) -> None:
    folder = run_dir("bkw_2d")
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config["problem"]["init_args"]["strength"] = 0.125
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    problem = RunRecord(folder).problem
    assert isinstance(problem, BKW)
    assert (problem.d, problem.strength) == (2, 0.125)


def test_snapshots_are_spread_over_time(run_dir: RunDir) -> None:
    run = RunRecord(run_dir("bkw_2d"))
    assert [snapshot.t for snapshot in run.snapshots(3)] == pytest.approx([0.0, 2.0, 5.0])
    assert [snapshot.step for snapshot in run.snapshots(20)] == [0, 10, 20, 30, 40, 50]


def test_snapshots_are_what_was_written(run_dir: RunDir) -> None:
    folder = run_dir("anisotropic_3d")
    last = RunRecord(folder).snapshot(-1)
    with h5py.File(folder / "snapshots.h5") as file:
        np.testing.assert_array_equal(last.v.numpy(), file["00000050/v"][()])
        np.testing.assert_array_equal(last.s.numpy(), file["00000050/s"][()])


def test_empty_fields_are_left_out_of_a_series(run_dir: RunDir) -> None:
    run = RunRecord(run_dir("bkw_2d"))
    series = run.series("rel_l2_density")
    assert series is not None
    np.testing.assert_allclose(series[0], np.arange(6.0))
    assert run.series("no_such_column") is None


@pytest.mark.parametrize("name", ["config.yaml", "metrics.csv", "snapshots.h5"])
def test_a_folder_that_is_no_run_is_refused(run_dir: RunDir, name: str) -> None:
    folder = run_dir("bkw_2d")
    (folder / name).unlink()
    with pytest.raises(ValueError, match=rf"'run_dir' must be a run folder \(.* has no {name}\)"):
        RunRecord(folder)


def test_an_unknown_problem_is_refused(run_dir: RunDir) -> None:
    folder = run_dir("bkw_2d")
    (folder / "config.yaml").write_text("problem: {class_path: my_lab.Problem}\n")
    with pytest.raises(ValueError, match=r"'problem' in .*config\.yaml must name a problem"):
        _ = RunRecord(folder).problem


def test_a_run_without_rows_is_refused(run_dir: RunDir) -> None:
    folder = run_dir("bkw_2d")
    (folder / "metrics.csv").write_text("step,t\n0,0.")
    with pytest.raises(ValueError, match="at least one row of metrics"):
        _ = RunRecord(folder).metrics
