"""A quasi-Newton minimiser (L-BFGS) in a given metric, where every evaluation is a pass over the particles."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple, Protocol

from torch import Tensor

__all__ = ["Minimum", "Point", "Problem", "minimise"]

# Pairs of a step and its change of slope that are remembered.
MEMORY = 10
# Part of the decrease that the slope promises which a step must bring (Armijo), and how often it is halved for that.
SUFFICIENT_DECREASE = 1e-4
MAX_HALVINGS = 30
# The metric is made anew where a step promises more than this part of what the step before did: a metric of the second
# derivatives contracts faster, so these have changed on the way.
SLOW = 0.3


class Point(NamedTuple):
    """Weights with their loss, the size of the terms that it is a sum of, and its slope.

    A loss that is infinite is out of bounds: steps are halved until they stay within.
    """

    weights: Tensor
    loss: float
    size: float
    slope: Tensor


class Problem(Protocol):
    """A smooth loss of weights of any shape, and a metric in which it is nearly isotropic.

    Attributes:
        passes: Passes over the particles so far, which evaluations and metrics count themselves.
    """

    passes: int

    def evaluate(self, weights: Tensor) -> Point:
        """Loss and slope."""
        ...

    def metric(self, at: Point) -> Callable[[Tensor], Tensor]:
        """The inverse of a positive definite form, such as that of the second derivatives, applied to a slope."""
        ...


class Minimum(NamedTuple):
    """The best point that was reached, and whether it is the minimum to the tolerance asked for."""

    point: Point
    converged: bool


def minimise(
    problem: Problem, start: Point, *, tolerance: float, rounding: float, max_passes: int, renew: bool = True
) -> Minimum:
    r"""Minimise by L-BFGS: steps :math:`-H \nabla L` with the inverse metric, corrected by the last ten pairs.

    A step is halved until the loss has fallen by part of what the slope promises; the loss never grows (but by its
    rounding). With the exact second derivatives as metric the first step is Newton's.

    Args:
        problem: What is minimised.
        start: Where from; its loss is finite.
        tolerance: The end: the decrease :math:`\nabla L \cdot H \nabla L` that the next step promises, which is about
            twice the distance of the loss from its minimum.
        rounding: Of a loss, relative to the size of its terms.
        max_passes: The end at the latest.
        renew: Whether the metric depends on the point, and is made anew where steps become slow.
    """
    at, converged = start, False
    inverse, pairs, last = problem.metric(at), [], math.inf
    while problem.passes < max_passes:
        step = -_inverse_times(inverse, pairs, at.slope)
        decrease = -float((step * at.slope).sum())
        converged = decrease <= tolerance
        if converged:
            break
        if renew and decrease > SLOW * last and pairs:
            inverse, pairs, last = problem.metric(at), [], math.inf
            continue
        new, length = _along(problem, at, step, decrease, rounding)
        if new is None:
            break
        pairs = [*pairs[1 - MEMORY :], (new.weights - at.weights, new.slope - at.slope)]
        # A step that had to be shortened was none of the metric's: it is made anew in any case.
        at, last = new, decrease if length == 1 else 0.0
    return Minimum(at, converged)


def _along(problem: Problem, at: Point, step: Tensor, decrease: float, rounding: float) -> tuple[Point | None, float]:
    """The first point of sufficient decrease on halved steps, if there is one, and the part of the step."""
    for halvings in range(MAX_HALVINGS):
        length = 0.5**halvings
        new = problem.evaluate(at.weights + length * step)
        # A loss that differs by rounding alone has not grown.
        if new.loss <= at.loss - SUFFICIENT_DECREASE * length * decrease + rounding * at.size:
            return new, length
    return None, 0.0


def _inverse_times(inverse: Callable[[Tensor], Tensor], pairs: list[tuple[Tensor, Tensor]], slope: Tensor) -> Tensor:
    r"""The two loops of L-BFGS: :math:`H \nabla L` for the metric's inverse updated by pairs ``(s, y)``.

    Each update is :math:`H \leftarrow (1 - \rho s y^\top) H (1 - \rho y s^\top) + \rho s s^\top` with
    :math:`\rho = 1 / s \cdot y`, which stays positive definite where :math:`s \cdot y > 0`: halving alone does not see
    to that, so pairs along which the slope falls are left out.
    """
    pairs = [(s, y) for s, y in pairs if (s * y).sum() > 0]
    shares = []
    for s, y in reversed(pairs):
        shares.append((s * slope).sum() / (s * y).sum())
        slope = slope - shares[-1] * y
    step = inverse(slope)
    for (s, y), share in zip(pairs, reversed(shares), strict=True):
        step = step + (share - (y * step).sum() / (s * y).sum()) * s
    return step
