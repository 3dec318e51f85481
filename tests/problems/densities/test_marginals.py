"""Densities of one coordinate: distribution function, quantiles and moments against quadrature and closed forms."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from scipy.integrate import quad
from scipy.special import i0, i1
from scipy.stats import norm

from graphlandau.fields import Potential, RippledWell
from graphlandau.problems import Boltzmann, Marginal, NormalMixture, Ripple

WELL = RippledWell(stiffness=1.0, amplitude=1.0, wavenumber=2 * math.pi)
SINE = RippledWell(amplitude=0.2, wavenumber=2 * math.pi, phase=math.pi / 2)


class Quartic(Potential):
    """A potential of one's own, whose minimum is far from the origin."""

    def value(self, x):
        return (0.25 * (x - 30.0) ** 4).sum(1)


MARGINALS: dict[str, tuple[Marginal, float, float]] = {
    "normal": (NormalMixture([1.0], [0.5], [2.0]), -18.0, 19.0),
    "beams": (NormalMixture([0.5, 0.5], [-1.5, 1.5], [0.3, 0.3]), -5.0, 5.0),
    "apart": (NormalMixture([0.2, 0.5, 0.3], [-6.0, 0.0, 9.0], [0.2, 1.0, 0.5]), -10.0, 14.0),
    "ripple": (Ripple(8 * math.pi, 0.1), 0.0, 8 * math.pi),
    "steep": (Ripple(2.0, 0.999, 3), 0.0, 2.0),
    "flat": (Ripple(3.0, 0.0), 0.0, 3.0),
    "jump": (Ripple(8 * math.pi, 0.1, 0.8, jump=True), 0.0, 8 * math.pi),
    "well": (Boltzmann(WELL), -10.0, 10.0),
    "cold": (Boltzmann(WELL, temperature=0.1), -6.0, 6.0),
    "sine": (Boltzmann(SINE, 1.0), 0.0, 1.0),
    "quartic": (Boltzmann(Quartic()), 24.0, 36.0),
}


def grid(low: float, high: float, n: int = 20_001) -> torch.Tensor:
    return torch.linspace(low, high, n, dtype=torch.float64)


@pytest.mark.parametrize("name", MARGINALS)
def test_mass_mean_variance_by_adaptive_quadrature(name):
    p, low, high = MARGINALS[name]

    def moment(power: int, centre: float = 0.0) -> float:
        def integrand(x: float) -> float:
            return (x - centre) ** power * float(p.log_prob(torch.tensor([x], dtype=torch.float64)).exp())

        # In pieces, as the rule could miss a narrow peak; each is asked for 1e-13.
        pieces = pairwise([low + (high - low) * i / 40 for i in range(41)])
        return math.fsum(quad(integrand, a, b, epsabs=1e-13, epsrel=1e-13)[0] for a, b in pieces)

    assert moment(0) == pytest.approx(1, abs=1e-11)
    if p.mean is not None:
        assert moment(1) == pytest.approx(p.mean, rel=1e-10, abs=1e-10)
        assert moment(2, p.mean) == pytest.approx(p.variance, rel=1e-10)


@pytest.mark.parametrize("name", MARGINALS)
def test_density_is_the_derivative_of_the_distribution_function(name):
    p, low, high = MARGINALS[name]
    x = grid(low, high, 2001)[1:-1]
    h = 1e-4 * (high - low)
    # Fourth-order differences of a function known to about 1e-15: rounding 1e-15 / h, and the scale of the density.
    slope = (8 * (p.cdf(x + h) - p.cdf(x - h)) - (p.cdf(x + 2 * h) - p.cdf(x - 2 * h))) / (12 * h)
    inside = (x - 2 * h > low) & (x + 2 * h < high)
    density = p.log_prob(x).exp()
    assert torch.allclose(slope[inside], density[inside], rtol=1e-5, atol=1e-8 * float(density.max()))
    ends = p.cdf(torch.tensor([low, high], dtype=torch.float64))
    assert torch.allclose(ends, torch.tensor([0.0, 1.0], dtype=torch.float64), atol=1e-13)


@pytest.mark.parametrize("name", MARGINALS)
def test_quantiles_invert_the_distribution_function(name):
    p, low, high = MARGINALS[name]
    g = torch.Generator().manual_seed(0)
    tails = torch.tensor([2.0**-54, 1e-12, 1e-6, 1e-3, 0.5, 1 - 1e-6, 1 - 2.0**-53], dtype=torch.float64)
    u = torch.cat([torch.rand(5000, generator=g, dtype=torch.float64), tails])
    x = p.icdf(u)
    # The distribution function itself is good to some 1e-15.
    assert float((p.cdf(x) - u).abs().max()) < 2e-14
    assert bool((x.argsort(stable=True) == u.argsort(stable=True)).all())
    if p.period is not None:
        assert bool(((x >= 0) & (x < p.period)).all())
    # And back, where the density is not so small that places cannot be told apart.
    y = grid(low, high, 1001)[1:-1]
    y = y[p.log_prob(y) > -10]
    assert float((p.icdf(p.cdf(y)) - y).abs().max()) < 1e-10


