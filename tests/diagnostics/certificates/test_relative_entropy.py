"""Bounds on the relative entropy: the loss, the theorems' numbers on BKW, and which of them is claimed when."""

from __future__ import annotations

import math

import pytest
import torch
from bkw_fields import WrongScore
from invariants import particles
from scipy.integrate import quad

from graphlandau.diagnostics import covariance
from graphlandau.diagnostics.certificates import (
    bound_for,
    covariance_gap,
    covariance_term,
    is_radial,
    pair_loss,
    score_matching_loss,
)
from graphlandau.nn import LandauDrift
from graphlandau.physics.landau_kernel import LandauKernel
from graphlandau.problems import (
    BKW,
    Anisotropic,
    BKWDensity,
    Gaussian,
    Rosenbluth,
    TruncatedGaussian,
)
from graphlandau.run.observers import Observer
from graphlandau.run.observers.certificate import Certificate
from graphlandau.run.simulation import Simulation


@pytest.mark.parametrize("gamma", [0.0, -3.0])
def test_loss_is_the_double_sum(gamma):
    """sum_ij w_i w_j (sigma_i - s_i)^T A(v_i - v_j) (sigma_i - s_i), pair by pair."""
    v, s, weight = particles(12, 3)
    sigma = torch.sin(v)
    kernel = LandauKernel(gamma, 0.7)
    expected = sum(
        weight[i] * weight[j] * ((sigma - s)[i] @ kernel((v[i] - v[j])[None], (sigma - s)[i][None])[0])
        for i in range(12)
        for j in range(12)
        if i != j
    )
    loss = score_matching_loss(v, s, sigma, LandauDrift(gamma, 0.7), weight)
    assert float(loss) == pytest.approx(float(expected), rel=1e-12)
    assert float(loss) > 0


@pytest.mark.parametrize("gamma", [0.0, -3.0])
def test_pair_loss_is_the_double_sum_and_the_smaller_one(gamma):
    """1/2 sum_ij w_i w_j |e_i - e_j|^2 in A(v_i - v_j): at most 2 L, and blind to scores that move nothing."""
    v, s, weight = particles(12, 3)
    sigma, kernel, drift = torch.sin(v), LandauKernel(gamma, 0.7), LandauDrift(gamma, 0.7)
    e = sigma - s
    expected = sum(
        0.5 * weight[i] * weight[j] * ((e[i] - e[j]) @ kernel((v[i] - v[j])[None], (e[i] - e[j])[None])[0])
        for i in range(12)
        for j in range(12)
        if i != j
    )
    pairs = pair_loss(v, s, sigma, drift, weight)
    assert float(pairs) == pytest.approx(float(expected), rel=1e-12)
    assert float(pairs) <= 2 * float(score_matching_loss(v, s, sigma, drift, weight))
    assert float(pair_loss(v, s + 1.0 - 3 * v, sigma, drift, weight)) == pytest.approx(float(pairs), rel=1e-11)


@pytest.mark.parametrize("d", [2, 3])
def test_gap_bounds_the_diffusion_matrix(d):
    """tr S - |S| is where the smallest eigenvalue of A * u would be at the mean, and it is nowhere smaller."""
    v, _, weight = particles(40, d)
    mean = weight @ v
    smallest = torch.linalg.eigvalsh(LandauDrift(0.0).diffusion(v, weight=weight)[0])[:, 0]
    gap = covariance_gap(v, weight)
    assert bool((smallest >= gap - 1e-12).all())
    z = mean - v
    matrix = ((z * z).sum(1)[:, None, None] * torch.eye(d, dtype=v.dtype) - z[:, :, None] * z[:, None, :]) * weight[
        :, None, None
    ]
    assert float(torch.linalg.eigvalsh(matrix.sum(0))[0]) == pytest.approx(float(gap), rel=1e-12)


def test_covariance_term_is_that_of_two_gaussians():
    """u = N(0, S), u* = N(0, S*): C tr[S*^-1 (S - S*) (S^-1 - S*^-1) S], by hand, with the sample's own S."""
    exact = Gaussian([0.0, 0.0], [[1.5, 0.2], [0.2, 0.7]])
    v = Gaussian([0.0, 0.0], [[0.9, -0.1], [-0.1, 1.1]]).sample(50, generator=torch.Generator().manual_seed(0))
    v = v - v.mean(0)
    S, S_exact = covariance(v), exact.covariance
    inverse = torch.linalg.inv(S_exact)
    sigma = -v @ torch.linalg.inv(S)
    expected = (inverse @ (S - S_exact) @ (torch.linalg.inv(S) - inverse) @ S).trace()
    assert float(covariance_term(v, sigma, exact, 0.3)) == pytest.approx(0.3 * float(expected), rel=1e-12)


# Which theorem


def test_radial_densities():
    assert is_radial(BKWDensity(2, 0.6))
    assert is_radial(TruncatedGaussian())
    assert is_radial(Rosenbluth().initial)
    assert is_radial(Gaussian([1.0, -2.0, 0.5], (2 * torch.eye(3)).tolist()))
    assert not is_radial(Gaussian([0.0, 0.0], [[1.0, 0.0], [0.0, 1.001]]))
    assert not is_radial(Anisotropic(3).initial)


