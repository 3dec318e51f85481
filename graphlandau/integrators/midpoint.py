"""The implicit midpoint rule: energy exact in discrete time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from graphlandau.base.errors import Diverged
from graphlandau.base.validation import require_positive
from graphlandau.integrators.integrator import DriftField, Integrator, Moved

__all__ = ["Midpoint"]


@dataclass(frozen=True)
class Midpoint(Integrator):
    r"""Implicit midpoint in the kernel: exact energy in discrete time.

    .. math::
        v' = v - \Delta t \sum_j w_j A(\bar v_i - \bar v_j)(s_i - s_j), \qquad \bar v = (v + v') / 2

    :math:`A(\bar v_{ij}) \bar v_{ij} = 0` gives :math:`\sum_i w_i |v_i'|^2 = \sum_i w_i |v_i|^2` for any fixed
    scores. Solved by fixed point to rounding, because the energy is only as exact as the solution. The Jacobian has
    :math:`A = T / 2 + S` and :math:`B = -T / 2`. Ours, in none of the papers.

    Args:
        max_iterations: Bound on the fixed-point iterations.
    """

    max_iterations: int = 100

    order = 2
    weights = (1.0,)

    def step(self, v: Float[Tensor, "N d"], drift: DriftField, dt: float) -> Moved:
        r"""Velocities after ``dt``, and :math:`\bar v`.

        Raises:
            ValueError: If ``dt`` is not positive.
            Diverged: If the iteration does not converge; a smaller ``dt`` makes it contract.
        """
        dt = require_positive("dt", dt)
        tolerance = 4 * torch.finfo(v.dtype).eps * float(v.abs().max())
        v_next, change, previous = v + dt * drift(v), float("inf"), float("inf")
        for _ in range(self.max_iterations):
            middle = 0.5 * (v + v_next)
            improved = v + dt * drift(middle)
            change = float((improved - v_next).abs().max())
            v_next = improved
            # At the level of rounding the change stalls instead of shrinking: it is as small as it gets.
            if change <= tolerance or (change < 100 * tolerance and change >= 0.5 * previous):
                return Moved(v_next, (middle,))
            if not change < float("inf"):
                break
            previous = change
        raise Diverged(
            f"the midpoint iteration did not converge in {self.max_iterations} steps at dt = {dt:g} "
            f"(last change {change:.1e}); a smaller dt makes it contract"
        )

    def factors(self, T: Sequence[Tensor], S: Sequence[Tensor], dt: float) -> tuple[Tensor, Tensor]:
        """``T / 2 + S`` and ``-T / 2``."""
        return 0.5 * T[0] + S[0], -0.5 * T[0]

    def slopes(self, T: Sequence[Tensor], S: Sequence[Tensor], dt: float) -> list[Tensor | None]:
        r""":math:`(I + J) / 2` for the Jacobian :math:`J` of the step."""
        after, before = self.factors(T, S, dt)
        eye = torch.eye(after.size(-1), dtype=after.dtype, device=after.device)
        after, before = eye + dt * after, eye + dt * before
        return [0.5 * torch.linalg.solve(before, after + before)]
