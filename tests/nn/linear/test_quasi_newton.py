"""The quasi-Newton minimiser: Newton's step on a quadratic, scipy's minimum elsewhere, nothing that grows."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from graphlandau.nn.linear import Point, minimise


class Loss:
    """A function with its slope by automatic differentiation; the metric is the one given, or the identity."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor], metric: torch.Tensor | None = None) -> None:
        self.function, self.form, self.passes = function, metric, 0
        self.losses: list[float] = []

    def evaluate(self, weights: torch.Tensor) -> Point:
        self.passes += 1
        weights = weights.clone().requires_grad_()
        value = self.function(weights)
        (slope,) = torch.autograd.grad(value, weights)
        loss = float(value.detach())
        return Point(weights.detach(), loss if math.isfinite(loss) else math.inf, abs(loss), slope)

    def metric(self, at: Point) -> Callable[[torch.Tensor], torch.Tensor]:
        self.losses.append(at.loss)
        form = torch.eye(at.weights.numel(), dtype=torch.float64) if self.form is None else self.form
        return lambda slope: torch.linalg.solve(form, slope.flatten()).view(slope.shape)


def run(loss: Loss, start: torch.Tensor, max_passes: int = 500, renew: bool = False):
    first = loss.evaluate(start)
    return minimise(loss, first, tolerance=1e-18, rounding=1e-15, max_passes=max_passes, renew=renew)


def rosenbrock(x: torch.Tensor) -> torch.Tensor:
    return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


def form(m: int, seed: int) -> torch.Tensor:
    root = torch.randn(m, m, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return root @ root.T + torch.eye(m, dtype=torch.float64)


@settings(max_examples=20, deadline=None)
@given(m=st.integers(1, 8), seed=st.integers(0, 999))
def test_a_quadratic_in_its_own_metric_takes_one_step(m, seed):
    hessian = form(m, seed)
    linear = torch.randn(m, generator=torch.Generator().manual_seed(seed + 1), dtype=torch.float64)
    loss = Loss(lambda w: 0.5 * w @ hessian @ w + linear @ w, hessian)
    found = run(loss, torch.zeros(m, dtype=torch.float64))
    assert found.converged
    torch.testing.assert_close(found.point.weights, -torch.linalg.solve(hessian, linear))
    # The start, and one full step.
    assert loss.passes == 2


@settings(max_examples=20, deadline=None)
@given(m=st.integers(1, 6), seed=st.integers(0, 999))
def test_a_quadratic_in_a_poor_metric_is_solved_too(m, seed):
    hessian = form(m, seed)
    linear = torch.randn(m, generator=torch.Generator().manual_seed(seed + 1), dtype=torch.float64)
    loss = Loss(lambda w: 0.5 * w @ hessian @ w + linear @ w)
    found = run(loss, torch.zeros(m, dtype=torch.float64))
    assert found.converged
    torch.testing.assert_close(found.point.weights, -torch.linalg.solve(hessian, linear), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("m", [2, 5])
def test_the_minimum_of_a_function_that_is_not_convex_is_that_of_scipy(m):
    start = torch.full((m,), -0.3, dtype=torch.float64)
    loss = Loss(rosenbrock)
    found = run(loss, start)

    def value(x: np.ndarray) -> tuple[float, np.ndarray]:
        point = Loss(rosenbrock).evaluate(torch.from_numpy(x))
        return point.loss, point.slope.numpy()

    expected = minimize(value, start.numpy(), jac=True, method="BFGS", options={"gtol": 1e-10})
    assert found.converged
    np.testing.assert_allclose(found.point.weights.numpy(), expected.x, atol=1e-7)
    assert loss.passes < 3 * expected.nfev


def test_weights_of_any_shape_and_an_infinite_loss_out_of_bounds():
    # x - log x has its minimum at 1 and no value below 0: the full step from 3 with the metric 1/9 would lead to -3.
    loss = Loss(lambda w: (w - w.log()).sum(), torch.eye(6, dtype=torch.float64) / 9)
    found = run(loss, torch.full((2, 3), 3.0, dtype=torch.float64))
    assert found.converged
    torch.testing.assert_close(found.point.weights, torch.ones(2, 3, dtype=torch.float64))


def test_the_loss_falls_and_the_best_point_is_returned_where_passes_run_out():
    start = torch.full((4,), -0.5, dtype=torch.float64)
    losses = []
    for passes in (1, 5, 10, 20, 40):
        found = run(Loss(rosenbrock), start, max_passes=passes)
        assert not found.converged
        losses.append(found.point.loss)
    assert losses[0] == float(rosenbrock(start))
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < losses[0]


def test_the_metric_is_renewed_where_steps_become_slow_only_if_asked_for():
    start = torch.full((3,), -0.5, dtype=torch.float64)
    renewed, kept = Loss(rosenbrock), Loss(rosenbrock)
    assert run(renewed, start, max_passes=60, renew=True).point.loss < float(rosenbrock(start))
    run(kept, start)
    assert len(kept.losses) == 1
    assert len(renewed.losses) > 1
