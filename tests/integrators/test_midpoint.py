"""The midpoint rule: energy exact, its equation solved, first order where the score is estimated anew."""

from __future__ import annotations

import math

import pytest
import torch
from invariants import particles

from graphlandau.integrators import INTEGRATORS, Midpoint
from graphlandau.nn import LandauDrift

midpoint, euler = Midpoint().step, INTEGRATORS["euler"].step


def field(gamma, s, weight=None, strength=1.0):
    layer = LandauDrift(gamma, strength)
    return lambda v: layer(v, s, weight=weight)


def energy(v, weight):
    return float((weight * (v * v).sum(1)).sum())


@pytest.mark.slow
@pytest.mark.parametrize("gamma", [-3.0, 0.0])
def test_midpoint_keeps_energy_over_500_steps(gamma):
    """1e-12 relative in float64, with the score of the particles' own covariance at each step; momentum too."""
    v, _, weight = particles(24, 2)
    v = v * torch.tensor([1.3, 0.4], dtype=v.dtype)
    start, momentum = energy(v, weight), weight @ v
    first = v
    for _ in range(500):
        v = midpoint(v, field(gamma, gaussian_score(v, weight), weight), 0.01).v
    assert abs(energy(v, weight) / start - 1) < 1e-12
    assert float((weight @ v - momentum).norm()) < 1e-13
    # It moved: temperatures approached each other.
    assert float((v - first).norm()) > 0.5


@pytest.mark.slow
def test_euler_does_not_keep_energy_over_500_steps():
    """What the test above would say of the other integrator."""
    v, _, weight = particles(24, 2)
    start = energy(v, weight)
    for _ in range(500):
        v = euler(v, field(0.0, gaussian_score(v, weight), weight), 0.01).v
    assert energy(v, weight) / start - 1 > 1e-6


@pytest.mark.parametrize("gamma", [-3.0, 0.0])
def test_midpoint_solves_its_equation(gamma):
    """v' = v + dt U((v + v')/2), and reports where the drift was taken."""
    v, s, weight = particles(20, 3)
    drift = field(gamma, s, weight)
    step = midpoint(v, drift, 0.02)
    middle = 0.5 * (v + step.v)
    assert torch.allclose(step.v, v + 0.02 * drift(middle), rtol=0, atol=1e-14)
    assert torch.allclose(step.at[0], middle, rtol=0, atol=1e-14)


def gaussian_score(v: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """-Sigma^-1 (v - m) of the particles themselves."""
    x = v - weight @ v
    return -torch.linalg.solve((weight[:, None] * x).T @ x, x.T).T


@pytest.mark.slow
@pytest.mark.parametrize("name", ["euler", "midpoint"])
def test_first_order_in_time(name):
    """Regression of log error on log dt, against 16 times smaller steps: slope 1 +- 0.2 (the score is frozen)."""
    v0, _, weight = particles(40, 2)
    v0 = v0 * torch.tensor([1.3, 0.4], dtype=v0.dtype)

    def run(steps: int) -> torch.Tensor:
        v = v0
        for _ in range(steps):
            v = INTEGRATORS[name].step(v, field(0.0, gaussian_score(v, weight), weight, 0.1), 0.5 / steps).v
        return v

    exact = run(256)
    steps = [4, 8, 16]
    errors = [math.log(float((run(n) - exact).norm())) for n in steps]
    x = torch.tensor([math.log(0.5 / n) for n in steps], dtype=torch.float64)
    y = torch.tensor(errors, dtype=torch.float64)
    slope = float(((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum())
    assert slope == pytest.approx(1.0, abs=0.2)


@pytest.mark.parametrize("drift", [lambda v: 10 * v.flip(0) ** 3, lambda v: v * float("nan"), lambda v: -50 * v])
def test_midpoint_says_when_it_does_not_converge(drift):
    """A step that does not contract stops with the size of the step and the cure, not with wrong velocities."""
    v, _, _ = particles(4, 2)
    with pytest.raises(ArithmeticError, match=r"did not converge in .* dt = 0\.5 .* a smaller dt"):
        midpoint(v, drift, 0.5)
