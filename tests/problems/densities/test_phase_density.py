"""Densities on phase space: mass, scores, moments of samples, and how evenly a quiet start spreads them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import kstest

from graphlandau.fields import RippledWell
from graphlandau.problems import Boltzmann, NormalMixture, PhaseDensity, PhaseGaussian, PhaseProduct, Ripple

NORMAL = NormalMixture([1.0], [0.0], [1.0])
BEAMS = NormalMixture([0.5, 0.5], [-1.5, 1.5], [0.3, 0.3])


class Sheared(PhaseDensity):
    """A density of one's own: N(x; 0, 1) N(v; x, 1), in the box of a line."""

    d_x, d = 1, 1

    def from_uniform(self, u):
        z = torch.special.ndtri(u)
        return z[:, :1], z[:, 1:] + z[:, :1]

    def log_prob(self, x, v):
        return -0.5 * (x.square() + (v - x).square()).sum(1) - math.log(2 * math.pi)


def correlated(d: int) -> PhaseGaussian:
    a = torch.randn(2 * d, 2 * d, generator=torch.Generator().manual_seed(d), dtype=torch.float64)
    covariance = 0.3 * a @ a.T + 0.5 * torch.eye(2 * d, dtype=torch.float64)
    return PhaseGaussian(torch.arange(2 * d, dtype=torch.float64) / 2, covariance, d_x=d)


DENSITIES: dict[str, PhaseDensity] = {
    "gaussian_1d": correlated(1),
    "gaussian_3d": correlated(3),
    "1d2v": PhaseGaussian([0.0, 1.0, 2.0], [[1.0, 0.2, 0.3], [0.2, 2.0, 0.1], [0.3, 0.1, 0.5]], d_x=1),
    "beams_1d1v": PhaseProduct([Ripple(8 * math.pi, 0.1)], [BEAMS]),
    "beams_1d3v": PhaseProduct([Ripple(8 * math.pi, 0.1)], [BEAMS, NORMAL, NORMAL]),
    "well_2d": PhaseProduct([Boltzmann(RippledWell(1.0, 1.0)), NORMAL], [NORMAL, BEAMS]),
}


def particles(f: PhaseDensity, n: int, seed: int = 0, loading="random"):
    return f.sample(n, generator=torch.Generator().manual_seed(seed), loading=loading)


@pytest.mark.parametrize("name", ["gaussian_1d", "beams_1d1v"])
def test_mass_and_moments_on_a_grid(name):
    """The trapezoid rule converges geometrically for smooth densities that are periodic or decay."""
    f = DENSITIES[name]
    period = f.periods[0]
    x = torch.linspace(-15, 15, 601, dtype=torch.float64)
    x = x if period is None else torch.arange(64, dtype=torch.float64) * period / 64
    v = torch.linspace(-15, 15, 1201, dtype=torch.float64)
    points = torch.cartesian_prod(x, v)
    w = f.log_prob(points[:, :1], points[:, 1:]).exp() * float((x[1] - x[0]) * (v[1] - v[0]))
    assert float(w.sum()) == pytest.approx(1, abs=1e-12)
    if period is None:
        m = w @ points
        assert torch.allclose(m, f.mean, atol=1e-11)
        assert torch.allclose((w[:, None] * (points - m)).T @ (points - m), f.covariance, atol=1e-11)


@pytest.mark.parametrize("name", DENSITIES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-4)])
def test_score_is_the_velocity_gradient(name, dtype, tolerance):
    f = DENSITIES[name]
    x, v = (each.to(dtype) for each in particles(f, 200))
    w = v.clone().requires_grad_(True)
    (expected,) = torch.autograd.grad(f.log_prob(x, w).sum(), w)
    score = f.score_v(x, v)
    assert score.dtype == f.log_prob(x, v).dtype == dtype
    assert torch.allclose(score, expected, rtol=tolerance, atol=tolerance * float(expected.abs().max()))
    with torch.no_grad():
        assert torch.allclose(PhaseDensity.score_v(f, x, v), expected, rtol=tolerance, atol=tolerance)


