"""The truncated Gaussian: conditional distribution, a score that is not the whole score, a hole without NaN."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import kstest

from graphlandau.nn import LandauDrift
from graphlandau.problems import Density, Truncated, TruncatedGaussian


@pytest.mark.parametrize("eta", [0.3, 1.0, 2.0])
def test_samples_follow_the_conditional_distribution(eta):
    """P(|v| > r | |v| > eta) = exp((eta^2 - r^2) / 2), and a uniform angle."""
    v = TruncatedGaussian(eta).sample(20_000, generator=torch.Generator().manual_seed(0))
    speed = v.norm(dim=1).numpy()
    assert speed.min() > eta
    assert kstest(speed, lambda r: -np.expm1(0.5 * (eta**2 - r**2))).pvalue > 1e-3
    angle = torch.atan2(v[:, 1], v[:, 0]).numpy()
    assert kstest(angle, lambda x: (x + math.pi) / (2 * math.pi)).pvalue > 1e-3


@pytest.mark.parametrize("eta", [0.3, 1.0, 2.0])
def test_mass_temperature_and_entropy_by_radial_quadrature(eta):
    f = TruncatedGaussian(eta)

    def log_f(r: float) -> float:
        return float(f.log_prob(torch.tensor([[r, 0.0]], dtype=torch.float64)))

    # Just outside the jump: at it a node would be rounded to either side.
    mass, square, entropy = (
        quad(lambda r, g=g: 2 * math.pi * r * math.exp(log_f(r)) * g(r), eta, 12, epsabs=1e-11)[0]
        for g in (lambda r: 1, lambda r: r * r, log_f)
    )
    assert mass == pytest.approx(1, abs=1e-9)
    assert torch.allclose(f.covariance, square / 2 * torch.eye(2, dtype=torch.float64), atol=1e-9)
    assert f.entropy() == pytest.approx(entropy, abs=1e-8)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_nothing_is_nan_in_the_hole(dtype):
    f = TruncatedGaussian()
    v = torch.tensor([[0.0, 0.0], [0.5, -0.3], [1.5, 2.0]], dtype=dtype, requires_grad=True)
    log_f = f.log_prob(v)
    assert log_f[:2].tolist() == [-math.inf, -math.inf]
    (gradient,) = torch.autograd.grad(log_f.sum(), v)
    expected = torch.tensor([[0.0, 0.0], [0.0, 0.0], [-1.5, -2.0]], dtype=dtype)
    assert torch.equal(gradient, expected)
    assert torch.equal(f.score(v.detach()), expected)
    assert torch.equal(Density.score(f, v.detach()), expected)


def test_rounding_does_not_push_particles_into_the_hole():
    """Float64 samples at the very edge, cast to float32 in any direction."""
    angle = torch.linspace(0, 2 * math.pi, 20_001, dtype=torch.float64)
    edge = (1 + 1e-15) * torch.stack([angle.cos(), angle.sin()], dim=1)
    for v in (edge, edge.float()):
        assert bool(TruncatedGaussian().log_prob(v).isfinite().all())


def test_pointwise_score_leaves_the_particles_at_rest():
    """It is a Maxwellian's, so the drift vanishes though the density is not at equilibrium: hence ``smooth``."""
    problem = Truncated()
    v = problem.sample(200, generator=torch.Generator().manual_seed(1))
    drift = LandauDrift(problem.gamma, problem.strength)(v, problem.score(v))
    assert float(drift.abs().max()) < 1e-12
    assert problem.initial.entropy() > problem.equilibrium().entropy() + 0.4
    assert not problem.initial.smooth


def test_defaults_are_the_papers():
    problem = Truncated()
    assert (problem.name, problem.gamma, problem.strength, problem.t_end) == ("truncated_2d", -3, 1, 5)
    assert (problem.particles, problem.bandwidth, problem.initial.eta) == (14_400, 0.3, 1)
    assert Truncated(gamma=0.0).covariance(1.0) is not None


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match=r"'eta' must be positive \(got 0.0\)"):
        TruncatedGaussian(0.0)
    with pytest.raises(ValueError, match=r"'strength' must be positive \(got -1.0\)"):
        Truncated(strength=-1.0)
