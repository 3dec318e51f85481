"""Exact curves by quadrature against closed forms."""

from __future__ import annotations

import math

import pytest
import torch

from graphlandau.plotting import exact
from graphlandau.problems import BKW, Gaussian

X = torch.linspace(-4, 4, 161, dtype=torch.float64)


def _normal(x: torch.Tensor, variance: float) -> torch.Tensor:
    return (-0.5 * x.square() / variance).exp() / math.sqrt(2 * math.pi * variance)


@pytest.mark.parametrize("d", [2, 3])
def test_marginal_of_a_gaussian(d: int) -> None:
    covariance = torch.diag(torch.tensor([1.8, 0.2, 1.0], dtype=torch.float64)[:d])
    density = Gaussian(torch.zeros(d), covariance)
    for a in range(d):
        f = exact.marginal(density, X, a, half_width=6.0)
        # Trapezoid rule with spacing 0.45: exp(-2 pi^2 0.2 / 0.45^2) = 3e-9 of the result.
        torch.testing.assert_close(f, _normal(X, float(covariance[a, a])), rtol=1e-8, atol=1e-12)


def test_marginal_of_bkw_integrates_to_one() -> None:
    f = exact.marginal(BKW(d=3).density(5.7), X, 1, half_width=4.0)
    # The mass beyond |v_1| = 4 is of order 1e-5.
    assert float(torch.trapezoid(f, X)) == pytest.approx(1, abs=1e-4)


def test_slice_is_the_density_on_the_axis() -> None:
    density = BKW(d=2).density(1.0)
    v = torch.stack([torch.zeros_like(X), X], dim=1)
    torch.testing.assert_close(exact.slice_along(density, X, 1), density.log_prob(v).exp())


@pytest.mark.parametrize("component", [0, 1])
def test_smoothing_adds_the_variance_of_the_kernel(component: int) -> None:
    h = 0.3
    density = Gaussian(torch.zeros(2), torch.diag(torch.tensor([1.0, 0.5], dtype=torch.float64)))
    wider = Gaussian(torch.zeros(2), torch.diag(torch.tensor([1.0 + h**2, 0.5 + h**2], dtype=torch.float64)))
    smoothed = exact.smoothed_slice(density, X, component, h)
    inside = X.abs() < 2.5  # near the ends the convolution misses what lies beyond the grid
    expected = exact.slice_along(wider, X, component)
    torch.testing.assert_close(smoothed[inside], expected[inside], rtol=1e-4, atol=0)


def test_smoothed_curve_adds_the_variance_of_the_kernel() -> None:
    smoothed = exact.smoothed_curve(_normal(X, 0.4), X, 0.3)
    torch.testing.assert_close(smoothed, _normal(X, 0.49), rtol=0, atol=1e-8)


def test_entropy_dissipation_of_bkw_is_the_average_of_score_and_drift() -> None:
    problem = BKW(d=2)
    t, step = 1.0, 1e-3
    rate = exact.entropy_dissipation(problem, t, step)
    # dH/dt = int (log f) df/dt dv, with df/dt by a difference in time and the integral on a grid: no entropy
    # formula is used. Both differences have errors of order step^2.
    axis = torch.linspace(-7, 7, 281, dtype=torch.float64)
    v = torch.cartesian_prod(axis, axis)
    later, earlier = (problem.log_prob(v, t + sign * step).exp() for sign in (1, -1))
    direct = (problem.log_prob(v, t) * (later - earlier) / (2 * step)).sum() * 0.05**2
    assert rate == pytest.approx(float(direct), rel=1e-5)
    assert rate < 0


def test_entropy_dissipation_is_one_sided_at_the_start() -> None:
    problem = BKW(d=3)
    rate = exact.entropy_dissipation(problem, problem.t_start, 1e-4)
    later = exact.entropy_dissipation(problem, problem.t_start + 2e-4, 1e-4)
    assert rate == pytest.approx(later, rel=1e-2)
