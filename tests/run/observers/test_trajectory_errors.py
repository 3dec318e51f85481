"""How far particles are from the exact characteristics."""

from __future__ import annotations

import pytest
import torch
from short_runs import StopAt, short_run

from graphlandau.methods import Blob
from graphlandau.problems import BKW, BiMaxwellian
from graphlandau.run.folder import RunFolder
from graphlandau.run.observers import Observer
from graphlandau.run.observers.trajectory_errors import TrajectoryErrors

pytestmark = pytest.mark.usefixtures("small_and_quick")


class Ends(Observer):
    def begin(self, run):
        self.first = run.state.v.clone()


def test_only_where_the_exact_characteristics_are_known():
    assert len(TrajectoryErrors.where_known(BKW(d=2))) == 1
    assert TrajectoryErrors.where_known(BiMaxwellian()) == []


def test_the_error_is_the_squared_distance_from_where_the_exact_drift_leads():
    ends = Ends()
    result = short_run(Blob(), observers=[ends], dtype=torch.float64).run()
    exact = BKW(d=2).characteristics(ends.first, 0.2)
    expected = float((result.state.v - exact).square().sum() / exact.square().sum())
    assert result.metrics[-1]["rel_trajectory_error"] == pytest.approx(expected, rel=1e-12)
    errors = [row["rel_trajectory_error"] for row in result.metrics]
    assert errors[0] < 1e-30
    assert [step for step, error in enumerate(errors) if error is not None] == [0, 5, 10]


def test_a_resumed_run_measures_from_the_first_particles(tmp_path):
    folder = RunFolder.create(tmp_path, "")
    with pytest.raises(KeyboardInterrupt):
        short_run(Blob(), folder=folder, observers=[StopAt(7, "after")]).run()
    again, expected = short_run(Blob(), folder=folder).run(), short_run(Blob()).run()
    assert again.summary["rel_trajectory_error"] == expected.summary["rel_trajectory_error"]
