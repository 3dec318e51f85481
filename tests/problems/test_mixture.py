"""Initial data of several Maxwellians: marginals, moments and entropy against one-dimensional formulas."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.integrate import quad
from scipy.stats import kstest, norm

from graphlandau.problems import BiMaxwellian, Mixture

# Probability, mean and deviation of the modes of v_1, v_2, v_3.
MODES = (
    ((0.4, -2.0, 0.3), (0.6, 1.0, 0.8)),
    ((0.7, -1.0, 0.5), (0.3, 2.0, 0.4)),
    ((0.5, 0.0, 0.2), (0.5, 3.0, 1.2)),
)


def mixed(function, modes):
    return lambda x: sum(p * function(x, mean, width) for p, mean, width in modes)


def entropy_1d(modes) -> float:
    f = mixed(norm.pdf, modes)
    centres = [mean for _, mean, _ in modes]
    return quad(lambda x: f(x) * math.log(f(x)), -12, 14, points=centres, epsabs=1e-11, limit=400)[0]


def test_mixture_marginals_follow_their_distribution():
    v = Mixture().sample(20_000, generator=torch.Generator().manual_seed(0))
    for a, modes in enumerate(MODES):
        assert kstest(v[:, a].numpy(), mixed(norm.cdf, modes)).pvalue > 1e-3
    # Independent: correlations of magnitudes too, within five standard errors.
    for x in (v, v.abs(), v.square()):
        correlation = torch.corrcoef(x.T) - torch.eye(3)
        assert float(correlation.abs().max()) < 5 / math.sqrt(20_000)


def test_mixture_density_moments_and_entropy():
    problem = Mixture()
    v = 2 * torch.randn(50, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    factors = [torch.from_numpy(mixed(norm.pdf, modes)(v[:, a].numpy())) for a, modes in enumerate(MODES)]
    assert torch.allclose(problem.log_prob(v), torch.stack(factors).prod(0).log(), rtol=1e-12)
    assert torch.allclose(problem.initial.mean, torch.tensor([-0.2, -0.1, 1.5], dtype=torch.float64))
    variances = torch.tensor([2.58, 2.113, 2.99], dtype=torch.float64)
    assert torch.allclose(problem.initial.covariance, variances.diag())
    assert problem.initial.entropy() == pytest.approx(sum(map(entropy_1d, MODES)), abs=1e-9)


@pytest.mark.parametrize("strength", [1 / 16, 1.0])
def test_bimaxwellian_is_the_papers(strength):
    """Huang and Wang give the energy <|v|^2> = 5; the rest is the parallel-axis theorem."""
    problem = BiMaxwellian(strength=strength)
    initial = problem.initial
    assert torch.equal(initial.mean, torch.tensor([-1.0, 0.0], dtype=torch.float64))
    assert torch.allclose(initial.covariance, torch.tensor([[2.0, -1.0], [-1.0, 2.0]], dtype=torch.float64))
    assert float(initial.covariance.trace() + initial.mean.square().sum()) == pytest.approx(5, rel=1e-15)
    assert torch.allclose(problem.equilibrium().covariance, 2 * torch.eye(2, dtype=torch.float64))
    v = torch.randn(50, 2, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    squares = [(v - torch.tensor(u)).square().sum(1) for u in ([-2.0, 1.0], [0.0, -1.0])]
    expected = ((-0.5 * squares[0]).exp() + (-0.5 * squares[1]).exp()) / (4 * math.pi)
    assert torch.allclose(problem.log_prob(v).exp(), expected, rtol=1e-12)
    assert problem.strength * problem.t_end == pytest.approx(10)
    assert problem.t_end / problem.dt == pytest.approx(1600)


def test_bimaxwellian_along_and_across_the_beams():
    """Rotated, it is a symmetric mixture of distance 2 sqrt(2) times a standard normal."""
    problem = BiMaxwellian()
    modes = ((0.5, -math.sqrt(2), 1.0), (0.5, math.sqrt(2), 1.0))
    v = problem.sample(20_000, generator=torch.Generator().manual_seed(3)) - problem.initial.mean
    along = (v[:, 0] - v[:, 1]).numpy() / math.sqrt(2)
    across = (v[:, 0] + v[:, 1]).numpy() / math.sqrt(2)
    assert kstest(along, mixed(norm.cdf, modes)).pvalue > 1e-3
    assert kstest(across, norm.cdf).pvalue > 1e-3
    normal = -0.5 * (1 + math.log(2 * math.pi))
    assert problem.initial.entropy() == pytest.approx(entropy_1d(modes) + normal, abs=1e-9)


@pytest.mark.parametrize("cls", [BiMaxwellian, Mixture])
@pytest.mark.parametrize("strength", [0.0, -1.0])
def test_bad_strengths_are_refused(cls, strength):
    with pytest.raises(ValueError, match=rf"'strength' must be positive \(got {strength}\)"):
        cls(strength=strength)


def test_exponent_is_an_option():
    assert (Mixture().gamma, Mixture(gamma=0.0).gamma, BiMaxwellian(gamma=0.0).gamma) == (-3, 0, 0)
    # Maxwell molecules: the covariance is exact then, here far beyond the relaxation time.
    problem = Mixture(gamma=0.0)
    assert torch.allclose(problem.covariance(10.0), problem.equilibrium().covariance, atol=1e-12)
