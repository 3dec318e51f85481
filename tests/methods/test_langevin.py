"""Langevin dynamics: stationary variances, exact moments, refusals."""

from __future__ import annotations

import math

import pytest
import torch
from kinetic_runs import Drifting, ExactMoments, mean_and_covariance, run

from graphlandau.methods import Langevin

pytestmark = pytest.mark.usefixtures("small_and_quick")

N = 20_000


@pytest.mark.parametrize("noise", ["euler_maruyama", "ornstein_uhlenbeck"])
def test_the_stationary_variance(noise):
    problem = Drifting(epsilon=4.0, temperature=0.7, d=2)
    v = run(problem, Langevin(noise), particles=N, dt=0.1, t_end=2.0, metrics_every=20).state.v
    strength = 4.0 * 0.1
    variance = 0.7 / (1 - strength / 2) if noise == "euler_maruyama" else 0.7
    # Twenty steps of e^{-0.4} or 0.6 leave 1e-7 of the start. Four standard errors of 2 N normal numbers.
    assert float(v.square().mean()) == pytest.approx(variance, rel=4 * math.sqrt(2 / (2 * N)))
    assert float((v[:, 0] * v[:, 1]).mean()) == pytest.approx(0, abs=4 * variance / math.sqrt(N))
    assert v.mean(0).tolist() == pytest.approx([0, 0], abs=4 * math.sqrt(variance / N))


@pytest.mark.parametrize("noise", ["euler_maruyama", "ornstein_uhlenbeck"])
def test_the_velocity_forgets_at_its_rate(noise):
    problem, steps = Drifting(epsilon=1.0), 5
    start = problem.draw(N, generator=torch.Generator().manual_seed(0))["v"]
    v = run(problem, Langevin(noise), particles=N, dt=0.1, t_end=0.1 * steps, metrics_every=5).state.v
    keep = 0.9 if noise == "euler_maruyama" else math.exp(-0.1)
    slope = float((start * v).mean() / start.square().mean())
    # Four standard errors of the regression, of residual variance below 1.1.
    assert slope == pytest.approx(keep**steps, abs=4 * math.sqrt(1.1 / N))


@pytest.mark.parametrize("noise", ["euler_maruyama", "ornstein_uhlenbeck"])
def test_the_moments_of_the_gaussian_benchmark(noise):
    problem, t = ExactMoments(), 1.0
    state = run(problem, Langevin(noise), particles=N, dt=0.02, t_end=t, metrics_every=50).state
    mean, covariance = mean_and_covariance(state)
    exact = problem.density(t)
    # Four standard errors of the largest variance, and the first order in dt.
    scale = float(exact.covariance.max())
    tolerance = 4 * scale * math.sqrt(2 / N) + 0.02
    torch.testing.assert_close(covariance, exact.covariance, rtol=0, atol=tolerance)
    torch.testing.assert_close(mean, exact.mean, rtol=0, atol=4 * math.sqrt(scale / N) + 0.01)


def test_noise_follows_from_the_seed_and_knows_no_density():
    problem = Drifting(epsilon=1.0)
    first, again, other = (run(problem, Langevin(seed=seed), particles=50) for seed in (3, 3, 4))
    assert torch.equal(first.state.v, again.state.v)
    assert not torch.equal(first.state.v, other.state.v)
    assert "log_f" not in first.state
    assert all(row["entropy"] is row["free_energy"] is row["kl"] is None for row in first.metrics)


def test_without_collisions_nothing_is_added():
    problem = Drifting()
    start = problem.draw(50, generator=torch.Generator().manual_seed(0))["v"]
    for noise in ("euler_maruyama", "ornstein_uhlenbeck"):
        assert torch.equal(run(problem, Langevin(noise), particles=50).state.v, start)


def test_refuses_an_unstable_step_and_an_unknown_noise():
    problem = Drifting(epsilon=10.0)
    with pytest.raises(ValueError, match=r"'dt' must be below 2 / epsilon = 0.2 for Euler-Maruyama \(got 0.2\)"):
        run(problem, Langevin(), dt=0.2, particles=20)
    assert run(problem, Langevin("ornstein_uhlenbeck"), dt=0.2, particles=20).state.v.isfinite().all()
    with pytest.raises(ValueError, match="'noise' must be"):
        Langevin("milstein")
