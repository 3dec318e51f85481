"""Explicit Runge-Kutta schemes: a tableau for each, one loop for all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from graphlandau.base.validation import require_positive
from graphlandau.integrators.integrator import DriftField, Integrator, Moved

__all__ = ["RUNGE_KUTTA", "RungeKutta"]


@dataclass(frozen=True)
class RungeKutta(Integrator):
    r"""An explicit Runge-Kutta scheme.

    .. math::
        y_k = v + \Delta t \sum_{l < k} a_{kl} \, U(y_l), \qquad v' = v + \Delta t \sum_k b_k \, U(y_k)

    Keeps momentum. The Jacobian follows the variational equation under the same tableau, hence is that of the discrete
    step: :math:`K_k = T_k (I + \Delta t \sum_l a_{kl} K_l) + S_k` and :math:`A = \sum_k b_k K_k`.

    Args:
        order: Order of convergence.
        a: Rows :math:`a_{kl}`, one a stage; the first is empty.
        weights: :math:`b_k`.

    Example:
        >>> heun = RungeKutta(order=2, a=((), (1.0,)), weights=(0.5, 0.5))
        >>> heun.step(torch.ones(1, 1), lambda v: -v, 0.1).v
        tensor([[0.9050]])
    """

    order: int
    a: tuple[tuple[float, ...], ...]
    weights: tuple[float, ...]

    def step(self, v: Float[Tensor, "N d"], drift: DriftField, dt: float) -> Moved:
        """Velocities after ``dt``, and the stages.

        Raises:
            ValueError: If ``dt`` is not positive.
        """
        dt = require_positive("dt", dt)
        at, rates = [], []
        for _ in self.a:
            at.append(self.stage(v, rates, dt))
            rates.append(drift(at[-1]))
        return Moved(v + dt * self.mean(rates), tuple(at))

    def stage(self, v: Tensor, rates: Sequence[Tensor], dt: float) -> Tensor:
        """Where the stage after those of the ``rates`` is evaluated; ``v`` itself for the first."""
        for part, rate in zip(self.a[len(rates)], rates, strict=True):
            if part:
                v = v + part * dt * rate
        return v

    def tangent(self, slopes: Sequence[Tensor], dt: float) -> Tensor | None:
        r"""How that place moves with the start, from the derivatives :math:`K` of the ``rates``; ``None`` for ``I``."""
        if not slopes:
            return None
        d = slopes[0].size(-1)
        return self.stage(torch.eye(d, dtype=slopes[0].dtype, device=slopes[0].device), slopes, dt)

    def mean(self, rates: Sequence[Tensor]) -> Tensor:
        """Rates of the stages, weighted."""
        total = torch.zeros_like(rates[0])
        for weight, rate in zip(self.weights, rates, strict=True):
            total = total + weight * rate
        return total

    def factors(self, T: Sequence[Tensor], S: Sequence[Tensor], dt: float) -> tuple[Tensor, None]:
        r""":math:`A = \sum_k b_k K_k`, and ``None``."""
        return self.mean(self._derivatives(T, S, dt)[0]), None

    def slopes(self, T: Sequence[Tensor], S: Sequence[Tensor], dt: float) -> list[Tensor | None]:
        r""":math:`I + \Delta t \sum_l a_{kl} K_l`."""
        return self._derivatives(T, S, dt)[1]

    def _derivatives(
        self, T: Sequence[Tensor], S: Sequence[Tensor], dt: float
    ) -> tuple[list[Tensor], list[Tensor | None]]:
        """Derivatives of the rates, and of the places."""
        rates: list[Tensor] = []
        places: list[Tensor | None] = []
        for by_place, by_score in zip(T, S, strict=True):
            places.append(self.tangent(rates, dt))
            rates.append((by_place if places[-1] is None else by_place @ places[-1]) + by_score)
        return rates, places


RUNGE_KUTTA = {
    # The energy <|v|^2> / 2 grows by exactly dt^2 <|U|^2> / 2 (Ilin, Hu and Wang 2025, Section 3; Huang and Wang,
    # arXiv:2409.12296, Eq. (22)).
    "euler": RungeKutta(order=1, a=((),), weights=(1.0,)),
    "rk4": RungeKutta(order=4, a=((), (0.5,), (0.0, 0.5), (0.0, 0.0, 1.0)), weights=(1 / 6, 1 / 3, 1 / 3, 1 / 6)),
}
