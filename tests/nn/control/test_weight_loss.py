"""The loss as a function of the weights: moments, slope and second derivatives against automatic differentiation."""

from __future__ import annotations

import math

import pytest
import torch

from graphlandau.nn.control import weight_loss
from graphlandau.nn.control.objective import ControlObjective
from graphlandau.nn.control.weight_loss import PenalisedLoss, WeightLoss
from graphlandau.nn.linear import Tangents

N, M, D = 40, 3, 2


def functions(x: torch.Tensor, v: torch.Tensor, count: int) -> tuple[torch.Tensor, Tangents]:
    """Products of both velocities and the position, with derivatives in the velocity."""
    values = torch.stack([v[:, 0], v[:, 0] * v[:, 1], torch.sin(v[:, 1]) * x[:, 0]], dim=1)
    zero, one = torch.zeros_like(v[:, 0]), torch.ones_like(v[:, 0])
    by_first = torch.stack([one, v[:, 1], zero], dim=1)
    by_second = torch.stack([zero, v[:, 0], torch.cos(v[:, 1]) * x[:, 0]], dim=1)
    return values[:, :count], Tangents.dense(torch.stack([by_first, by_second])[:, :, :count])


def loss_of(tau: float | None) -> tuple[WeightLoss, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    x, v = torch.randn(N, 1, generator=generator).double(), torch.randn(N, D, generator=generator).double()
    objective = ControlObjective(1.3, 0.4 * v, 0.7, tau=tau)
    return WeightLoss(functions, objective, x, v), 0.1 * torch.randn(M, D, generator=generator).double()


def mean_loss(loss: WeightLoss, weights: torch.Tensor) -> torch.Tensor:
    phi, tangents = functions(loss.x, loss.v, M)
    return loss.objective(phi @ weights, tangents.jacobian(weights)).mean()


@pytest.mark.parametrize("tau", [None, 0.3])
def test_loss_and_slope_are_those_of_the_objective(tau, monkeypatch):
    monkeypatch.setattr(weight_loss, "CHUNK", 7)
    loss, weights = loss_of(tau)
    value, size, slope = loss.loss_and_slope(weights)
    assert value == pytest.approx(float(mean_loss(loss, weights)), rel=1e-12)
    assert size >= abs(value)
    expected = torch.func.grad(lambda w: mean_loss(loss, w))(weights)
    torch.testing.assert_close(slope, expected)


def test_the_moments_are_the_quadratic_loss():
    loss, weights = loss_of(None)
    moments = loss.moments(4, torch.zeros(M, D, dtype=torch.float64)).mean()
    value = (weights * (0.5 * 1.3 * moments.gram @ weights + moments.linear)).sum()
    torch.testing.assert_close(value, mean_loss(loss, weights))


def test_the_curvature_is_the_second_derivative():
    loss, weights = loss_of(0.3)
    hessian = torch.func.hessian(lambda w: mean_loss(loss, w))(weights)  # (m, d, m, d)
    gram = loss.moments(1, torch.zeros(M, D, dtype=torch.float64)).mean().gram
    action = 1.3 * torch.einsum("kl,ab->kalb", gram, torch.eye(D, dtype=torch.float64))
    determinant = loss.determinant_curvature(weights)  # W_ka, W_lc at [a, k, c, l]
    torch.testing.assert_close(action + determinant.permute(1, 0, 3, 2), hessian)
    # The metric of the quasi-Newton method applies its inverse.
    problem = PenalisedLoss(loss, torch.zeros(M, 1, dtype=torch.float64), 1.3 * gram)
    point = problem.evaluate(weights)
    step = problem.metric(point)(point.slope)
    torch.testing.assert_close(torch.einsum("kalb,lb->ka", hessian, step), point.slope)
    assert problem.passes == 3


def test_an_inverted_map_is_out_of_bounds_and_rest_is_the_last_resort():
    loss, weights = loss_of(0.3)
    inverted = torch.zeros_like(weights)
    inverted[0, 0] = -100.0
    assert loss.loss_and_slope(inverted)[0] == math.inf
    problem = PenalisedLoss(loss, torch.zeros(M, 1, dtype=torch.float64), torch.eye(M, dtype=torch.float64))
    assert not bool(problem.best_start([inverted]).weights.any())
    assert bool(problem.best_start([inverted, 1e-3 * -loss.loss_and_slope(0 * weights)[2]]).weights.any())
