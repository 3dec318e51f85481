"""Anisotropic relaxation: the covariance of gamma = 0 problems against the moment equation."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from graphlandau.problems import Anisotropic, Density, Gaussian, Problem


def gauss_hermite(f: Gaussian, n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Weighted nodes that integrate polynomials of degree < 2n exactly against ``f``."""
    x, w = np.polynomial.hermite_e.hermegauss(n)
    x, w = torch.from_numpy(x), torch.from_numpy(w / w.sum())
    grid = torch.cartesian_prod(*[x] * f.d)
    return f.mean + grid @ torch.linalg.cholesky(f.covariance).T, torch.cartesian_prod(*[w] * f.d).prod(1)


def covariance_rate(v, s, w, strength):
    """d/dt <(v - m)(v - m)^T> from the drift, a plain sum over all pairs of nodes."""
    z, u = v[:, None] - v, s[:, None] - s
    A_u = strength * ((z * z).sum(2, keepdim=True) * u - z * (z * u).sum(2, keepdim=True))
    U = -torch.einsum("j,ija->ia", w, A_u)
    x = v - w @ v
    half = (w[:, None] * U).T @ x
    return half + half.T


def formula_rate(problem, sigma):
    """Fourth-order difference of the exact covariance at the start."""
    h, t = 1e-3, problem.t_start
    stencil = {-2: 1 / 12, -1: -2 / 3, 1: 2 / 3, 2: -1 / 12}
    return sum(c * problem.covariance(t + k * h, sigma) for k, c in stencil.items()) / h


@pytest.mark.parametrize(("d", "strength"), [(2, 1.0), (3, 1 / 24), (4, 0.3)])
def test_covariance_rate_of_a_gaussian_with_a_mean(d, strength):
    """Degree-4 polynomials, so the quadrature is exact; the mean must drop out."""
    g = torch.Generator().manual_seed(d)
    a = torch.randn(d, d, generator=g, dtype=torch.float64)
    f = Gaussian(torch.randn(d, generator=g, dtype=torch.float64) * 3, a @ a.T + 0.1 * torch.eye(d).double())
    problem = Problem(f, gamma=0.0, strength=strength, t_start=2.0, t_end=3.0, dt=0.1, particles=10)
    v, w = gauss_hermite(f, 4)
    assert torch.allclose(
        covariance_rate(v, f.score(v), w, strength), formula_rate(problem, None), rtol=1e-9, atol=1e-9
    )


def test_covariance_rate_of_a_mixture():
    """The formula holds for any initial density: here two separated Gaussians on a trapezoidal grid."""
    left, right = (Gaussian(m, [[0.5, 0.2], [0.2, 0.8]]) for m in ([-1.0, 0.5], [1.5, 0.0]))
    axis = torch.linspace(-6, 6, 41, dtype=torch.float64)
    v = torch.cartesian_prod(axis, axis)
    p = torch.stack([0.3 * left.log_prob(v).exp(), 0.7 * right.log_prob(v).exp()], dim=1)
    w = p.sum(1)
    s = (p[:, :1] * left.score(v) + p[:, 1:] * right.score(v)) / w[:, None]
    w = w / w.sum()
    x = v - w @ v
    sigma = (w[:, None] * x).T @ x
    problem = Anisotropic(d=2, strength=0.7)
    # The trapezoidal rule is at 1e-10 for this grid.
    assert torch.allclose(covariance_rate(v, s, w, 0.7), formula_rate(problem, sigma), rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("d", [2, 3, 10])
def test_covariance_solves_its_equation_at_all_times(d):
    """The moment equation is linear and autonomous: restarting at any time gives the same curve."""
    problem = Anisotropic(d=d)
    for s, t in itertools.pairwise((0.0, 0.5, 1.7, 4.0)):
        restarted = problem.covariance(t - s, problem.covariance(s))
        assert torch.allclose(restarted, problem.covariance(t), rtol=1e-13, atol=1e-14)
    assert torch.allclose(problem.covariance(1e3), torch.eye(d, dtype=torch.float64))
    assert float(problem.covariance(1.0).trace()) == pytest.approx(d, rel=1e-14)


def test_paper_curve():
    """Ilin, Hu and Wang 2025, Example 5.2 with strength 1: Sigma_11 = 1 + 0.8 exp(-4 d t)."""
    sigma = Anisotropic(d=10, strength=1.0).covariance(0.1)
    assert float(sigma[0, 0]) == pytest.approx(1 + 0.8 * math.exp(-4), rel=1e-14)
    assert float(sigma[1, 1]) == pytest.approx(1 - 0.8 * math.exp(-4), rel=1e-14)
    assert float(sigma[2, 2]) == pytest.approx(1, rel=1e-14)


def test_defaults_are_the_papers():
    for d, particles in [(3, 12_800), (10, 25_600)]:
        problem = Anisotropic(d=d)
        assert problem.name == f"anisotropic_{d}d"
        assert (problem.gamma, problem.strength, problem.dt) == (0.0, 1 / 24, 0.01)
        assert (problem.t_start, problem.t_end, problem.particles, problem.grid) == (
            0.0,
            4.0,
            particles,
            None,
        )
        diagonal = torch.tensor([1.8, 0.2] + [1.0] * (d - 2), dtype=torch.float64)
        assert torch.equal(problem.initial.covariance, diagonal.diag())
        assert problem.density(1.0) is None


@pytest.mark.parametrize(("strength", "dt", "t_end"), [(1 / 24, 1.0, 300.0), (1.0, 1 / 24, 12.5)])
def test_coulomb_runs_the_same_300_steps_for_every_strength(strength, dt, t_end):
    problem = Anisotropic(d=3, strength=strength, gamma=-3.0)
    assert problem.name == "anisotropic_coulomb_3d"
    assert (problem.dt, problem.t_end, problem.particles) == pytest.approx((dt, t_end, 12_800), rel=1e-15)
    assert problem.covariance(1.0) is None
    equilibrium = problem.equilibrium()
    assert torch.equal(equilibrium.mean, torch.zeros(3, dtype=torch.float64))
    assert torch.allclose(equilibrium.covariance, torch.eye(3, dtype=torch.float64), rtol=1e-15)
    assert Anisotropic(d=3, gamma=-1.0).name == "anisotropic_gamma-1_3d"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"d": 1}, r"'d' must be an integer >= 2 \(got 1\)"),
        ({"strength": -1.0}, r"'strength' must be positive \(got -1.0\)"),
        ({"gamma": -5.0}, r"'gamma' must be in \[-4, 1\] \(got -5.0\)"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Anisotropic(**arguments)


def test_initial_is_a_density():
    assert isinstance(Anisotropic(d=2).initial, Density)
