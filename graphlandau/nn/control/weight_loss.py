"""An objective on particles as a function of the weights of a linear model, by passes over chunks of particles."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from graphlandau.nn.control.determinant import determinant_excess
from graphlandau.nn.control.objective import ControlObjective
from graphlandau.nn.linear.moments import Moments
from graphlandau.nn.linear.quasi_newton import Point
from graphlandau.nn.linear.solve import cholesky
from graphlandau.nn.linear.tangents import Tangents

__all__ = ["CHUNK", "PenalisedLoss", "WeightLoss"]

# Rows handled at a time: bounds the memory to a few times CHUNK x functions and fits the second-level cache.
CHUNK = 1024

# Multiplications that the curvature of the determinant may cost: beyond, a regular subset of the particles gives it.
# Only the number of passes depends on it.
CURVATURE_BUDGET = 1e9


class WeightLoss:
    r"""The mean of an objective over particles that move by :math:`u = W^\top \Phi(x, v)`, as a function of ``W``.

    Double precision whatever the particles have: sums over millions of them are minimised to eight digits.

    Args:
        functions: Functions :math:`\Phi` and their tangents at some particles, the first so many of them.
        objective: The loss of each particle.
        x: Positions.
        v: Velocities.
    """

    def __init__(
        self,
        functions: Callable[[Tensor, Tensor, int], tuple[Tensor, Tangents]],
        objective: ControlObjective,
        x: Tensor,
        v: Tensor,
    ) -> None:
        self.functions, self.objective, self.x, self.v = functions, objective, x, v
        self.n = x.size(0)

    def chunks(self, count: int, start: int = 0, every: int = 1) -> Iterator[tuple[ControlObjective, Tensor, Tangents]]:
        """Objective, functions and tangents of every so many particles from ``start`` on."""
        for first in range(start, self.n, CHUNK * every):
            rows = slice(first, first + CHUNK * every, every)
            x, v = self.x[rows].double(), self.v[rows].double()
            phi, tangents = self.functions(x, v, count)
            yield self.objective.subset(rows), phi, tangents

    def moments(self, folds: int, old: Tensor) -> Moments:
        r"""Moments per fold of the quadratic loss; particle i belongs to fold i mod ``folds``.

        With the trace instead of the determinant the loss is
        :math:`\tfrac{c}{2} \operatorname{tr} W^\top (G W + 2 b / c)`, where
        :math:`b = \langle \Phi g^\top \rangle - \kappa \langle \nabla\Phi \rangle`: the linear term, the slope at rest.

        Args:
            folds: Number of folds.
            old: Weights of the solve before, at which a further term of the objective is made linear.
        """
        kappa = self.objective.kappa
        grams, linears = [], []
        folds = min(folds, self.n)
        for k in range(folds):
            gram, linear = old.new_zeros(len(old), len(old)), torch.zeros_like(old)
            for objective, phi, tangents in self.chunks(len(old), k, folds):
                gram += phi.T @ phi
                # A further term counts with its slope at the control of the solve before.
                at = phi @ old if objective.extra is not None else torch.zeros_like(objective.g, dtype=old.dtype)
                linear += phi.T @ (objective.slope(at) - objective.c * at) - kappa * tangents.total()
            grams.append(gram)
            linears.append(linear)
        mass = torch.tensor([len(range(k, self.n, folds)) for k in range(folds)]).to(old)
        return Moments(torch.stack(grams) / mass[:, None, None], torch.stack(linears) / mass[:, None, None], mass)

    def at_rest(self) -> float:
        """Mean loss of no motion."""
        extra = self.objective.extra
        if extra is None:
            return 0.0
        parts = torch.arange(self.n, device=self.v.device).split(CHUNK)
        return sum(float(extra.subset(i)(torch.zeros_like(self.v[i]).double()).sum()) for i in parts) / self.n

    def square_at_rest(self) -> float:
        """Mean square of the linear term, over the curvature of the quadratic one."""
        return float(self.objective.g.double().square().sum()) / (self.n * self.objective.c)

    def loss_and_slope(self, weights: Tensor) -> tuple[float, float, Tensor]:
        """Mean loss, mean of its absolute value and slope in the weights; infinite if a determinant is not positive."""
        total, size, slope = 0.0, 0.0, torch.zeros_like(weights)
        for objective, phi, tangents in self.chunks(len(weights)):
            u, jacobian = phi @ weights, tangents.jacobian(weights)
            slope += phi.T @ objective.slope(u)
            if objective.tau is None:
                slope -= objective.kappa * tangents.total()
            elif bool((determinant_excess(jacobian, objective.tau) <= -1).any()):
                return math.inf, math.inf, slope
            else:
                slope -= objective.kappa * tangents.adjoint(_inverse(jacobian, objective.tau))
            loss = objective(u, jacobian)
            total, size = total + float(loss.sum()), size + float(loss.abs().sum())
        return total / self.n, size / self.n, slope / self.n

    def determinant_curvature(self, weights: Tensor) -> Tensor:
        r"""The determinant's second derivatives in the weights, ``(d, m, d, m)``.

        They are :math:`\kappa \tau \langle X_{ck} X_{al} \rangle` in :math:`W_{ka}` and :math:`W_{lc}` with
        :math:`X_{ak} = \sum_b (M^{-1})_{ba} \partial_b \Phi_k`.
        """
        d, count, tau = self.v.size(1), len(weights), self.objective.tau
        assert tau is not None
        total, rows = weights.new_zeros(d * count, d * count), 0
        every = math.ceil(self.n * total.numel() / CURVATURE_BUDGET)
        for objective, phi, tangents in self.chunks(count, every=every):
            inverse = _inverse(tangents.jacobian(weights), tau)
            pushed = torch.cat([tangents.along(inverse[:, :, a]) for a in range(d)], dim=1)
            total.addmm_(pushed.T, pushed, alpha=objective.kappa * tau)
            rows += phi.size(0)
        return (total / rows).view(d, count, d, count).permute(2, 1, 0, 3)


class PenalisedLoss:
    r"""The loss with a ridge, as a problem of :func:`~graphlandau.nn.linear.quasi_newton.minimise`.

    The metric is that of the second derivatives,

    .. math::
        c \langle \Phi \Phi^\top \rangle \otimes I + R
        + \kappa \tau \langle \operatorname{tr} (M^{-1} \delta J \, M^{-1} \delta J) \rangle, \qquad M = I + \tau J .

    Args:
        loss: The loss of the particles.
        penalty: The ridge :math:`R` of each function, :math:`(m, 1)`.
        curvature: :math:`c \langle \Phi \Phi^\top \rangle + R`, :math:`(m, m)`.
    """

    def __init__(self, loss: WeightLoss, penalty: Tensor, curvature: Tensor) -> None:
        self.loss, self.penalty, self.curvature = loss, penalty, curvature
        # The moments were one.
        self.passes = 1

    def best_start(self, starts: list[Tensor]) -> Point:
        """The first of some weights whose loss is at most that of no motion, else no motion.

        Raises:
            ArithmeticError: If the loss is not finite there.
        """
        rest = self.loss.at_rest()
        if not math.isfinite(rest):
            raise ArithmeticError(f"the loss of the control is {rest} at rest: the potential may have overflowed")
        for weights in starts:
            point = self.evaluate(weights)
            if point.loss <= rest:
                return point
        return self.evaluate(torch.zeros_like(starts[-1]))

    def evaluate(self, weights: Tensor) -> Point:
        """Loss and slope."""
        self.passes += 1
        loss, size, slope = self.loss.loss_and_slope(weights)
        penalty = 0.5 * float((self.penalty * weights * weights).sum())
        return Point(weights, loss + penalty, size + penalty, slope + self.penalty * weights)

    def metric(self, at: Point) -> Callable[[Tensor], Tensor]:
        """Inverse of the second derivatives at the point, by a Cholesky factor ``(d m, d m)``."""
        factor = self._factor(at)

        def inverse(slope: Tensor) -> Tensor:
            return torch.cholesky_solve(slope.T.reshape(-1, 1), factor).view(slope.T.shape).T

        return inverse

    def _factor(self, at: Point) -> Tensor:
        d, count = at.weights.size(1), len(at.weights)
        alike = torch.eye(d, dtype=at.weights.dtype, device=at.weights.device)[:, None, :, None]
        curvature = alike * self.curvature[:, None, :]
        if self.loss.objective.tau is not None:
            self.passes += 1
            determinants = self.loss.determinant_curvature(at.weights)
            coupled = (curvature + determinants).reshape(d * count, -1)
            if not int(torch.linalg.cholesky_ex(coupled).info):
                return cholesky(coupled)
            # In more than one dimension the coupling of the components may make it indefinite; its blocks never are.
            curvature = curvature + alike * determinants
        return cholesky(curvature.reshape(d * count, -1))


def _inverse(jacobian: Tensor, tau: float) -> Tensor:
    d = jacobian.size(-1)
    return torch.linalg.inv(torch.eye(d, dtype=jacobian.dtype, device=jacobian.device) + tau * jacobian)
