"""Which callbacks measure a run: that depends on the kind of its problem, and on what is known about it."""

from __future__ import annotations

from graphlandau.base.errors import InvalidArgument
from graphlandau.methods import Method
from graphlandau.problems import KineticProblem, Problem
from graphlandau.problems.initial_value import InitialValueProblem
from graphlandau.run.observers.callbacks import Callback
from graphlandau.run.observers.density_errors import DensityErrors
from graphlandau.run.observers.drift_error import DriftError
from graphlandau.run.observers.kinetic_metrics import KineticMetrics
from graphlandau.run.observers.metrics import Metrics
from graphlandau.run.observers.trajectory_errors import TrajectoryErrors

__all__ = ["observers"]


def observers(problem: InitialValueProblem, method: Method, floors: bool, seed: int, every: int) -> list[Callback]:
    """Return what fills the metrics of a run of ``problem``, in the order of the columns.

    Errors of the drift, which are costly, are measured at every checkpoint: ``every`` so many steps.

    Raises:
        ValueError: If ``problem`` is of no known kind.
    """
    if isinstance(problem, KineticProblem):
        return [KineticMetrics(problem)]
    if isinstance(problem, Problem):
        errors = DensityErrors.where_known(problem, method, floors, seed)
        return [Metrics(problem), *errors, *TrajectoryErrors.where_known(problem), *DriftError.of(method, every)]
    raise InvalidArgument("problem", "must be a Problem or a KineticProblem", type(problem).__name__)