def test_score_of_the_beams_by_hand():
    """-(v - u_j) / sigma^2 weighted by the share of the beams: tanh for two of them."""
    x, v = particles(DENSITIES["beams_1d3v"], 100)
    s2 = 0.3**2
    expected = torch.cat([(1.5 * torch.tanh(1.5 * v[:, :1] / s2) - v[:, :1]) / s2, -v[:, 1:]], dim=1)
    assert torch.allclose(DENSITIES["beams_1d3v"].score_v(x, v), expected, rtol=1e-10)


@pytest.mark.parametrize("loading", ["random", "quiet"])
@pytest.mark.parametrize("name", DENSITIES)
def test_samples_have_the_exact_first_two_moments(name, loading):
    """Within four standard errors; 200 entries are compared, of which 0.01 fall outside by chance."""
    f = DENSITIES[name]
    n = 40_000
    z = torch.cat(particles(f, n, seed=1, loading=loading), dim=1)
    assert z.dtype == torch.float64
    assert z.shape == (n, f.d_x + f.d)
    y = z - f.mean
    assert bool((y.mean(0).abs() < 4 * y.std(0) / math.sqrt(n)).all())
    second = y[:, :, None] * y[:, None, :]
    assert bool(((second.mean(0) - f.covariance).abs() < 4 * second.std(0) / math.sqrt(n)).all())


@pytest.mark.parametrize("name", DENSITIES)
def test_mean_log_density_of_samples_agrees_between_loadings(name):
    """<log f> over samples and over evenly spread particles: ties sampler and density together."""
    f = DENSITIES[name]
    n = 40_000
    log_f = f.log_prob(*particles(f, n, seed=2))
    quiet = f.log_prob(*particles(f, n, seed=3, loading="quiet"))
    assert abs(float(log_f.mean() - quiet.mean())) < 4 * float(log_f.std()) / math.sqrt(n)


def test_the_default_sampler_serves_a_density_of_ones_own():
    f = Sheared()
    x, v = particles(f, 20_000, loading="quiet")
    covariance = torch.cov(torch.cat([x, v], dim=1).T)
    # Quiet: off by some 1 / n times the spread of the squares, far below the 0.01 of random particles.
    assert torch.allclose(covariance, torch.tensor([[1.0, 1.0], [1.0, 2.0]], dtype=torch.float64), atol=2e-3)
    assert torch.allclose(f.score_v(x, v), x - v)
    assert (f.periods, f.mean, f.covariance) == ((None,), None, None)


def test_one_particle_of_a_quiet_start_is_distributed_as_the_density():
    """Shift and scrambling make each particle alone exact: the first one over 400 seeds."""
    first = [torch.cat(particles(PhaseProduct([NORMAL], [NORMAL]), 1, s, "quiet"), 1) for s in range(400)]
    z = torch.cat(first)
    for a in range(2):
        assert kstest(z[:, a].numpy(), "norm").pvalue > 1e-3


def mode_errors(loading: str, n: int, seeds: int = 8) -> np.ndarray:
    """Root mean square error over seeds of Fourier modes 1, 2, 3 of the density, at once and after streaming."""
    k, a, v0 = 0.2, 1e-3, 2.4
    beams = NormalMixture([0.5, 0.5], [-v0, v0], [1.0, 1.0])
    f = PhaseProduct([Ripple(2 * math.pi / k, a)], [beams])
    errors = []
    for seed in range(seeds):
        x, v = particles(f, n, seed, loading)
        row = []
        for t in (0.0, 1.0, 3.0):
            for m in (1, 2, 3):
                phase = m * k * (x + v * t)
                # <exp(i m k (x + v t))> = rho_m <exp(i m k v t)>; only mode 1 of the density is not 0.
                beam = math.exp(-0.5 * (m * k * t) ** 2) * math.cos(m * k * t * v0)
                exact = 0.5 * a * beam if m == 1 else 0.0
                row.append(abs(complex(phase.cos().mean(), phase.sin().mean()) - exact))
        errors.append(row)
    return np.sqrt(np.mean(np.square(errors), axis=0))