def test_left_tail_of_the_normal_keeps_its_relative_accuracy():
    """Right of the centre 1 - u has only 16 digits; left of it quantiles are those of scipy to 1e-13."""
    u = torch.tensor([1e-300, 1e-100, 1e-15, 1e-3], dtype=torch.float64)
    two = NormalMixture([0.5, 0.5], [0.0, 0.0], [1.0, 1.0])
    assert torch.allclose(two.icdf(u), torch.from_numpy(norm.ppf(u.numpy())), rtol=1e-13, atol=0)


def test_log_density_follows_the_dtype():
    for p, low, high in MARGINALS.values():
        x = grid(low, high, 11)[1:-1]
        single = p.log_prob(x.float())
        assert single.dtype == torch.float32
        # Positions are rounded too: error = slope * 6e-8 |x|, with slopes of some 100 far out.
        assert torch.allclose(single.double(), p.log_prob(x), rtol=1e-4, atol=1e-4)


def test_partition_functions_have_their_closed_forms():
    """exp(-A cos) averages to the Bessel function; the parabola with ripples is a theta-like sum over them."""
    # Jacobi-Anger: integral of exp(-x^2/2 - cos 2 pi x) = sqrt(2 pi) sum_n (-1)^n I_n(1) exp(-(2 pi n)^2 / 2).
    series = math.sqrt(2 * math.pi) * (i0(1.0) - 2 * i1(1.0) * math.exp(-2 * math.pi**2))
    assert math.exp(Boltzmann(WELL).log_norm) == pytest.approx(series, rel=1e-12)
    assert math.exp(Boltzmann(WELL).log_norm) == pytest.approx(3.173556519139, abs=1e-10)
    assert math.exp(Boltzmann(SINE, 1.0).log_norm) == pytest.approx(i0(0.2), rel=1e-14)
    assert math.exp(Boltzmann(SINE, 4.0, temperature=0.5).log_norm) == pytest.approx(4 * i0(0.4), rel=1e-14)
    by_quad = quad(lambda x: math.exp(-0.25 * x**4), -8, 8, epsabs=1e-13, epsrel=1e-13)[0]
    assert math.exp(Boltzmann(Quartic()).log_norm) == pytest.approx(by_quad, rel=1e-12)


def test_wave_of_a_ripple_has_its_fourier_coefficient():
    """<cos 2 pi m x / L> = a / 2, and every other coefficient of an integer mode is 0: the rule is exact for them."""
    n = 64
    for a, m in ((0.3, 1), (0.9, 3)):
        p = Ripple(5.0, a, m)
        x = torch.arange(n, dtype=torch.float64) * 5.0 / n
        coefficients = torch.fft.rfft(p.log_prob(x).exp()) * 5.0 / n
        expected = torch.zeros(n // 2 + 1, dtype=torch.complex128)
        expected[0], expected[m] = 1, a / 2
        assert torch.allclose(coefficients, expected, atol=1e-14)


class Cliff(Potential):
    """No confinement: a slope."""

    def value(self, x):
        return x[:, 0]


class Noise(Potential):
    """Too rough for any quadrature."""

    def value(self, x):
        return torch.sin(1e9 * x[:, 0] ** 2)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: NormalMixture([], [], []), r"must be of one length, at least 1 \(got 0 weights"),
        (lambda: NormalMixture([1.0], [0.0, 1.0], [1.0]), "must be of one length, .* 2 means"),
        (lambda: NormalMixture([0.0], [0.0], [1.0]), r"'weights' must be positive \(got 0.0\)"),
        (lambda: NormalMixture([1.0], [math.nan], [1.0]), r"'means' must be a finite number \(got nan\)"),
        (lambda: NormalMixture([1.0], [0.0], [-1.0]), r"'deviations' must be positive \(got -1.0\)"),
        (lambda: Ripple(0.0, 0.1), r"'length' must be positive \(got 0.0\)"),
        (lambda: Ripple(1.0, 1.0), r"'amplitude' must be in \[0, 1\) \(got 1\)"),
        (lambda: Ripple(1.0, -0.1), r"'amplitude' must be in \[0, 1\) \(got -0.1\)"),
        (lambda: Ripple(1.0, 0.1, 0.8), r"'mode' must be an integer >= 1 \(got 0.8\)"),
        (lambda: Ripple(1.0, 0.1, 0.0, jump=True), r"'mode' must be positive \(got 0.0\)"),
        (lambda: Boltzmann(torch.nn.Identity()), r"'potential' must be a Potential \(got Identity\)"),
        (lambda: Boltzmann(WELL, -1.0), r"'length' must be positive \(got -1.0\)"),
        (lambda: Boltzmann(WELL, temperature=0.0), r"'temperature' must be positive \(got 0.0\)"),
        (lambda: Boltzmann(Cliff()), "'potential' must confine where there is no box"),
        (lambda: Boltzmann(SINE), "'potential' must confine where there is no box"),
        (lambda: Boltzmann(Noise(), 1.0), "'potential' must be smooth enough"),
    ],
)
def test_refuses_bad_marginals(make, message):
    with pytest.raises(ValueError, match=message):
        make()
