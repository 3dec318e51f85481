"""Roots of the dispersion relation: published values, limits, and independent ways to the same rates."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from scipy.integrate import quad

from graphlandau.reference import dielectric, dominant_root, plasma_dispersion, roots


def streams(v0: float, sigma: float = 1.0) -> dict:
    return {"weights": (0.5, 0.5), "means": (-v0, v0), "deviations": (sigma, sigma)}


@pytest.mark.parametrize(
    ("k", "omega", "gamma"),
    [(0.3, 1.1598, -0.0126), (0.4, 1.2850, -0.0661), (0.5, 1.4156, -0.1533)],
)
def test_published_roots_of_landau_damping(k, omega, gamma):
    root = dominant_root(k)
    # Four decimals are printed, the last one cut off or rounded.
    assert root.real == pytest.approx(omega, abs=1e-4)
    assert root.imag == pytest.approx(gamma, abs=1e-4)
    assert abs(dielectric(root, k)) < 1e-12
    assert abs(dielectric(-root.conjugate(), k)) < 1e-12


@pytest.mark.parametrize(("v0", "growth"), [(2.4, 0.2258), (3.0, 0.2845)])
def test_published_growth_of_the_two_stream_instability(v0, growth):
    root = dominant_root(0.2, **streams(v0))
    assert root.imag == pytest.approx(growth, abs=1e-4)
    assert abs(root.real) < 1e-12  # purely growing, by symmetry
    assert abs(dielectric(root, 0.2, **streams(v0))) < 1e-12


def test_cold_beams_grow_fastest_at_the_known_wavenumber():
    """omega^2 = k^2 v0^2 + (1 - sqrt(1 + 8 k^2 v0^2)) / 2 without temperature: at most 1 / sqrt 8, at sqrt(3/8)."""
    fastest = math.sqrt(3 / 8)
    gap = [1 / math.sqrt(8) - dominant_root(fastest, **streams(1.0, sigma)).imag for sigma in (0.02, 0.01, 0.005)]
    # Thermal correction proportional to sigma^2.
    assert gap[2] == pytest.approx(0, abs=2e-5)
    assert gap[0] / gap[1] == pytest.approx(4, rel=0.02)
    assert gap[1] / gap[2] == pytest.approx(4, rel=0.02)
    for k in (0.2, 0.5, 0.55, 0.68, 0.9):
        cold = math.sqrt(0.5 * (math.sqrt(1 + 8 * k**2) - 1) - k**2)
        assert dominant_root(k, **streams(1.0, 1e-3)).imag == pytest.approx(cold, abs=1e-5)
        assert cold < 1 / math.sqrt(8)


def test_long_waves_follow_bohm_and_gross():
    """omega^2 = 1 + 3 k^2 + 6 k^4 + 24 k^6 + O(k^8) and a damping beyond all powers."""
    for k in (0.02, 0.05):
        root = dominant_root(k)
        # Iterating omega^2 = 1 + 3 a + 15 a^2 + 105 a^3 + ..., a = (k / omega)^2; the next terms are some 200 k^8.
        expected = 1 + 3 * k**2 + 6 * k**4 + 24 * k**6
        assert root.real**2 == pytest.approx(expected, abs=400 * k**8 + 1e-14)
        # exp(-1 / 2 k^2) over k^3: 3e-84 at k = 0.05.
        assert -1e-60 < root.imag <= 0


@pytest.mark.parametrize("zeta", [0.3 + 0.4j, -1.5 + 0.2j, 3.0 + 1.0j, 11.0 + 2.0j, 13.0 + 2.0j, 40.0 + 5.0j])
def test_plasma_dispersion_function_is_its_integral(zeta):
    def integrand(s: float) -> complex:
        return np.exp(-(s**2)) / (s - zeta) / math.sqrt(math.pi)

    Z = quad(integrand, -8, 8, complex_func=True, epsabs=1e-13, epsrel=1e-13, limit=400)[0]
    assert plasma_dispersion(zeta) == pytest.approx(Z, rel=1e-11)


def test_plasma_dispersion_function_is_continued_analytically():
    """Z' = -2 (1 + zeta Z) holds across the real axis: central differences in both directions."""
    zeta = np.array([0.5 + 0.01j, 0.5 - 0.01j, -1.2 - 0.8j, 2.0 - 1.5j])
    h = 1e-5
    for step in (h, 1j * h):
        slope = (plasma_dispersion(zeta + step) - plasma_dispersion(zeta - step)) / (2 * step)
        # h^2 times a third derivative of up to some 1e3 at 2 - 1.5i.
        assert np.allclose(slope, -2 * (1 + zeta * plasma_dispersion(zeta)), rtol=1e-6)


@pytest.mark.parametrize("direction", [1.0, 1.0 + 0.3j, 0.8 + 0.9j, -1.0 + 0.2j, 0.9 - 0.2j])
def test_dielectric_is_smooth_where_its_series_takes_over(direction):
    """Beyond |zeta| = 12 the series: the same value on both sides of the circle, and far out that of cold plasma."""
    unit = direction / abs(direction) * math.sqrt(2)
    inner, outer = (complex(dielectric(unit * radius, 1.0)) for radius in (12 - 1e-10, 12 + 1e-10))
    # The slope 1 / 12^3 over 2e-10, and the 144 units of 1e-16 that 1 + zeta Z loses inside.
    assert abs(inner - outer) < 3e-13
    if direction.imag >= 0:
        assert complex(dielectric(unit * 1000, 1.0)) == pytest.approx(1 - 1 / (unit * 1000) ** 2, rel=1e-10)