def test_noise_of_a_quiet_start_falls_like_one_over_n():
    n = np.array([4_000, 8_000, 16_000, 32_000])
    quiet = np.stack([mode_errors("quiet", int(each)) for each in n])
    # Even spacing through a smooth periodic map sums an analytic function: nothing but rounding remains.
    assert quiet[:, :3].max() < 1e-14
    streamed = np.sqrt(np.mean(quiet[:, 3:] ** 2, axis=1))
    slope = np.polyfit(np.log(n), np.log(streamed), 1)[0]
    # Discrepancy log n / n in two dimensions: -1 up to logarithms, with the scatter of eight seeds.
    assert -1.4 < slope < -0.85
    random = np.stack([mode_errors("random", int(each)) for each in n])
    slope = np.polyfit(np.log(n), np.log(np.sqrt(np.mean(random**2, axis=1))), 1)[0]
    assert -0.65 < slope < -0.35
    assert streamed[-1] < 0.02 * random[-1].mean()


@pytest.mark.parametrize("name", ["beams_1d1v", "beams_1d3v"])
def test_quiet_velocities_do_not_know_the_positions(name):
    """Correlations of (x, cos kx, sin kx) with (v, |v|, v^2) of the first velocity: about 1 / n, not 1 / sqrt(n)."""
    f, n = DENSITIES[name], 20_000
    k = 2 * math.pi / f.periods[0]
    for seed in range(3):
        x, v = particles(f, n, seed, "quiet")
        left = torch.cat([x, (k * x).cos(), (k * x).sin(), v[:, 1:]], dim=1)
        right = torch.cat([v[:, :1], v[:, :1].abs(), v[:, :1].square()], dim=1)
        table = torch.corrcoef(torch.cat([left, right], dim=1).T)[: left.size(1), left.size(1) :]
        # The lattice of (x, v_1) does not know the Sobol sequence of the transverse velocities: these are as random,
        # four standard errors at most. Within the lattice correlations are up to 4 / n.
        assert float(table[:3].abs().max()) < 20 / n
        assert float(table.abs().max()) < 4 / math.sqrt(n)


def test_loading_repeats_with_the_seed_and_only_with_it():
    for f in DENSITIES.values():
        for loading in ("random", "quiet"):
            a, b, c = (torch.cat(particles(f, 100, seed, loading), 1) for seed in (5, 5, 6))
            assert torch.equal(a, b)
            assert not bool((a == c).any())
        assert not torch.equal(torch.cat(particles(f, 100, 5, "random"), 1), a)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PhaseProduct([], [NORMAL]), r"'x' must have at least one .*\(got 0 positions, 1 velocities\)"),
        (lambda: PhaseProduct([NORMAL] * 2, [NORMAL]), r"at most as many as 'v' \(got 2 positions, 1 velocities\)"),
        (lambda: PhaseProduct([NORMAL], [Ripple(1.0, 0.1)]), r"'v' must not be periodic \(got periods \[1.0\]\)"),
        (lambda: PhaseGaussian([0.0, 0.0], [[1.0, 0.0], [0.0, 1.0]], d_x=2), "'d_x' must be at most half of the 2"),
        (lambda: PhaseGaussian([0.0, 0.0], [[1.0, 0.0], [0.0, 1.0]], d_x=0), "'d_x' must be an integer >= 1"),
        (lambda: PhaseGaussian([0.0, 0.0], [[1.0, 2.0], [2.0, 1.0]], d_x=1), "'covariance' must be symmetric pos"),
        (lambda: particles(DENSITIES["1d2v"], 0), r"'n' must be an integer >= 1 \(got 0\)"),
        (lambda: particles(DENSITIES["1d2v"], 5, loading="sobol"), "'loading' must be one of random, quiet"),
    ],
)
def test_refuses_bad_phase_densities(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("name", ["1d2v", "beams_1d3v"])
def test_refuses_particles_of_another_shape(name):
    f = DENSITIES[name]
    x, v = particles(f, 5)
    for evaluate in (f.log_prob, f.score_v):
        with pytest.raises(ValueError, match=r"'v' must have shape \(N, [23]\) \(got \(5, 1\)\)"):
            evaluate(x, x)
        with pytest.raises(ValueError, match=r"'x' must have shape \(5, 1\) and dtype torch.float64, as 'v' \(got \(4"):
            evaluate(x[:4], v)
        with pytest.raises(ValueError, match=r"'x' must have shape .* \(got \(5, 1\), torch.float32\)"):
            evaluate(x.float(), v)
