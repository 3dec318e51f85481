"""How far the particles of a run are from where the exact drift carries them."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from graphlandau.base.state import start_of
from graphlandau.diagnostics import relative_trajectory_error
from graphlandau.problems import Problem
from graphlandau.run.observers.observer import Observer, Run

__all__ = ["TrajectoryErrors"]


class TrajectoryErrors(Observer):
    r"""Fills ``rel_trajectory_error`` at the snapshots, where a problem knows its exact characteristics.

    The squared relative distance :math:`\sum|\hat v - v|^2 / \sum|v|^2` between each particle and the exact
    characteristic that starts where it did. Particles feel the drift of a sample, not the exact one: even with the
    exact score an error of :math:`O(1/N)` is left. Dimensionless.
    """

    def __init__(self) -> None:
        self.start: dict[str, Tensor] = {}

    @classmethod
    def where_known(cls, problem: Problem) -> list[TrajectoryErrors]:
        """Return one for a problem with exact characteristics, else none."""
        return [] if type(problem).characteristics is Problem.characteristics else [cls()]

    def begin(self, run: Run) -> None:
        """Remember the first particles, unless a checkpoint has brought them back."""
        if not self.start:
            self.start = {"v": start_of(run.state).clone()}

    def after_evaluate(self, run: Run) -> None:
        """Compare at a snapshot."""
        if not run.row_due:
            return
        error = None
        if run.step in run.snapshot_steps:
            exact = run.problem.characteristics(self.start["v"].to(run.state.v).double(), run.t)
            if exact is not None:
                error = float(relative_trajectory_error(run.state.v.double(), exact, run.state.get("weight")))
        run.row["rel_trajectory_error"] = error

    def state_dict(self) -> dict[str, Tensor]:
        """The first particles."""
        return self.start

    def load_state_dict(self, tensors: Mapping[str, Tensor]) -> None:
        """Take them back."""
        self.start = dict(tensors)
