"""The benchmarks one by one: exact solutions against the equation itself, and the numbers they stand for."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from scipy.integrate import solve_ivp
from scipy.special import i0
from scipy.stats import kstest

from graphlandau.problems import LandauDamping, TwoStream, VFPDoubleWell, VFPGaussian, VFPPeriodic, VPFPBeams
from graphlandau.problems import VPFPBeamsAsPrinted as AsPrinted


@pytest.mark.parametrize("epsilon", [0.0, 0.3, 1.0, 10.0])
def test_gaussian_moments_solve_their_equations(epsilon):
    problem = VFPGaussian(1, epsilon=epsilon)
    A = torch.tensor([[0.0, 1.0], [-2.0, -epsilon]], dtype=torch.float64)
    D = torch.tensor([[0.0, 0.0], [0.0, epsilon]], dtype=torch.float64)

    def slope(t, y):
        m, C = torch.from_numpy(y[:2]), torch.from_numpy(y[2:]).view(2, 2)
        return torch.cat([A @ m, (A @ C + C @ A.T + 2 * D).flatten()]).numpy()

    start = torch.tensor([0.0, 1.0, 2.0, 1.0, 1.0, 3.0], dtype=torch.float64)
    times = [0.0, 0.1, 1.0, 8.0]
    solution = solve_ivp(slope, (0, 8), start.numpy(), t_eval=times, rtol=1e-11, atol=1e-12)
    for i, t in enumerate(times):
        mean, covariance = problem.moments(t)
        assert torch.allclose(mean, torch.from_numpy(solution.y[:2, i]), atol=1e-8)
        assert torch.allclose(covariance.flatten(), torch.from_numpy(solution.y[2:, i]), atol=1e-8)


@pytest.mark.parametrize("d", [1, 3])
@pytest.mark.parametrize("t", [0.05, 1.0, 4.0])
def test_gaussian_density_solves_the_vlasov_fokker_planck_equation(d, t):
    """d_t L + v . L_x - grad phi . L_v = eps (d + v . L_v + |L_v|^2 + tr L_vv) for L = log f, at samples."""
    problem = VFPGaussian(d)
    f = problem.density(t)
    x, v = f.sample(50, generator=torch.Generator().manual_seed(0))
    h = 1e-4
    in_time = (problem.density(t + h).log_prob(x, v) - problem.density(t - h).log_prob(x, v)) / (2 * h)
    along_x = torch.func.grad(lambda y: f.log_prob(y, v).sum())(x)
    score = f.score_v(x, v)
    # Constant for a Gaussian; differences of a linear function are exact up to rounding.
    divergence = sum(
        (f.score_v(x, v + step) - f.score_v(x, v - step))[:, a] / 2 for a, step in enumerate(torch.eye(d).double())
    )
    left = in_time + (v * along_x).sum(1) - (problem.potential.gradient(x) * score).sum(1)
    right = problem.epsilon * (d + (v * score).sum(1) + score.square().sum(1) + divergence)
    # Second-order difference in time with h = 1e-4: about h^2 times third derivatives of up to some 100.
    assert torch.allclose(left, right, atol=1e-5 * d)


def test_gaussian_ends_in_the_stationary_density():
    """e^{-t/2} is the slowest rate: at t = 80 nothing but rounding is left."""
    problem = VFPGaussian(3)
    x, v = problem.density(80.0).sample(100, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(problem.density(80.0).log_prob(x, v), problem.stationary()(x, v), atol=1e-12)
    limit = torch.tensor([0.5] * 3 + [1.0] * 3, dtype=torch.float64).diag()
    assert torch.allclose(problem.density(80.0).covariance, limit, atol=1e-14)


def test_gaussian_relative_entropy_falls():
    """KL(f_t | f_inf) in closed form decreases at every step."""
    problem = VFPGaussian(1)
    limit = torch.tensor([0.5, 1.0], dtype=torch.float64).diag()
    values = []
    for t in torch.linspace(0, 10, 101).tolist():
        m, C = problem.moments(t)
        ratio = torch.linalg.solve(limit, C)
        values.append(0.5 * float(ratio.trace() - 2 - torch.logdet(ratio) + m @ torch.linalg.solve(limit, m)))
    assert values[0] == pytest.approx(0.5 * (4 + 3 - 2 - math.log(10) + 1), rel=1e-14)
    assert all(later < earlier for earlier, later in pairwise(values))


def test_directions_of_the_3d_gaussian_are_the_1d_one():
    one, three = VFPGaussian(1).density(2.0), VFPGaussian(3).density(2.0)
    x, v = three.sample(20, generator=torch.Generator().manual_seed(2))
    each = [one.log_prob(x[:, a : a + 1], v[:, a : a + 1]) for a in range(3)]
    assert torch.allclose(three.log_prob(x, v), torch.stack(each).sum(0), rtol=1e-12)


def test_double_well_starts_and_ends_as_printed():
    problem = VFPDoubleWell(1)
    x = torch.linspace(-2, 2, 9, dtype=torch.float64)[:, None]
    v = torch.linspace(-3, 3, 9, dtype=torch.float64)[:, None]
    beams = (-0.5 * (v + 1.5) ** 2).exp() + (-0.5 * (v - 1.5) ** 2).exp()
    start = (-0.5 * x**2).exp() * beams / (2 * 2 * math.pi)
    assert torch.allclose(problem.log_f(x, v).exp(), start[:, 0], rtol=1e-12)
    end = (-0.5 * v**2 - 0.5 * x**2 - (2 * math.pi * x).cos()).exp() / (3.173556519139 * math.sqrt(2 * math.pi))
    assert torch.allclose(problem.stationary()(x, v).exp(), end[:, 0], rtol=1e-10)


def test_double_well_in_3d_is_a_product():
    three, one = VFPDoubleWell(3), VFPDoubleWell(1)
    x, v = three.sample(50, generator=torch.Generator().manual_seed(3))
    stationary = torch.stack([one.stationary()(x[:, a : a + 1], v[:, a : a + 1]) for a in range(3)]).sum(0)
    assert torch.allclose(three.stationary()(x, v), stationary, rtol=1e-12)
    # The first direction starts as in 1D, the others with a Maxwellian.
    rest = sum((-0.5 * (x[:, a] ** 2 + v[:, a] ** 2) - math.log(2 * math.pi)) for a in (1, 2))
    assert torch.allclose(three.log_f(x, v), one.log_f(x[:, :1], v[:, :1]) + rest, rtol=1e-12)


def test_periodic_potential_starts_and_ends_as_printed():
    problem = VFPPeriodic()
    x = torch.linspace(0, 1, 9, dtype=torch.float64)[:-1, None]
    v = torch.linspace(-3, 3, 8, dtype=torch.float64)[:, None]
    beams = ((-0.5 * (v + 1.5) ** 2).exp() + (-0.5 * (v - 1.5) ** 2).exp()) / (2 * math.sqrt(2 * math.pi))
    assert torch.allclose(problem.log_f(x, v).exp(), ((1 + 0.5 * (2 * math.pi * x).cos()) * beams)[:, 0], rtol=1e-12)
    end = (-0.5 * v**2 - 0.2 * (2 * math.pi * x).sin()).exp() / (i0(0.2) * math.sqrt(2 * math.pi))
    assert torch.allclose(problem.stationary()(x, v).exp(), end[:, 0], rtol=1e-12)
    assert torch.allclose(problem.potential.value(x), 0.2 * (2 * math.pi * x[:, 0]).sin(), atol=1e-15)


def test_beams_have_their_density_and_transverse_temperature():
    problem = VPFPBeams(3, epsilon=0.5)
    x, v = problem.initial.sample(20_000, generator=torch.Generator().manual_seed(4))
    k = 2 * math.pi / problem.length
    assert problem.k == pytest.approx(0.25)
    rho = problem.mass * (1 + 0.1 * (k * x[:, 0]).cos()) / (8 * math.pi)
    normal = [(-0.5 * (u / 0.3) ** 2).exp() / (0.3 * math.sqrt(2 * math.pi)) for u in (v[:, 0] - 1.5, v[:, 0] + 1.5)]
    rest = (-0.5 * v[:, 1:].square().sum(1) / 0.09).exp() / (0.09 * 2 * math.pi)
    assert torch.allclose(problem.log_f(x, v).exp(), rho * 0.5 * (normal[0] + normal[1]) * rest, rtol=1e-10)
    assert problem.transverse_variance(0.0) == pytest.approx(0.09, rel=1e-14)
    # d/dt Var = 2 eps (T0 - Var), with dt = 1e-5 to second order.
    slope = (problem.transverse_variance(1 + 1e-5) - problem.transverse_variance(1 - 1e-5)) / 2e-5
    assert slope == pytest.approx(2 * 0.5 * (1 - problem.transverse_variance(1.0)), rel=1e-8)


def test_the_printed_beams_are_drawn_from_the_printed_formula():
    problem = AsPrinted()
    x, v = problem.sample(20_000, generator=torch.Generator().manual_seed(5))
    Z = 8 * math.pi + 0.1 * math.sin(1.6 * math.pi) / 0.2  # the integral of 1 + 0.1 cos 0.2 x

    def beams(z, centre):
        return 0.5 * torch.special.erfc(-(torch.as_tensor(z) - centre) / (0.1 * math.sqrt(2))).numpy()

    def distribution(y):
        return (y + 0.5 * torch.sin(0.2 * torch.as_tensor(y)).numpy()) / Z

    assert kstest(x[:, 0].numpy(), distribution).pvalue > 1e-3
    assert kstest(v[:, 0].numpy(), lambda z: 0.5 * (beams(z, 0.3) + beams(z, -0.3))).pvalue > 1e-3
    assert (problem.mass, problem.cells, problem.dt, problem.t_end) == (1.0, 128, 0.01, 4.0)


@pytest.mark.parametrize(("problem", "k"), [(LandauDamping(0.4, 0.02), 0.4), (TwoStream(0.25, amplitude=0.02), 0.25)])
def test_waves_start_with_the_field_of_their_density(problem, k):
    """A quiet start has the mode a / 2 to rounding: i k E_k = rho_k, and no other mode."""
    x, _ = problem.sample(10_000, generator=torch.Generator().manual_seed(6))
    for mode in range(1, 6):
        phase = mode * k * x[:, 0]
        expected = 0.01 if mode == 1 else 0.0
        assert float(phase.cos().mean()) == pytest.approx(expected, abs=1e-12)
        assert float(phase.sin().mean()) == pytest.approx(0, abs=1e-12)
    assert problem.lengths == (pytest.approx(2 * math.pi / k),)
