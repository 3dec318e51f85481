r"""Fourier multipliers of pair kernels on a lattice of unit spacing, exact for what the lattice resolves.

Samples of a kernel that is singular where two particles meet do not integrate it to more than second order. So it is
split as in an Ewald sum, at the width of one cell,

.. math::
    |z|^\gamma = |z|^\gamma P\Big(-\frac\gamma2, t_0 |z|^2\Big) + \frac{1}{\Gamma(-\gamma/2)}
    \int_{t_0}^\infty t^{-\gamma/2 - 1} e^{-t |z|^2} \, dt, \qquad t_0 = \tfrac12

with the regularised incomplete gamma function :math:`P`. The first part is smooth: samples of it, transformed, alias by
:math:`e^{-2 \pi^2}`. The second is a superposition of narrow Gaussians, whose transforms are known. Both are divided
by the square of the transform of the spline, which carries particles to the lattice and fields back.

Reference: the particle-mesh method and its splitting of forces, Hockney and Eastwood, Computer Simulation Using
Particles, Chapter 8; Ewald sums by B-splines, Essmann et al., J. Chem. Phys. 103, 8577 (1995). The split of the
Landau kernel is ours.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["components", "gaussian_multiplier", "landau_multipliers", "own_value", "wave_numbers"]

# The exponent t_0 of the split in units of the spacing.
SPLIT = 0.5
# The order of the spline, whose transform is sinc(k / 2)^(order + 1).
SPLINE = 3
# The B-spline of order 7 at whole numbers, times 5040.
CORRELATION = (2416, 1191, 120, 1)


def components(d: int) -> list[tuple[int, int]]:
    """The entries of a symmetric matrix, in the order of :func:`landau_multipliers`."""
    return list(itertools.combinations_with_replacement(range(d), 2))


@functools.lru_cache(maxsize=2)
def landau_multipliers(
    padded: tuple[int, ...], gamma: float, dtype: torch.dtype, device: torch.device
) -> Float[Tensor, "c ..."]:
    r"""Multipliers of :math:`A(z) = |z|^\gamma (|z|^2 I - z z^\top)` over the squared spline, one for each entry.

    Args:
        padded: Size of the lattice, at least twice that of what is convolved.
        gamma: Exponent in [-3, 0).
        dtype: Of the result.
        device: Of the result.

    Returns:
        Real numbers of the shape of ``rfftn`` on the lattice, for each of :func:`components`.
    """
    # What is kept must serve a later call that wants gradients too.
    with torch.inference_mode(False), torch.no_grad():
        return _landau_multipliers(padded, gamma, device).to(dtype)


def _landau_multipliers(padded: tuple[int, ...], gamma: float, device: torch.device) -> Tensor:
    d, a = len(padded), -0.5 * gamma
    z = [torch.fft.fftfreq(n, 1 / n, dtype=torch.float64, device=device).round() for n in padded]
    r2 = _sum_of_squares([_along(x, axis, d) for axis, x in enumerate(z)])
    smooth = _by_distance(padded, device, lambda q: _smooth_power(q, a))
    iso, tensor, spline = _in_fourier_space(padded, a, device)
    # The farthest sample in each direction is its own mirror image: what is odd there is 0.
    odd_z = [torch.where(x.abs() >= n / 2, 0.0, x) for x, n in zip(z, padded, strict=True)]
    k = wave_numbers(padded, device)
    k2 = _sum_of_squares(k)
    odd = [torch.where(x.abs() >= math.pi, 0.0, x) for x in k]
    out = []
    for i, j in components(d):
        # A product of two components is odd in both: the highest wave number, which is its own negative, has none.
        product = k[i].square() if i == j else odd[i] * odd[j]
        near = (iso - k2 * tensor if i == j else 0.0) + product * tensor
        entry = r2 - _along(z[i].square(), i, d) if i == j else -_along(odd_z[i], i, d) * _along(odd_z[j], j, d)
        samples = entry * smooth
        out.append((torch.fft.rfftn(samples).real + near) / spline.square())
    return torch.stack(out)


def gaussian_multiplier(padded: Sequence[int], width: float, device: torch.device) -> Float[Tensor, "..."]:
    r"""The multiplier of :math:`e^{-|z|^2 / (2 \sigma^2)}` over the squared spline, for a width in cells."""
    k = wave_numbers(padded, device)
    k2 = _sum_of_squares(k)
    gaussian = (2 * math.pi * width**2) ** (0.5 * len(padded)) * torch.exp(-0.5 * width**2 * k2)
    return gaussian / _spline_transform(k).square()


def own_value(multiplier: Float[Tensor, "..."], padded: Sequence[int]) -> float:
    r"""What a particle of charge 1 adds to the field where it is itself, on average over its place in a cell.

    The kernel on the lattice, weighted by the correlation of the spline with itself: the spline of twice the order.
    """
    d = len(padded)
    kernel = torch.fft.irfftn(multiplier.double(), s=tuple(padded))
    for _ in range(d):  # the last direction each time
        weights = torch.zeros(kernel.size(-1), dtype=kernel.dtype, device=kernel.device)
        for offset, value in enumerate(CORRELATION):
            weights[offset] = weights[-offset] = value / sum([*CORRELATION, *CORRELATION[1:]])
        kernel = kernel @ weights
    return float(kernel)


def wave_numbers(padded: Sequence[int], device: torch.device) -> list[Tensor]:
    """Wave numbers of ``rfftn`` on the lattice, one tensor for each direction, to be broadcast."""
    d = len(padded)
    full = [torch.fft.fftfreq(n, dtype=torch.float64, device=device) for n in padded[:-1]]
    half = torch.fft.rfftfreq(padded[-1], dtype=torch.float64, device=device)
    return [_along(2 * math.pi * k, axis, d) for axis, k in enumerate([*full, half])]


def _along(x: Tensor, axis: int, d: int) -> Tensor:
    return x.view([-1 if b == axis else 1 for b in range(d)])


def _sum_of_squares(x: Sequence[Tensor]) -> Tensor:
    return sum((y.square() for y in x[1:]), start=x[0].square())


def _spline_transform(k: Sequence[Tensor]) -> Tensor:
    return math.prod(
        (torch.sinc(x / (2 * math.pi)) ** (SPLINE + 1) for x in k), start=torch.ones((), device=k[0].device)
    )


def _smooth_power(r2: Tensor, a: float) -> Tensor:
    """The smooth part of the power of the distance, from its square."""
    exponent = torch.full_like(r2, a)
    value = torch.special.gammainc(exponent, SPLIT * r2) * r2.clamp_min(1.0) ** -a
    return torch.where(r2 == 0, SPLIT**a / math.gamma(a + 1), value)


def _by_distance(padded: tuple[int, ...], device: torch.device, function: Callable[[Tensor], Tensor]) -> Tensor:
    """A function of the squared distance on the lattice: evaluated on an octant, and mirrored."""
    d = len(padded)
    octant = [torch.arange(n // 2 + 1, dtype=torch.float64, device=device) for n in padded]
    out = function(_sum_of_squares([_along(x, axis, d) for axis, x in enumerate(octant)]))
    for axis, n in enumerate(padded):
        index = torch.arange(n, device=device)
        out = out.index_select(axis, torch.minimum(index, n - index))
    return out


def _in_fourier_space(padded: tuple[int, ...], a: float, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    r"""Functions in the transform of the narrow part, :math:`\alpha I - \beta (|k|^2 I - k k^\top)`, and the spline.

    A Gaussian :math:`e^{-t |z|^2}` contributes :math:`(\pi/t)^{d/2} e^{-q} [\frac{d-1}{2t} I - \frac{1}{4 t^2} (|k|^2 I
    - k k^\top)]` with :math:`q = |k|^2 / 4t`; integrated over :math:`t > t_0` these are incomplete gamma functions.
    """
    d = len(padded)
    k = wave_numbers([*padded], device)
    positive = [x.narrow(axis, 0, n // 2 + 1) for axis, (x, n) in enumerate(zip(k, padded, strict=True))]
    q = _sum_of_squares(positive) / (4 * SPLIT)
    scale = math.pi ** (d / 2) / math.gamma(a) * SPLIT ** (a - d / 2 - 1)
    parts = [
        scale * (d - 1) / 2 * _moment(0.5 * d - a, q),
        scale / (4 * SPLIT) * _moment(0.5 * d - a + 1, q),
        _spline_transform(positive),
    ]
    for axis, n in enumerate(padded[:-1]):
        index = torch.arange(n, device=device)
        parts = [x.index_select(axis, torch.minimum(index, n - index)) for x in parts]
    return parts[0], parts[1], parts[2]


def _moment(p: float, q: Tensor) -> Tensor:
    r""":math:`\int_0^1 u^p e^{-q u} \, du`."""
    value = math.gamma(p + 1) * torch.special.gammainc(torch.full_like(q, p + 1), q) / q.clamp_min(1e-300) ** (p + 1)
    return torch.where(q == 0, 1 / (p + 1), value)
