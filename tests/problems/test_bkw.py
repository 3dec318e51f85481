"""BKW: it solves the Landau equation, with these strengths and this clock."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.special import digamma
from scipy.stats import kstest

from graphlandau.problems import BKW, BKWDensity, Problem


def quadrature(d: int) -> tuple[torch.Tensor, float]:
    """Nodes and cell volume of a trapezoidal rule, spectrally accurate for these densities."""
    axis = torch.linspace(-8, 8, {2: 81, 3: 49}[d], dtype=torch.float64)
    return torch.cartesian_prod(*[axis] * d), float(axis[1] - axis[0]) ** d


def flux(f: BKWDensity, strength: float, v: torch.Tensor) -> torch.Tensor:
    """f U at v by quadrature of -int A(v - w) [f(w) grad f(v) - f(v) grad f(w)] dw, all from log_prob."""
    w, cell = quadrature(f.d)
    fw, fv = f.log_prob(w).exp(), f.log_prob(v).exp()
    # grad f = f s; finite at a zero of f, where log f has no gradient.
    grad_fw = fw[:, None] * f.score(w)
    grad_fv = fv[:, None] * f.score(v)
    z = v[:, None] - w
    u = fw[None, :, None] * grad_fv[:, None] - fv[:, None, None] * grad_fw
    return -strength * cell * ((z * z).sum(2, keepdim=True) * u - z * (z * u).sum(2, keepdim=True)).sum(1)


@pytest.mark.parametrize(
    ("d", "strength", "t"),
    [(2, None, 0.1), (2, None, 2.0), (2, 0.3, 1.0), (3, None, 5.6), (3, 1 / 12, 3.0)],
)
def test_solves_the_landau_equation(d, strength, t):
    """df/dt = -div(f U), with the right side by quadrature: this fixes strength and time together."""
    problem = BKW(d=d, strength=strength, t_start=3.0 if strength == 1 / 12 else None)
    f = problem.density(t)
    v = f.sample(6, generator=torch.Generator().manual_seed(0))
    h = 1e-3
    stencil = {-2: 1 / 12, -1: -2 / 3, 1: 2 / 3, 2: -1 / 12}
    df_dt = sum(c * problem.log_prob(v, t + k * h).exp() for k, c in stencil.items()) / h
    divergence = torch.zeros_like(df_dt)
    for a in range(d):
        step = h * torch.eye(d, dtype=torch.float64)[a]
        for k, c in stencil.items():
            divergence += c * flux(f, problem.strength, v + k * step)[:, a] / h
    # Fourth-order differences of step 1e-3: truncation 1e-12, rounding 1e-13 relative to f / h.
    assert torch.allclose(df_dt, -divergence, rtol=1e-7, atol=1e-10)
    assert float(df_dt.abs().max()) > 1e-4


@pytest.mark.parametrize(("d", "t"), [(2, 0.0), (2, 1.0), (3, 5.5), (3, 9.5)])
def test_squared_speed_follows_its_distribution(d, t):
    """Kolmogorov-Smirnov of |v|^2 against the CDF integrated from log_prob, not from the mixture."""
    problem = BKW(d=d)
    r = torch.linspace(0, 9, 20_001, dtype=torch.float64)
    v = torch.zeros(r.numel(), d, dtype=torch.float64)
    v[:, 0] = r
    shell = 2 * math.pi ** (d / 2) / math.gamma(d / 2) * r ** (d - 1) * problem.log_prob(v, t).exp()
    cdf = torch.cat([torch.zeros(1, dtype=torch.float64), torch.cumulative_trapezoid(shell, r)])
    assert float(cdf[-1]) == pytest.approx(1, abs=1e-6)
    speed = problem.sample(20_000, generator=torch.Generator().manual_seed(1), t=t).norm(dim=1).numpy()
    # The rejection level; the seed is fixed, a sampler without the mixture has p < 1e-100.
    assert kstest(speed, lambda x: np.interp(x, r.numpy(), cdf.numpy())).pvalue > 1e-3


@pytest.mark.parametrize(("d", "t"), [(2, 0.0), (2, 3.0), (3, 5.5), (3, 7.0)])
def test_moments_of_samples(d, t):
    """Unit covariance at every time, fourth moment d (d + 2) (1 - (1 - K)^2), mean direction zero."""
    problem = BKW(d=d)
    n = 50_000
    v = problem.sample(n, generator=torch.Generator().manual_seed(2), t=t)
    K = problem.density(t).K
    expected = {2: d, 4: d * (d + 2) * (1 - (1 - K) ** 2)}
    for power, value in expected.items():
        x = v.norm(dim=1) ** power
        assert abs(float(x.mean()) - value) < 5 * float(x.std()) / math.sqrt(n)
    direction = v / v.norm(dim=1, keepdim=True)
    # The mean direction has variance 1/d per component, uncorrelated with the speed.
    assert bool((direction.mean(0).abs() < 5 / math.sqrt(d * n)).all())
    speed = v.norm(dim=1) - v.norm(dim=1).mean()
    assert bool(((speed[:, None] * direction).mean(0).abs() < 5 * speed.std() / math.sqrt(d * n)).all())


def test_initial_density_in_2d_is_the_closed_form():
    v = torch.randn(50, 2, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    square = v.square().sum(1)
    assert torch.allclose(BKW(d=2).log_prob(v).exp(), square * torch.exp(-square) / math.pi, rtol=1e-13, atol=0)


def test_entropy_against_closed_forms():
    """|v|^2 ~ Gamma(2, 1) at K = 1/2 in 2D, the Maxwellian at K = 1."""
    assert BKWDensity(2, 0.5).entropy() == pytest.approx(digamma(2) - 2 - math.log(math.pi), abs=1e-11)
    for d in (2, 3, 10):
        maxwellian = -0.5 * d * (1 + math.log(2 * math.pi))
        assert BKWDensity(d, 1.0).entropy() == pytest.approx(maxwellian, abs=1e-11)


def test_entropy_falls_to_the_maxwellian():
    for problem in (BKW(d=2), BKW(d=3)):
        times = torch.linspace(problem.t_start, problem.t_start + 20, 20).tolist()
        H = [problem.density(t).entropy() for t in times]
        assert all(a > b for a, b in pairwise(H))
        # The excess is O((1 - K)^4): the covariance never differs from that of the Maxwellian.
        assert problem.density(times[-1] + 60).entropy() == pytest.approx(
            BKWDensity(problem.d, 1.0).entropy(), abs=1e-9
        )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_zero_of_the_density_at_the_origin(dtype):
    """At t = 0 in 2D f vanishes at the origin: value and gradient of the score stay finite, log f is -inf."""
    problem = BKW(d=2)
    origin = torch.zeros(1, 2, dtype=dtype)
    assert torch.equal(problem.score(origin), origin)
    assert float(problem.log_prob(origin)) == -math.inf
    x = origin.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(problem.score(x).sum(), x)
    assert bool(torch.isfinite(gradient).all())
    tiny = torch.tensor([[1e-12, 0.0]], dtype=dtype)
    assert float(problem.score(tiny)[0, 0]) == pytest.approx(2e12, rel=1e-5)


def test_strength_only_rescales_time():
    """K depends on C t alone."""
    v = torch.randn(20, 2, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    assert torch.allclose(BKW(d=2, strength=1.0).log_prob(v, 0.25), BKW(d=2).log_prob(v, 4.0), rtol=1e-13)


def test_covariance_is_the_identity():
    for problem in (BKW(d=2), BKW(d=3)):
        eye = torch.eye(problem.d, dtype=torch.float64)
        assert torch.equal(problem.initial.covariance, eye)
        assert torch.allclose(problem.covariance(problem.t_end), eye, atol=1e-15)


def test_defaults_are_the_papers():
    for problem, strength, t_start, t_end, particles in [
        (BKW(d=2), 1 / 16, 0.0, 5.0, 22_500),
        (BKW(d=3), 1 / 24, 5.5, 6.0, 64_000),
    ]:
        assert isinstance(problem, Problem)
        assert problem.name == f"bkw_{problem.d}d"
        assert (problem.gamma, problem.strength, problem.dt) == (0.0, strength, 0.01)
        assert (problem.t_start, problem.t_end, problem.particles) == (t_start, t_end, particles)
        assert problem.bandwidth == 0.15
    assert BKW(d=2).grid == (4.0, 100)


def test_the_first_admissible_time_is_admissible():
    """P is 0 there up to rounding: not refused, not negative."""
    for strength in (1 / 24, 0.1, 1.0):
        first = math.log(2.5) / (4 * strength)
        problem = BKW(d=3, strength=strength, t_start=first, t_end=first + 1)
        assert 0 <= problem.initial.P < 1e-12


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"d": 4}, r"'d' must be 2 or 3 for BKW \(got 4\)"),
        ({"d": 3, "t_start": 5.0}, r"'t_start' must be at least 5.49\d+: .* negative .* \(got 5\)"),
        ({"d": 3, "strength": 0.01}, r"'t_start' must be at least 22.9"),
        ({"d": 2, "t_start": -1.0}, r"'t_start' must be at least 0: "),
        ({"d": 2, "t_start": math.nan}, "'t_start' must be a finite number"),
        ({"d": 2, "t_start": 6.0}, r"'t_end' must be after t_start = 6 \(got 5\)"),
        ({"d": 2, "strength": -1.0}, r"'strength' must be positive \(got -1.0\)"),
        ({"d": 2, "strength": 0.0}, r"'strength' must be positive \(got 0.0\)"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        BKW(**arguments)


def test_times_before_the_first_are_refused():
    with pytest.raises(ValueError, match=r"'t' must be at least 5.49\d+: .* \(got 5.4\)"):
        BKW(d=3).density(5.4)
    with pytest.raises(ValueError, match="'K' must be in"):
        BKWDensity(2, 0.4)
    with pytest.raises(ValueError, match="'K' must be in"):
        BKWDensity(2, 1.1)


@pytest.mark.parametrize(("d", "t_end"), [(2, 2.0), pytest.param(3, 6.5, marks=pytest.mark.slow)])
def test_characteristics_follow_the_exact_drift(d, t_end):
    """Against Runge-Kutta steps along f U / f, with f U by quadrature."""
    problem = BKW(d=d)
    v0 = problem.sample(5, generator=torch.Generator().manual_seed(1))
    v, t, steps = v0.clone(), problem.t_start, 40
    dt = (t_end - problem.t_start) / steps

    def drift(v, t):
        f = problem.density(t)
        return flux(f, problem.strength, v) / f.log_prob(v).exp()[:, None]

    for _ in range(steps):
        a = drift(v, t)
        b = drift(v + 0.5 * dt * a, t + 0.5 * dt)
        c = drift(v + 0.5 * dt * b, t + 0.5 * dt)
        e = drift(v + dt * c, t + dt)
        v, t = v + dt / 6 * (a + 2 * b + 2 * c + e), t + dt
    # Fourth order with dt * rate below 0.01: 1e-9; the particles move by a hundred million times that.
    assert torch.allclose(problem.characteristics(v0, t_end), v, rtol=0, atol=1e-8)
    assert float((v - v0).norm(dim=1).max()) > 0.02


@pytest.mark.parametrize("d", [2, 3])
def test_characteristics_carry_the_density(d):
    """Samples of the start are samples of the end, and far out and at the origin nothing is lost."""
    problem = BKW(d=d)
    v0 = problem.sample(4000, generator=torch.Generator().manual_seed(2))
    t = problem.t_end
    moved = problem.characteristics(v0, t)
    exact = problem.density(t)
    # 1 % significance for one fixed seed.
    assert kstest(moved.norm(dim=1).numpy(), lambda r: exact.radial_mass(torch.as_tensor(r))[0].numpy()).pvalue > 0.01
    assert torch.equal(problem.characteristics(torch.zeros(1, d, dtype=torch.float64), t), torch.zeros(1, d).double())
    far = torch.eye(d, dtype=torch.float64)[:1] * 12.0
    _, outside = problem.density(problem.t_start).radial_mass(torch.tensor([12.0], dtype=torch.float64))
    assert 0 < float(outside) < 1e-25
    radius = problem.characteristics(far, t).norm(dim=1)
    assert torch.allclose(exact.radial_mass(radius)[1], outside, rtol=1e-9)
    assert torch.allclose(problem.characteristics(far, problem.t_start), far, rtol=1e-12)
    assert Problem.characteristics(problem, v0, t) is None
