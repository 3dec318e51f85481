"""How a learning rate changes in the course of a run."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

from graphlandau.base.errors import InvalidArgument
from graphlandau.base.validation import as_numbers, require_number, require_positive

__all__ = ["CosineDecay", "ExponentialDecay", "Schedule", "StepDecay"]


class Schedule(ABC):
    """A factor on the learning rate, by the time since the start of the run (dimensionless).

    By time and not by gradient steps: with another ``dt``, or after a resume, the factor at a given time is the same.

    Example:
        >>> class WarmUp(Schedule):
        ...     def __call__(self, elapsed):
        ...         return min(1.0, 0.1 + elapsed)
    """

    @abstractmethod
    def __call__(self, elapsed: float) -> float:
        """Return the factor ``elapsed`` after the start."""


class StepDecay(Schedule):
    """Multiplies by ``factor`` after each of ``times``.

    Args:
        times: Increasing times since the start; at such a time the old value still holds.
        factor: Positive factor of each drop.

    Raises:
        ValueError: If ``times`` do not increase or ``factor`` is not positive.

    Example:
        >>> halved = StepDecay(times=[2.5])
        >>> halved(2.5), halved(2.51)
        (1.0, 0.5)

    Reference: Huang and Wang, arXiv:2409.12296, Sections 5.1 and 5.3 (halved once, at t = 2.5 and t = 80).
    """

    def __init__(self, times: Sequence[float], factor: float = 0.5) -> None:
        times = as_numbers(times)
        if isinstance(times, str) or not isinstance(times, Sequence):
            raise InvalidArgument("times", "must be a list of numbers", repr(times))
        self.times = [require_number("times", t) for t in times]
        if any(later <= earlier for earlier, later in zip(self.times, self.times[1:], strict=False)):
            raise InvalidArgument("times", "must increase", list(times))
        self.factor = require_positive("factor", factor)

    def __call__(self, elapsed: float) -> float:
        """:math:`\\text{factor}^k` after ``k`` of the times."""
        # Times of a run are sums of dt: a step that means to be at one of them may miss it by rounding.
        return self.factor ** sum(elapsed > t + 1e-9 * abs(t) for t in self.times)


class ExponentialDecay(Schedule):
    r"""Halves in every ``half_life``.

    :math:`2^{-t / T}` with the half-life :math:`T`.

    Args:
        half_life: Time in which the learning rate halves.

    Raises:
        ValueError: If ``half_life`` is not positive.

    Example:
        >>> ExponentialDecay(half_life=2.0)(4.0)
        0.25
    """

    def __init__(self, half_life: float) -> None:
        self.half_life = require_positive("half_life", half_life)

    def __call__(self, elapsed: float) -> float:
        """The factor ``elapsed`` after the start."""
        return 2.0 ** (-elapsed / self.half_life)


class CosineDecay(Schedule):
    r"""Falls as half a cosine wave over ``duration`` to ``floor``.

    :math:`f + \tfrac12 (1 - f) (1 + \cos(\pi t / T))` until :math:`T`, then :math:`f`.

    Args:
        duration: :math:`T`.
        floor: :math:`f`, in [0, 1).

    Raises:
        ValueError: If ``duration`` is not positive or ``floor`` outside [0, 1).

    Example:
        >>> decay = CosineDecay(duration=10.0, floor=0.1)
        >>> decay(0.0), round(decay(5.0), 3), decay(20.0)
        (1.0, 0.55, 0.1)
    """

    def __init__(self, duration: float, floor: float = 0.0) -> None:
        self.duration = require_positive("duration", duration)
        self.floor = require_number("floor", floor)
        if not 0 <= self.floor < 1:
            raise InvalidArgument("floor", "must be in [0, 1)", floor)

    def __call__(self, elapsed: float) -> float:
        """The factor ``elapsed`` after the start."""
        if elapsed >= self.duration:
            return self.floor
        return self.floor + 0.5 * (1 - self.floor) * (1 + math.cos(math.pi * max(elapsed, 0.0) / self.duration))