def test_claims_follow_kernel_and_symmetry():
    """A number only for radial Maxwell problems, and there it says what it assumes of the score."""
    radial, general = bound_for(BKW(3)), bound_for(Anisotropic(3))
    coulomb, other = bound_for(Rosenbluth()), bound_for(Anisotropic(3, gamma=-2.0))
    assert [bound.explicit for bound in (radial, general, coulomb, other)] == [True, False, False, False]
    assert "Corollary 4.2" in radial.name
    assert "if the score is radial" in radial.statement
    assert "not explicit" in general.statement
    assert "not explicit" in coulomb.statement
    assert bound_for(Anisotropic(2, gamma=-3.0)) == other  # the theorem for Coulomb is for 3D
    assert "no theorem" in other.name


# The bounds as numbers


class KullbackLeibler(Observer):
    """KL(u | u*) at every step, from particles of u: <g + exp(-g) - 1> with g = log u/u*.

    The mean of exp(-g) is 1, so it is KL; no term is negative, and its noise is of second order in g.
    """

    def after_evaluate(self, run):
        g = run.state.log_f - run.problem.log_prob(run.state.v, run.t)
        terms = g + torch.exp(-g) - 1
        run.row["measured"] = float(terms.mean())
        run.row["noise"] = float(terms.std() / math.sqrt(len(g)))


def certified(d, scale, shear=0.0, n=2000, dt=0.05, **options):
    start = 1.0 if d == 2 else 7.0
    problem = BKW(d, t_start=start, t_end=start + 2)
    method = WrongScore(problem, scale, shear)
    observers = [Certificate(problem, method), KullbackLeibler()]
    options = {"particles": n, "dt": dt, "dtype": torch.float64, "baselines": False, "observers": observers} | options
    return Simulation(problem, method, **options).run().metrics


@pytest.mark.parametrize("d", [2, 3])
@pytest.mark.parametrize("scale", [1.2, 0.8, None])
def test_radial_maxwell_bound(scale, d):
    """KL(t) <= 1/2 int P <= 2 int L for wrong radial scores, at all times, and not by far at the end.

    2000 particles: they move the field, hence KL and losses, by a few per cent, as 20,000 show. Bounds over KL at the
    end, 1.2, 0.8, Gaussian: 2 int L 40, 55, 11 in 2D, 148, 281, 11 in 3D; the sharper one 2.5, 3.1, 2.9 and 2.1, 3.1,
    2.6. Most of the error of 1.2 and 0.8 is along v and moves nothing, which only the latter knows.
    """
    rows = certified(d, scale)[1:]
    for row in rows:
        assert row["measured"] + 3 * row["noise"] <= row["kl_bound_pairs"] <= 0.5 * row["kl_bound"]
    assert rows[-1]["kl_bound"] <= 400 * rows[-1]["measured"]
    assert rows[-1]["kl_bound_pairs"] <= 4 * rows[-1]["measured"]


@pytest.mark.parametrize("d", [2, 3])
@pytest.mark.parametrize("shear", [0.3, -0.3])
def test_bound_for_any_score(shear, d):
    """Proposition 4.1 for a score that is not radial, and moves the covariance away from the exact one."""
    rows = certified(d, 1.0, shear)[1:]
    for row in rows:
        assert row["measured"] + 3 * row["noise"] <= row["kl_bound_any_score"]
    # The covariance is wrong, which the extra term sees, and it is driven back, which makes that term negative.
    assert rows[-1]["kl_bound_any_score"] < 0.99 * rows[-1]["kl_bound"] < 0.15
    assert rows[-1]["kl_bound_any_score"] <= 10 * rows[-1]["measured"]


@pytest.mark.parametrize("d", [2, 3])
def test_loss_and_divergence_of_the_gaussian_score(d):
    """The Gaussian score moves nothing: L = C (d - 1) (I(f_0) - d) with the Fisher information I, and KL(f_0 | f_t).

    Both by quadrature. 20,000 particles: within four standard errors of a mean over them.
    """
    rows = certified(d, None, n=20_000, dt=0.5)
    start = 1.0 if d == 2 else 7.0
    problem = BKW(d, t_start=start, t_end=start + 2)
    first, last = problem.density(start), problem.density(start + 2)
    sphere = 2 * math.pi ** (d / 2) / math.gamma(d / 2)

    def mean(function):
        def integrand(r):
            x = torch.zeros(1, d, dtype=torch.float64)
            x[0, 0] = r
            return sphere * r ** (d - 1) * math.exp(float(first.log_prob(x))) * float(function(x))

        return quad(integrand, 0.0, 12.0, epsabs=1e-9)[0]

    information = mean(lambda x: first.score(x).square().sum())
    loss = problem.strength * (d - 1) * (information - d)
    assert rows[-1]["score_loss"] == pytest.approx(loss, rel=0.05)
    assert rows[-1]["kl_bound"] == pytest.approx(2 * 2.0 * rows[0]["score_loss"], rel=1e-6)
    exact = mean(lambda x: first.log_prob(x) - last.log_prob(x))
    assert rows[-1]["measured"] == pytest.approx(exact, abs=4 * rows[-1]["noise"])
    assert exact <= 2 * 2.0 * loss


@pytest.mark.slow
def test_integral_is_of_first_order():
    """Left end points: halving dt halves what is missing."""
    ends = [certified(2, 1.2, n=200, dt=dt)[-1]["score_loss_integral"] for dt in (0.05, 0.025, 0.0125)]
    assert (ends[0] - ends[1]) / (ends[1] - ends[2]) == pytest.approx(2, rel=0.1)
