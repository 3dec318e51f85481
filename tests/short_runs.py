"""What the tests of runs share: a short run of BKW, one that is interrupted, and what it leaves."""

from __future__ import annotations

from typing import Any

from graphlandau.methods import Method
from graphlandau.problems import BKW
from graphlandau.run.observers import Observer, Run
from graphlandau.run.simulation import Simulation


def short_run(method: Method, **options: Any) -> Simulation:
    """Ten steps of 60 particles, with snapshots at the steps 0, 5 and 10."""
    defaults = {"particles": 60, "dt": 0.02, "t_end": 0.2, "snapshots": 3, "checkpoint_every": 3}
    return Simulation(BKW(d=2), method, **defaults | options)


class StopAt(Observer):
    """Ends the process, as far as the run can tell, at one step and stage."""

    def __init__(self, step: int, stage: str) -> None:
        self.step, self.stage = step, stage

    def before_evaluate(self, run: Run) -> None:
        if (run.step, "before") == (self.step, self.stage):
            raise KeyboardInterrupt

    def after_evaluate(self, run: Run) -> None:
        if (run.step, "after") == (self.step, self.stage):
            raise KeyboardInterrupt


def numbers(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of the metrics without the clock."""
    return [{key: x for key, x in row.items() if key != "wall_seconds"} for row in rows]
