"""How models are fitted in the course of a run: groups of options, each declared, checked and documented here."""

from __future__ import annotations

from dataclasses import dataclass

from graphlandau.base.errors import InvalidArgument
from graphlandau.base.validation import (
    keep,
    require_bool,
    require_integer,
    require_one_of,
    require_positive,
    require_repeats,
)
from graphlandau.training.schedules import Schedule

__all__ = ["ControlTraining", "EpochFit", "Fit", "FitOptions"]


@dataclass(frozen=True, kw_only=True)
class FitOptions:
    r"""How a score model is fitted at the start, and kept from learning its particles by heart later on.

    Args:
        learning_rate: Of the optimiser.
        schedule: Factor on the learning rate by the time since the start, see :mod:`graphlandau.training`.
        minibatch: Particles per gradient step, drawn without replacement; ``None`` takes all.
        hold_out: Whether, with fewer than four particles per parameter, a fifth of them is a validation set.
        initial_tolerance: Relative squared error at which the initial fit stops.
        initial_steps: Cap on the gradient steps of the initial fit.

    Raises:
        ValueError: If an option is out of range.
    """

    learning_rate: float = 5e-4
    schedule: Schedule | None = None
    minibatch: int | None = 2048
    hold_out: bool = True
    initial_tolerance: float = 1e-4
    initial_steps: int = 5000

    def __post_init__(self) -> None:
        keep(self, learning_rate=require_positive("learning_rate", self.learning_rate))
        if not (self.schedule is None or isinstance(self.schedule, Schedule)):
            raise InvalidArgument("schedule", "must be a graphlandau.training.Schedule", repr(self.schedule))
        keep(self, minibatch=_minibatch(self.minibatch), hold_out=require_bool("hold_out", self.hold_out))
        keep(self, initial_tolerance=require_positive("initial_tolerance", self.initial_tolerance))
        keep(self, initial_steps=require_repeats("initial_steps", self.initial_steps, minimum=0))


@dataclass(frozen=True, kw_only=True)
class Fit(FitOptions):
    r"""Score matching at every time step: so many gradient steps of Adam, or as many as pay.

    Args:
        training: ``"fixed"``, or ``"adaptive"``: bursts of ``steps`` for as long as each lowers the exact loss.
        steps: Gradient steps per time step; per burst if adaptive.
        max_steps: Cap on the gradient steps per time step if adaptive.

    Raises:
        ValueError: If an option is out of range.

    Example:
        >>> Fit(training="adaptive", max_steps=5)
        Traceback (most recent call last):
        ...
        graphlandau.base.errors.InvalidArgument: 'max_steps' must be at least steps = 10 (got 5)
    """

    training: str = "fixed"
    steps: int = 10
    max_steps: int = 500

    def __post_init__(self) -> None:
        super().__post_init__()
        require_one_of("training", self.training, ("fixed", "adaptive"))
        keep(self, steps=require_repeats("steps", self.steps, minimum=1))
        keep(self, max_steps=require_repeats("max_steps", self.max_steps, minimum=1))
        if self.training == "adaptive" and self.max_steps < self.steps:
            raise InvalidArgument("max_steps", f"must be at least steps = {self.steps}", self.max_steps)


@dataclass(frozen=True, kw_only=True)
class EpochFit(FitOptions):
    r"""Epochs of Adamax over shuffled mini-batches at every time step, all pairs inside each mini-batch.

    Args:
        minibatch: Particles per mini-batch, and per block of the closed form (which for ``gamma = 0`` sums over all
            pairs); unless given 1280, or all if fewer.
        epochs: Passes over the particles per time step.

    Raises:
        ValueError: If an option is out of range.
    """

    learning_rate: float = 1e-4
    minibatch: int | None = None
    epochs: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        keep(self, epochs=require_repeats("epochs", self.epochs, minimum=1))


@dataclass(frozen=True, kw_only=True)
class ControlTraining:
    r"""How a control is fitted: by ``log_det`` in the objective, and by gradient steps if it is not solved for.

    Args:
        log_det: ``"exact"`` or ``"trace"``, in the objective and in the log-density that is carried.
        steps: Gradient steps per time step, for a control that is not solved for.
        initial_steps: Gradient steps at the first time step.
        warm_start: Whether a time step begins with the control of the one before.
        learning_rate: Of Adam.
        minibatch: Particles per gradient step; ``None`` takes all.

    Raises:
        ValueError: If an option is out of range.
    """

    log_det: str = "exact"
    steps: int = 50
    initial_steps: int = 1000
    warm_start: bool = True
    learning_rate: float = 1e-3
    minibatch: int | None = 2048

    def __post_init__(self) -> None:
        require_one_of("log_det", self.log_det, ("exact", "trace"))
        keep(self, steps=require_repeats("steps", self.steps, minimum=1))
        keep(self, initial_steps=require_repeats("initial_steps", self.initial_steps, minimum=1))
        keep(self, warm_start=require_bool("warm_start", self.warm_start))
        keep(self, learning_rate=require_positive("learning_rate", self.learning_rate))
        keep(self, minibatch=_minibatch(self.minibatch))


def _minibatch(size: int | None) -> int | None:
    return None if size is None else require_integer("minibatch", size, minimum=2)
