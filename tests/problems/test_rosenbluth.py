"""Rosenbluth's shell: mass, temperature and entropy against the papers and quadrature, samples, the two clocks."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import kstest

from graphlandau.nn import LandauDrift
from graphlandau.problems import Density, Rosenbluth, RosenbluthDensity

# The two of the papers, and one without a hole, where every term of the formulas matters.
SHELLS = [(0.3, 10.0), (2.0, 12.0), (1.0, 0.5)]
SHELL = pytest.mark.parametrize(("sigma", "S"), SHELLS)


def integral(g, sigma: float, S: float) -> float:
    """4 pi int g(r) r^2 exp(-S (r - sigma)^2 / sigma^2) / S^2 dr, the printed density."""

    def f(r: float) -> float:
        return 4 * math.pi * r * r * math.exp(-S * (r / sigma - 1) ** 2) / S**2

    return quad(lambda r: g(r) * f(r), 0, 12 * sigma, points=[sigma], epsabs=0, epsrel=1e-11, limit=400)[0]


@SHELL
def test_mass_and_temperature_are_the_papers(sigma, S):
    f = RosenbluthDensity(sigma, S)
    mass = integral(lambda r: 1.0, sigma, S)
    assert f.mass == pytest.approx(mass, rel=1e-10)
    T = integral(lambda r: r * r / 3, sigma, S) / mass
    assert torch.allclose(f.covariance, T * torch.eye(3, dtype=torch.float64), rtol=1e-10)


@SHELL
def test_density_is_the_printed_one_over_its_mass(sigma, S):
    f = RosenbluthDensity(sigma, S)
    v = 2 * sigma * torch.randn(50, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    printed = (-S * (v.norm(dim=1) - sigma).square() / sigma**2).exp() / S**2
    assert torch.allclose(f.log_prob(v).exp() * integral(lambda r: 1.0, sigma, S), printed, rtol=1e-9)


@SHELL
def test_entropy_of_the_printed_density(sigma, S):
    """int g log g of the printed g = rho f is rho H + rho log rho."""
    rho = RosenbluthDensity(sigma, S).mass
    printed = integral(lambda r: -S * (r / sigma - 1) ** 2 - 2 * math.log(S), sigma, S)
    assert rho * RosenbluthDensity(sigma, S).entropy() + rho * math.log(rho) == pytest.approx(printed, rel=1e-9)


def test_equilibrium_entropy_is_the_papers():
    """Huang and Wang, Section 5.4: H_inf = rho log rho - 3/2 rho log(2 pi e T)."""
    problem = Rosenbluth()
    rho, T = problem.mass, problem.initial.temperature
    papers = rho * math.log(rho) - 1.5 * rho * math.log(2 * math.pi * math.e * T)
    assert rho * problem.equilibrium().entropy() + rho * math.log(rho) == pytest.approx(papers, rel=1e-12)
    assert rho == pytest.approx(0.0020, rel=5e-3)


@SHELL
def test_radius_follows_its_distribution(sigma, S):
    v = RosenbluthDensity(sigma, S).sample(20_000, generator=torch.Generator().manual_seed(1))
    r = np.linspace(0, 12 * sigma, 40_001)
    density = r**2 * np.exp(-S * (r / sigma - 1) ** 2)
    cdf = np.concatenate([[0], np.cumsum(0.5 * (density[1:] + density[:-1]))])
    assert v.dtype == torch.float64
    assert kstest(v.norm(dim=1).numpy(), lambda x: np.interp(x, r, cdf / cdf[-1])).pvalue > 1e-3
    # Archimedes: every component of a uniform direction is uniform on [-1, 1].
    direction = v / v.norm(dim=1, keepdim=True)
    for a in range(3):
        assert kstest(direction[:, a].numpy(), lambda x: (x + 1) / 2).pvalue > 1e-3


@SHELL
def test_samples_have_the_exact_moments(sigma, S):
    f, n = RosenbluthDensity(sigma, S), 40_000
    v = f.sample(n, generator=torch.Generator().manual_seed(2))
    second = v[:, :, None] * v[:, None, :]
    # Five standard errors.
    assert bool((v.mean(0).abs() < 5 * v.std(0) / math.sqrt(n)).all())
    assert bool(((second.mean(0) - f.covariance).abs() < 5 * second.std(0) / math.sqrt(n)).all())
    log_f = f.log_prob(v)
    assert abs(float(log_f.mean()) - f.entropy()) < 5 * float(log_f.std()) / math.sqrt(n)


@SHELL
def test_score_is_the_gradient(sigma, S):
    f = RosenbluthDensity(sigma, S)
    v = f.sample(100, generator=torch.Generator().manual_seed(3))
    score = f.score(v)
    assert torch.allclose(score, Density.score(f, v), rtol=1e-10, atol=1e-10 * float(score.abs().max()))
    h = 1e-5 * sigma
    for a in range(3):
        step = h * torch.eye(3, dtype=torch.float64)[a]
        difference = (f.log_prob(v + step) - f.log_prob(v - step)) / (2 * h)
        # Second order in h, and rounding of log f over 2 h.
        assert torch.allclose(score[:, a], difference, rtol=1e-6, atol=1e-7 * S / sigma)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_origin_has_a_finite_score_and_gradient(dtype):
    f = RosenbluthDensity()
    x = torch.zeros(1, 3, dtype=dtype, requires_grad=True)
    assert torch.equal(f.score(x), torch.zeros_like(x))
    for value in (f.score(x).sum(), f.log_prob(x).sum()):
        assert bool(torch.isfinite(torch.autograd.grad(value, x)[0]).all())


@SHELL
def test_both_clocks_give_the_same_trajectories(sigma, S):
    physical, normalised = (Rosenbluth(sigma, S, dt=0.5, time=time) for time in ("physical", "normalised"))
    assert physical.strength == pytest.approx(physical.mass * normalised.strength, rel=1e-14)
    assert normalised.t_end == pytest.approx(physical.mass * physical.t_end, rel=1e-14)
    ends = []
    for problem in (physical, normalised):
        v = problem.sample(60, generator=torch.Generator().manual_seed(4))
        drift = LandauDrift(problem.gamma, problem.strength)
        for _ in range(3):
            v = v + problem.dt * drift(v, problem.initial.score(v))
        ends.append(v)
    assert torch.allclose(ends[0], ends[1], rtol=1e-12, atol=1e-12 * sigma)


def test_defaults_are_the_papers():
    problem = Rosenbluth()
    assert (problem.name, problem.gamma, problem.time) == ("rosenbluth_3d", -3, "physical")
    assert problem.strength == pytest.approx(problem.mass / (4 * math.pi), rel=1e-14)
    assert (problem.t_end, problem.dt, problem.particles, problem.bandwidth) == (20, 0.2, 50**3, 0.035)
    assert Rosenbluth(sigma=2.0, S=12.0).name == "rosenbluth_3d_wide"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sigma": 0.0}, r"'sigma' must be positive \(got 0.0\)"),
        ({"S": -1.0}, r"'S' must be positive \(got -1.0\)"),
        ({"strength": 0.0}, r"'strength' must be positive \(got 0.0\)"),
        ({"time": "proper"}, r"'time' must be one of physical, normalised \(got 'proper'\)"),
        ({"dt": 0.0}, r"'dt' must be positive \(got 0.0\)"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Rosenbluth(**arguments)
