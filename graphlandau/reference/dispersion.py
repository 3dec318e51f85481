"""Linear electrostatic waves in a collisionless plasma of Maxwellian beams: the roots of the dispersion relation."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Complex
from scipy.special import wofz

from graphlandau.base.errors import InvalidArgument
from graphlandau.base.validation import require_positive

__all__ = ["dielectric", "dominant_root", "plasma_dispersion", "roots"]

# Newton's starts over the strip of frequencies (real parts, imaginary parts), its steps, and when a root is one:
# the residual against the factors before the beams' terms, and the distance below which two roots are the same.
_STARTS = (65, 33)
_STEPS = 60
_RESIDUAL = 1e-13
_SAME = 1e-8
# Beyond this |zeta| the asymptotic series has its full precision with this many terms.
_FAR = 12.0
_SERIES = 11


def plasma_dispersion(zeta: complex | float | np.ndarray) -> Complex[np.ndarray, "..."]:
    r"""Plasma dispersion function of Fried and Conte.

    .. math::
        Z(\zeta) = \frac{1}{\sqrt{\pi}} \int \frac{e^{-s^2}}{s - \zeta} \, ds, \qquad
        Z(\zeta) = i \sqrt{\pi} \, w(\zeta), \qquad Z' = -2 (1 + \zeta Z)

    the integral for :math:`\operatorname{Im} \zeta > 0`, continued analytically below the real axis, where damped waves
    live.

    Example:
        >>> print(f"{plasma_dispersion(1.0):.6f}")
        -1.076159+0.652049j

    Reference: Fried and Conte, The Plasma Dispersion Function, Academic Press 1961.
    """
    return np.asarray(1j * math.sqrt(math.pi) * wofz(np.asarray(zeta, dtype=complex)))


def dielectric(
    omega: complex | float | np.ndarray,
    k: float,
    *,
    weights: Sequence[float] = (1.0,),
    means: Sequence[float] = (0.0,),
    deviations: Sequence[float] = (1.0,),
    density: float = 1.0,
) -> Complex[np.ndarray, "..."]:
    r"""Dielectric function of electrons in Maxwellian beams on a fixed background.

    .. math::
        D(\omega, k) = 1 - \frac{n}{k^2} \int \frac{f_0'(v)}{v - \omega / k} \, dv
        = 1 + \sum_j \frac{n p_j}{k^2 \sigma_j^2} \left( 1 + \zeta_j Z(\zeta_j) \right), \qquad
        \zeta_j = \frac{\omega / k - u_j}{\sqrt{2} \, \sigma_j}

    for :math:`f_0 = \sum_j p_j N(u_j, \sigma_j^2)`. A disturbance :math:`e^{i (k x - \omega t)}` is a solution where
    :math:`D = 0`. Dimensionless: the plasma frequency is :math:`\sqrt{n}`.

    Args:
        omega: Complex frequencies, any shape.
        k: Wavenumber.
        weights: :math:`p_j`, of sum 1.
        means: :math:`u_j`.
        deviations: :math:`\sigma_j`.
        density: :math:`n`, the mean density.

    Raises:
        ValueError: If ``k``, ``density``, a weight or a deviation is not positive, or the lengths differ.

    Example:
        >>> print(f"{abs(dielectric(1.4156618886 - 0.1533594669j, 0.5)):.0e}")
        3e-11

    Reference: Fried and Conte 1961; Sonnendrücker, Numerical methods for Vlasov equations, 2013.
    """
    omega = np.asarray(omega, dtype=complex)
    terms, _ = _susceptibilities(omega, *_checked(k, weights, means, deviations, density))
    return np.asarray(1 + terms.sum(0))


def roots(
    k: float,
    *,
    weights: Sequence[float] = (1.0,),
    means: Sequence[float] = (0.0,),
    deviations: Sequence[float] = (1.0,),
    density: float = 1.0,
) -> Complex[np.ndarray, " roots"]:
    r"""Roots :math:`\omega` of :func:`dielectric` around the beams, the fastest growing first.

    Newton's method from a lattice over :math:`\operatorname{Re} \omega \in [k \min u - 2 \Omega, k \max u + 2 \Omega]`,
    :math:`|\operatorname{Im} \omega| \le 2 \Omega`, :math:`\Omega^2 = n + 3 k^2 \max \sigma^2`. Growing roots number at
    most as many as beams and lie inside; of the infinitely many damped ones this returns those that it meets.

    Args:
        k: Wavenumber.
        weights: :math:`p_j`, of sum 1.
        means: :math:`u_j`.
        deviations: :math:`\sigma_j`.
        density: :math:`n`, the mean density.

    Raises:
        ValueError: If ``k``, ``density``, a weight or a deviation is not positive, or the lengths differ.

    Example:
        >>> print([f"{root:.4f}" for root in roots(0.5)[:2]])
        ['1.4157-0.1534j', '-1.4157-0.1534j']
    """
    beams = _checked(k, weights, means, deviations, density)
    _, _, u, sigma, _ = beams
    scale = math.sqrt(density + 3 * k**2 * sigma.max() ** 2)
    real = np.linspace(k * u.min() - 2 * scale, k * u.max() + 2 * scale, _STARTS[0])
    imaginary = np.linspace(-2 * scale, 2 * scale, _STARTS[1])
    omega = (real[:, None] + 1j * imaginary).ravel()
    # A start may run off to where the function overflows; it is then dropped, not reported.
    with np.errstate(all="ignore"):
        for _ in range(_STEPS):
            terms, slope = _susceptibilities(omega, *beams)
            omega = omega - (1 + terms.sum(0)) / slope
        terms, _ = _susceptibilities(omega, *beams)
    # Not against the terms themselves, which far below the axis grow until they cancel in no more than rounding.
    _, p, _, sigma, n = beams
    omega = omega[np.abs(1 + terms.sum(0)) < _RESIDUAL * (1 + (n * p / (k * sigma) ** 2).sum())]
    distinct: list[complex] = []
    for root in omega[np.lexsort((-omega.real.round(8), -omega.imag.round(8)))]:
        if all(abs(root - other) > _SAME * scale for other in distinct):
            distinct.append(complex(root))
    return np.array(distinct, dtype=complex)


def dominant_root(
    k: float,
    *,
    weights: Sequence[float] = (1.0,),
    means: Sequence[float] = (0.0,),
    deviations: Sequence[float] = (1.0,),
    density: float = 1.0,
) -> complex:
    r"""Root :math:`\omega = \omega_r + i \gamma` of the largest :math:`\gamma`, which remains at late times.

    Of two with the same :math:`\gamma` that of the larger :math:`\omega_r`.

    Args:
        k: Wavenumber.
        weights: :math:`p_j`, of sum 1.
        means: :math:`u_j`.
        deviations: :math:`\sigma_j`.
        density: :math:`n`, the mean density.

    Raises:
        ValueError: If ``k``, ``density``, a weight or a deviation is not positive, or the lengths differ.
        RuntimeError: If no start has converged.

    Example:
        >>> print(f"{dominant_root(0.5):.5f}")  # Landau damping
        1.41566-0.15336j
        >>> beams = {"weights": (0.5, 0.5), "means": (-2.4, 2.4), "deviations": (1.0, 1.0)}
        >>> print(f"{dominant_root(0.2, **beams).imag:.5f}")  # the two-stream instability
        0.22584
    """
    found = roots(k, weights=weights, means=means, deviations=deviations, density=density)
    if found.size == 0:
        raise RuntimeError(f"no root of the dispersion relation found (k = {k:g}, deviations {tuple(deviations)})")
    return complex(found[0])


def _checked(
    k: float, weights: Sequence[float], means: Sequence[float], deviations: Sequence[float], density: float
) -> tuple[float, np.ndarray, np.ndarray, np.ndarray, float]:
    if not len(weights) == len(means) == len(deviations) >= 1:
        got = f"{len(weights)} weights, {len(means)} means, {len(deviations)} deviations"
        raise InvalidArgument("weights', 'means", "and 'deviations' must be of one length, at least 1", got)
    p = np.array([require_positive("weights", weight) for weight in weights])
    if abs(p.sum() - 1) > 1e-9:
        raise InvalidArgument("weights", "must have sum 1", f"{p.sum():g}")
    sigma = np.array([require_positive("deviations", deviation) for deviation in deviations])
    return require_positive("k", k), p, np.array(means, dtype=float), sigma, require_positive("density", density)


def _susceptibilities(
    omega: np.ndarray, k: float, weights: np.ndarray, means: np.ndarray, deviations: np.ndarray, density: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the terms of the sum in ``D``, one row per beam, and dD/domega."""
    shape = (-1,) + (1,) * omega.ndim
    p, u, sigma = (each.reshape(shape) for each in (weights, means, deviations))
    zeta = (omega / k - u) / (math.sqrt(2) * sigma)
    strength = density * p / (k**2 * sigma**2)
    response = _response(zeta)
    # (zeta Z)' = Z + zeta Z' with Z' = -2 (1 + zeta Z).
    slope = strength * (plasma_dispersion(zeta) - 2 * zeta * response) / (math.sqrt(2) * sigma * k)
    return strength * response, np.asarray(slope.sum(0))


def _response(zeta: np.ndarray) -> np.ndarray:
    r"""Return :math:`1 + \zeta Z(\zeta)`; far out, where the two terms cancel, by its asymptotic series.

    .. math::
        1 + \zeta Z \sim -\sum_{m \ge 1} \frac{(2m - 1)!!}{(2 \zeta^2)^m} \quad
        \left( + \, 2 i \sqrt{\pi} \, \zeta e^{-\zeta^2} \text{ for } \operatorname{Im} \zeta < 0 \right)
    """
    near = np.abs(zeta) < _FAR
    far = np.where(near, _FAR, zeta)
    series, term = np.zeros_like(far), np.ones_like(far)
    for m in range(1, _SERIES + 1):
        term = term * (2 * m - 1) / (2 * far**2)
        series = series - term
    below = np.where(np.imag(far) < 0, far, _FAR)
    pole = np.where(np.imag(far) < 0, 2j * math.sqrt(math.pi) * below * np.exp(-(below**2)), 0)
    close = np.where(near, zeta, 0)
    return np.where(near, 1 + close * plasma_dispersion(close), series + pole)
