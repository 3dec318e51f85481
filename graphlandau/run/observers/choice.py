"""Which observers a run has: that depends on the kind of its problem, and on what is known about it."""

from __future__ import annotations

from collections.abc import Sequence

from graphlandau.base.errors import InvalidArgument
from graphlandau.methods import Method
from graphlandau.problems import KineticProblem, Problem
from graphlandau.problems.initial_value import InitialValueProblem
from graphlandau.run.observers.checkpoints import Checkpoints
from graphlandau.run.observers.conservation import Conservation
from graphlandau.run.observers.density_errors import DensityErrors
from graphlandau.run.observers.drift_error import DriftError
from graphlandau.run.observers.entropy_balance import EntropyBalance
from graphlandau.run.observers.entropy_errors import EntropyErrors
from graphlandau.run.observers.invertibility import Invertibility
from graphlandau.run.observers.kinetic_metrics import KineticMetrics
from graphlandau.run.observers.metrics import Metrics
from graphlandau.run.observers.observer import Observer
from graphlandau.run.observers.progress import Progress
from graphlandau.run.observers.snapshots import Snapshots
from graphlandau.run.observers.trajectory_errors import TrajectoryErrors

__all__ = ["metrics_of", "observers_of"]


def observers_of(
    problem: InitialValueProblem,
    method: Method,
    *,
    baselines: bool,
    seed: int,
    every: int,
    progress: bool = False,
    further: Sequence[Observer] = (),
) -> list[Observer]:
    """Return all observers of a run in the order in which they look: what measures it, what keeps it, what shows it.

    Args:
        problem: What is solved.
        method: How.
        baselines: Whether to measure the error that remains with the exact score, and with fresh exact samples.
        seed: Seed of the fresh samples.
        every: Steps between two checkpoints.
        progress: Whether to show a progress bar.
        further: Observers of the user's, which look after the others.

    Raises:
        ValueError: If ``problem`` is of no known kind.
    """
    observers = [*metrics_of(problem, method, baselines, seed, every), Snapshots(), Checkpoints(every), *further]
    return [*observers, Progress()] if progress else observers


def metrics_of(problem: InitialValueProblem, method: Method, baselines: bool, seed: int, every: int) -> list[Observer]:
    """Return what fills the metrics of a run of ``problem``, in the order of the columns.

    Errors of the drift, which are costly, are measured at every checkpoint: ``every`` so many steps.

    Raises:
        ValueError: If ``problem`` is of no known kind.
    """
    if isinstance(problem, KineticProblem):
        return [KineticMetrics(problem), *EntropyErrors.of(problem, method), *Conservation.of(method)]
    if isinstance(problem, Problem):
        errors = DensityErrors.where_known(problem, method, baselines, seed)
        of_density = [*Invertibility.of(method), *EntropyBalance.of(method)] if problem.log_density_known else []
        checks = [*Conservation.of(method), *of_density]
        errors = [*errors, *TrajectoryErrors.where_known(problem), *DriftError.of(method, every)]
        # The errors come after the balance, which is part of them.
        return [Metrics(problem), *errors, *checks, *EntropyErrors.of(problem, method)]
    raise InvalidArgument("problem", "must be a Problem or a KineticProblem", type(problem).__name__)