@pytest.mark.parametrize(
    ("k", "beams"), [(0.2, streams(2.4)), (0.2, streams(3.0)), (0.25, streams(1.5, 0.3)), (0.5, streams(1.5, 0.3))]
)
def test_growth_is_an_eigenvalue_of_the_linear_vlasov_equation(k, beams):
    """omega f = k v f - (f_0' / k) sum f dv on a grid of velocities: no dispersion function in it."""
    v = np.linspace(-12, 12, 501)
    p, u, s = (np.array(beams[key])[:, None] for key in ("weights", "means", "deviations"))
    slope = (-p * (v - u) / s**2 * np.exp(-0.5 * ((v - u) / s) ** 2) / (s * math.sqrt(2 * math.pi))).sum(0)
    operator = np.diag(k * v) - np.outer(slope, np.ones_like(v)) * (v[1] - v[0]) / k
    growth = np.linalg.eigvals(operator).imag.max()
    # The sum over the grid converges like exp(-2 pi gamma / (k dv)), below 1e-60 here.
    assert growth == pytest.approx(dominant_root(k, **beams).imag, abs=1e-10)


@pytest.mark.parametrize("k", [0.4, 0.5])
def test_damping_is_that_of_the_linear_vlasov_equation(k):
    """A damped wave is no eigenvalue, but what a perturbation leaves behind after its phases have mixed."""
    v = np.linspace(-7, 7, 401)
    maxwellian = np.exp(-0.5 * v**2) / math.sqrt(2 * math.pi)
    operator = np.diag(k * v) + np.outer(v * maxwellian, np.ones_like(v)) * (v[1] - v[0]) / k
    values, vectors = np.linalg.eig(operator)
    # Times far before the grid's recurrence at 2 pi / (k dv) > 350, far after the next modes have gone.
    start, times = np.linalg.solve(vectors, maxwellian.astype(complex)), np.arange(18.0, 30.0, 0.25)
    rho = np.array([(vectors @ (np.exp(-1j * values * t) * start)).sum().real for t in times])
    # e^{gamma t} cos(omega t + phi) obeys rho(t + h) + rho(t - h) e^{2 gamma h} = 2 e^{gamma h} cos(omega h) rho(t).
    (twice, square), *_ = np.linalg.lstsq(np.stack([rho[1:-1], -rho[:-2]], axis=1), rho[2:], rcond=None)
    gamma = math.log(square) / 0.5
    omega = math.acos(twice / (2 * math.sqrt(square))) / 0.25
    root = dominant_root(k)
    # The next root is damped at 0.88 (k = 0.4) and 1.14: e^{-0.8 * 18} is below 1e-6 of the signal.
    assert gamma == pytest.approx(root.imag, abs=1e-5)
    assert omega == pytest.approx(root.real, abs=1e-5)


@pytest.mark.parametrize(
    ("k", "beams"),
    [
        (0.5, {}),
        (0.2, streams(2.4)),
        (0.25, streams(1.5, 0.3)),
        (0.8, streams(1.5, 0.3)),
        (0.3, {"weights": (0.9, 0.1), "means": (0.0, 4.5), "deviations": (1.0, 0.5)}),
    ],
)
def test_no_growing_root_is_missed(k, beams):
    """The argument principle: D turns around 0 along the upper half plane once per growing root."""
    edge, low = 20.0, 1e-3
    corners = [-edge + low * 1j, edge + low * 1j, edge + edge * 1j, -edge + edge * 1j, -edge + low * 1j]
    path = np.concatenate([np.linspace(a, b, 40_001)[:-1] for a, b in pairwise(corners)])
    D = dielectric(path, k, **beams)
    turns = np.unwrap(np.angle(np.append(D, D[0])))
    winding = (turns[-1] - turns[0]) / (2 * math.pi)
    found = roots(k, **beams)
    assert winding == pytest.approx(round(winding), abs=1e-6)
    assert round(winding) == int((found.imag > low).sum())
    assert np.abs(dielectric(found, k, **beams)).max() < 1e-9
    assert bool((np.diff(found.imag) < 1e-7).all())  # sorted


def test_units_and_moving_frames():
    """Velocities in other units, another plasma frequency, and a drift that shifts every root by k u."""
    root = dominant_root(0.5)
    assert dominant_root(0.25, deviations=(2.0,)) == pytest.approx(root, rel=1e-11)
    assert dominant_root(1.0, density=4.0) == pytest.approx(2 * root, rel=1e-11)
    assert dominant_root(0.5, means=(3.0,)) == pytest.approx(root + 1.5, rel=1e-11)
    split = {"weights": (0.3, 0.7), "means": (0.0, 0.0), "deviations": (1.0, 1.0)}
    assert dominant_root(0.5, **split) == pytest.approx(root, rel=1e-11)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"k": 0.0}, r"'k' must be positive \(got 0.0\)"),
        ({"k": 0.5, "density": -1.0}, r"'density' must be positive \(got -1.0\)"),
        ({"k": 0.5, "deviations": (0.0,)}, r"'deviations' must be positive"),
        ({"k": 0.5, "weights": (0.4,)}, r"'weights' must have sum 1 \(got 0.4\)"),
        ({"k": 0.5, "weights": (1.5, -0.5), "means": (0.0, 1.0), "deviations": (1.0, 1.0)}, "'weights' must be pos"),
        ({"k": 0.5, "means": (0.0, 1.0)}, r"must be of one length, at least 1 \(got 1 weights, 2 means, 1 dev"),
    ],
)
def test_refuses_bad_plasmas(arguments, message):
    for function in (roots, dominant_root, lambda **rest: dielectric(1.0, **rest)):
        with pytest.raises(ValueError, match=message):
            function(**arguments)
