r"""One step of particles along the Landau drift, with the score frozen at the start of the step."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from graphlandau.base.validation import require_positive

__all__ = ["INTEGRATORS", "Step", "euler", "midpoint"]

DriftField = Callable[[Tensor], Tensor]


class Step(NamedTuple):
    """Velocities after a step, and where the drift that took them there was evaluated."""

    v: Tensor
    at: Tensor


def euler(v: Float[Tensor, "N d"], drift: DriftField, dt: float) -> Step:
    r"""Explicit step :math:`v' = v + \Delta t \, U(v)`.

    First order. Keeps momentum; the energy :math:`\frac12 \langle |v|^2 \rangle` grows by exactly
    :math:`\frac12 \Delta t^2 \langle |U|^2 \rangle`.

    Raises:
        ValueError: If ``dt`` is not positive.

    Reference: Ilin, Hu and Wang 2025, Section 3; Huang and Wang, arXiv:2409.12296, Eq. (22).
    """
    require_positive("dt", dt)
    return Step(v + dt * drift(v), v)


def midpoint(v: Float[Tensor, "N d"], drift: DriftField, dt: float, *, max_iterations: int = 100) -> Step:
    r"""Implicit midpoint in the kernel: exact energy in discrete time.

    .. math::
        v' = v - \Delta t \sum_j w_j A(\bar v_i - \bar v_j)(s_i - s_j), \qquad \bar v = (v + v') / 2

    :math:`A(\bar v_{ij}) \bar v_{ij} = 0` gives :math:`\sum_i w_i |v_i'|^2 = \sum_i w_i |v_i|^2` for any fixed
    scores. Solved by fixed point to rounding, because the energy is only as exact as the solution. First
    order, since ``s`` belongs to the start of the step. Ours, in none of the papers.

    Args:
        v: Velocities.
        drift: :math:`\bar v \mapsto U(\bar v)` with the scores held fixed.
        dt: Time step.
        max_iterations: Bound on the fixed-point iterations.

    Raises:
        ValueError: If ``dt`` is not positive.
        ArithmeticError: If the iteration does not converge; a smaller ``dt`` makes it contract.
    """
    require_positive("dt", dt)
    tolerance = 4 * torch.finfo(v.dtype).eps * float(v.abs().max())
    v_next, change, previous = v + dt * drift(v), float("inf"), float("inf")
    for _ in range(max_iterations):
        middle = 0.5 * (v + v_next)
        improved = v + dt * drift(middle)
        change = float((improved - v_next).abs().max())
        v_next = improved
        # At the level of rounding the change stalls instead of shrinking: it is as small as it gets.
        if change <= tolerance or (change < 100 * tolerance and change >= 0.5 * previous):
            return Step(v_next, middle)
        if not change < float("inf"):
            break
        previous = change
    raise ArithmeticError(
        f"the midpoint iteration did not converge in {max_iterations} steps at dt = {dt:g} "
        f"(last change {change:.1e}); a smaller dt makes it contract"
    )


INTEGRATORS: dict[str, Callable[[Tensor, DriftField, float], Step]] = {"euler": euler, "midpoint": midpoint}
