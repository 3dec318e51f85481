"""What a user's observer sees, and when; what it may add to a run."""

from __future__ import annotations

import pytest
import torch
from short_runs import StopAt, short_run

from graphlandau.base.errors import Diverged
from graphlandau.methods import Blob, LandauTransport, Step
from graphlandau.run.folder import RunFolder
from graphlandau.run.observers import Observer

pytestmark = pytest.mark.usefixtures("small_and_quick")


class Record(Observer):
    """Everything that it is told."""

    def __init__(self):
        self.told = []

    def begin(self, run):
        self.told.append(("begin", run.step))

    def before_evaluate(self, run):
        self.told.append(("before", run.step))

    def after_evaluate(self, run):
        self.told.append(("after", run.step))
        self.seen = (run.t, run.frame.s.shape, run.state.v.shape)

    def end(self, run):
        self.told.append(("end", run.step))

    def summary(self, run):
        return {"told": len(self.told)}

    def close(self):
        self.told.append(("close", None))


class Path(Observer):
    """How far the particles have gone in the mean, kept across a resume."""

    def __init__(self):
        self.length = torch.zeros(())

    def after_evaluate(self, run):
        self.length = self.length + run.dt * run.state.v.norm(dim=1).mean()
        if run.row_due:
            run.row["path"] = float(self.length)

    def state_dict(self):
        return {"length": self.length}

    def load_state_dict(self, tensors):
        self.length = tensors["length"]


def test_observers_are_told_of_every_step_in_order():
    record = Record()
    result = short_run(Blob(), t_end=0.04, observers=[record]).run()
    steps = [(stage, step) for step in range(3) for stage in ("before", "after")]
    assert record.told == [("begin", 0), *steps, ("end", 2), ("close", None)]
    assert record.seen == (0.04, (60, 2), (60, 2))
    assert result.summary["told"] == len(record.told)


def test_observers_are_closed_when_a_run_fails():
    class Breaks(LandauTransport):
        def score(self, state):
            return state.v / 0, None

    record = Record()
    with pytest.raises(Diverged):
        short_run(Breaks(step=Step(log_det="none")), observers=[record]).run()
    assert record.told == [("begin", 0), ("before", 0), ("close", None)]


def test_columns_and_memory_of_a_user_survive_a_resume(tmp_path):
    expected = short_run(Blob(), observers=[Path()]).run().metrics
    folder = RunFolder.create(tmp_path, "")
    with pytest.raises(KeyboardInterrupt):
        short_run(Blob(), folder=folder, observers=[Path(), StopAt(7, "after")]).run()
    rows = short_run(Blob(), folder=folder, observers=[Path()]).run().metrics
    assert [row["path"] for row in rows] == [row["path"] for row in expected]
    assert rows[-1]["path"] > rows[0]["path"] > 0


def test_an_observer_without_methods_changes_nothing():
    assert short_run(Blob(), observers=[Observer()]).run().summary.keys() == short_run(Blob()).run().summary.keys()
