"""Multipliers of kernels on a lattice: against integrals over smooth densities, and against the kernels themselves."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.interpolate import BSpline
from scipy.special import roots_jacobi

from graphlandau.nn.mesh.kernels import (
    components,
    gaussian_multiplier,
    landau_multipliers,
    own_value,
    wave_numbers,
)

CPU = torch.device("cpu")
CASES = [(d, gamma) for d in (2, 3) for gamma in (-3.0, -2.5, -1.0, -0.3)]
SIZES = {2: (64, 60), 3: (48, 40, 50)}


def spline_squared(padded: tuple[int, ...]) -> torch.Tensor:
    """The squared transform of the cubic B-spline, sinc(k/2)^8 in each direction."""
    out = torch.ones((), dtype=torch.float64)
    for k in wave_numbers(padded, CPU):
        half = torch.where(k == 0, 1.0, 0.5 * k)
        out = out * torch.where(k == 0, 1.0, torch.sin(half) / half) ** 8
    return out


def landau_transforms(padded: tuple[int, ...], gamma: float) -> list[torch.Tensor]:
    """The transform of each entry of the kernel on the lattice, the spline taken out."""
    return [x * spline_squared(padded) for x in landau_multipliers(padded, gamma, torch.float64, CPU)]


def directions(d: int) -> tuple[np.ndarray, np.ndarray]:
    """Points and weights of a quadrature over the unit sphere."""
    angle = 2 * math.pi * np.arange(64) / 64
    if d == 2:
        return np.stack([np.cos(angle), np.sin(angle)], 1), np.full(64, 2 * math.pi / 64)
    x, w = np.polynomial.legendre.leggauss(24)
    height, turn = np.meshgrid(x, angle, indexing="ij")
    flat = np.sqrt(1 - height**2)
    points = np.stack([flat * np.cos(turn), flat * np.sin(turn), height], -1).reshape(-1, 3)
    return points, (w[:, None] * np.full(64, 2 * math.pi / 64)).ravel()


def integral(at: np.ndarray, gamma: float, density: Callable[[np.ndarray], np.ndarray], reach: float) -> np.ndarray:
    r"""``(A * density)(at)`` in polar coordinates around ``at``.

    All that is singular there is :math:`r^{\gamma + d + 1}`, the weight of the Gauss-Jacobi quadrature.
    Twice the points change 7e-4 of the narrowest density compared, whose error is 1e-2, and 1e-12 of the widest.
    """
    points, share = directions(at.size)
    x, w = roots_jacobi(80, 0, gamma + at.size + 1)
    r, w = reach * (1 + x) / 2, w * (reach / 2) ** (gamma + at.size + 2)
    along = (w[:, None] * density(at - r[:, None, None] * points)).sum(0) * share
    return np.einsum("n,nab->ab", along, np.eye(at.size) - points[:, :, None] * points[:, None, :])


@pytest.mark.parametrize(("d", "gamma"), CASES)
def test_smooth_densities_are_integrated_with_spectral_accuracy(d, gamma):
    r"""Gaussians of growing width: errors fall like those of the waves that the lattice takes for others.

    A wave k of a density of width :math:`\sigma` has the size :math:`e^{-\sigma^2 k^2 / 2}`, what its alias
    :math:`2 \pi - k` is multiplied by in the smooth part of the kernel :math:`e^{-(2 \pi - k)^2 / 2}`; the largest
    product is :math:`e^{-2 \pi^2 \sigma^2 / (1 + \sigma^2)}`. Measured, at most 2.8 times that.
    """
    padded = SIZES[d]
    half = [n // 2 for n in padded]
    nodes = np.stack(np.meshgrid(*[np.arange(n) for n in half], indexing="ij"), -1)
    centre = np.array(half) / 2 + np.array([0.3, 0.45, 0.1])[:d]
    kernels = landau_transforms(padded, gamma)
    errors = []
    for sigma in (0.5, 0.7, 1.0, 1.4):
        width = sigma * np.array([1.0, 1.3, 1.15])[:d]

        def density(x: np.ndarray, width: np.ndarray = width) -> np.ndarray:
            return np.exp(-0.5 * (((x - centre) / width) ** 2).sum(-1))

        transformed = torch.fft.rfftn(torch.from_numpy(density(nodes)), s=padded)
        fields = [torch.fft.irfftn(transformed * kernel, s=padded) for kernel in kernels]
        error, size = 0.0, 0.0
        for offset in ((0, 0, 0), (-2, 1, 0), (3, 2, -2), (5, -3, 4)):
            at = np.floor(centre).astype(int) + np.array(offset[:d])
            exact = integral(at.astype(float), gamma, density, np.linalg.norm(at - centre) + 9.5 * width.max())
            for (i, j), field in zip(components(d), fields, strict=True):
                error = max(error, abs(float(field[tuple(at)]) - exact[i, j]))
                size = max(size, abs(exact[i, j]))
        errors.append(error / size)
        assert errors[-1] < 4 * math.exp(-2 * math.pi**2 * sigma**2 / (1 + sigma**2))
    # No sixth-order rule falls as fast: by (1 / 2.8)^6 = 2e-3 over all widths.
    assert errors[-1] < 3e-4 * errors[0]


@pytest.mark.parametrize(("d", "gamma"), CASES)
def test_away_from_the_origin_it_is_the_kernel(d, gamma):
    """Both smoothed by a Gaussian of 1.5 cells, which takes away the waves at the edge of what a lattice resolves.

    At 9 cells from the origin, 6 widths, that does not see it: exp(-18) = 1.5e-8, times the sizes near the origin.
    """
    padded = SIZES[d]
    z = torch.stack(
        torch.meshgrid(*[torch.fft.fftfreq(n, 1 / n, dtype=torch.float64).round() for n in padded], indexing="ij"), -1
    )
    r2 = z.square().sum(-1)
    power = torch.where(r2 > 0, r2.clamp_min(1.0) ** (gamma / 2), 0.0)
    smoothing = torch.exp(-0.5 * 1.5**2 * sum(k.square() for k in wave_numbers(padded, CPU)))
    inside = torch.stack([z[..., a].abs() <= n // 2 - 9 for a, n in enumerate(padded)]).all(0)
    for (i, j), kernel in zip(components(d), landau_transforms(padded, gamma), strict=True):
        # Products of two components have no value at half of the box; entries of the diagonal are continuous there.
        away = (r2 >= 81) & (inside | torch.tensor(i == j))
        exact = ((r2 if i == j else 0.0) - z[..., i] * z[..., j]) * power
        got = torch.fft.irfftn(kernel * smoothing, s=padded)
        want = torch.fft.irfftn(torch.fft.rfftn(exact) * smoothing, s=padded)
        scale = r2[away] ** (0.5 * gamma + 1)
        assert float(((got - want)[away].abs() / scale).max()) < 1e-5


@pytest.mark.parametrize(("d", "gamma"), CASES)
def test_entries_are_even_and_turn_with_the_axes(d, gamma):
    """Even in z, so that pair sums are symmetric; on a cubic lattice exchanging axes exchanges entries."""
    padded = (20,) * d
    fields = [torch.fft.irfftn(x, s=padded) for x in landau_transforms(padded, gamma)]
    entry = dict(zip(components(d), fields, strict=True))
    dims = tuple(range(d))
    for field in fields:
        mirrored = field.flip(dims).roll((1,) * d, dims)
        torch.testing.assert_close(mirrored, field, rtol=0, atol=1e-12 * float(field.abs().max()))
    swapped = entry[0, 0].transpose(0, 1)
    torch.testing.assert_close(swapped, entry[1, 1], rtol=0, atol=1e-12 * float(swapped.abs().max()))
    # Mirrored along one axis the product of it with another changes its sign. Half of the box, which is its own
    # negative, is farther than any two particles are.
    inside = (slice(1, None),) * d
    turned, mixed = (x.roll((10,) * d, dims)[inside] for x in (entry[0, 1].flip(0).roll(1, 0), entry[0, 1]))
    torch.testing.assert_close(turned, -mixed, rtol=0, atol=1e-12 * float(mixed.abs().max()))


@pytest.mark.parametrize(("d", "gamma"), [(2, -3.0), (2, -1.0), (3, -2.5)])
def test_float32_and_odd_sizes(d, gamma):
    """float32 is the rounded float64; a size without a highest wave number gives the same kernel where both do."""
    even = landau_multipliers((24,) * d, gamma, torch.float64, CPU)
    single = landau_multipliers((24,) * d, gamma, torch.float32, CPU)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single, even.float(), rtol=0, atol=0)
    grid = torch.stack(torch.meshgrid(*[torch.arange(10.0, dtype=torch.float64)] * d, indexing="ij"), -1)
    rho = torch.exp(-0.5 * ((grid - 4.6) / 1.4).square().sum(-1))
    fields = []
    for padded in ((24,) * d, (25,) * d):
        kernels = landau_transforms(padded, gamma)
        transformed = torch.fft.rfftn(rho, s=padded)
        fields.append([torch.fft.irfftn(transformed * x, s=padded)[(slice(0, 10),) * d] for x in kernels])
    # The density ends where it is 1e-3 to 1e-2 of its largest value, a step with waves that no lattice resolves.
    for a, b in zip(*fields, strict=True):
        assert float((a - b).abs().max()) < 2e-2 * float(fields[0][0].abs().max())


@pytest.mark.parametrize("padded", [(32,), (24, 30), (16, 20, 18)])
def test_gaussian_multiplier_is_the_transform_of_a_gaussian(padded):
    """Periodic images of the Gaussian, sampled: the lattice sees its transform and the aliases of that."""
    for sigma in (1.5, 2.0):
        got = gaussian_multiplier(padded, sigma, CPU) * spline_squared(padded)
        r2: torch.Tensor | float = 0.0
        for axis, n in enumerate(padded):
            z = torch.fft.fftfreq(n, 1 / n, dtype=torch.float64)
            r2 = r2 + (z**2).view([-1 if b == axis else 1 for b in range(len(padded))])
        samples = torch.exp(-0.5 * torch.as_tensor(r2) / sigma**2)
        error = (torch.fft.irfftn(got, s=padded) - samples).abs().max()
        # What is cut off at wave number pi, and what has not decayed at half of the box.
        cut = math.exp(-0.5 * (math.pi * sigma) ** 2) + math.exp(-0.5 * (min(padded) / 2 / sigma) ** 2)
        assert float(error) < 2 * len(padded) * cut


@pytest.mark.parametrize("padded", [(7,), (8, 9), (6, 8, 10), (5, 7, 9)])
def test_wave_numbers_are_those_of_the_transform(padded):
    """A cosine of each wave number along an axis has its transform there."""
    k = wave_numbers(padded, CPU)
    for axis, n in enumerate(padded):
        numbers = k[axis].flatten()
        assert numbers.numel() == (n // 2 + 1 if axis == len(padded) - 1 else n)
        x = torch.arange(n, dtype=torch.float64).view([-1 if b == axis else 1 for b in range(len(padded))])
        for place, number in enumerate(numbers.tolist()):
            assert abs(number) <= math.pi + 1e-15
            transformed = torch.fft.rfftn(torch.cos(number * x).expand(padded).contiguous())
            at = [0] * len(padded)
            at[axis] = place
            assert float(transformed[tuple(at)].abs()) >= 0.5 * math.prod(padded) * (1 - 1e-12)


@pytest.mark.parametrize(("d", "gamma"), [(2, -3.0), (2, -1.0), (3, -3.0)])
def test_own_value_is_the_mean_over_places_of_what_a_particle_feels_of_itself(d, gamma):
    """Spread one particle by the cubic B-spline, convolve, gather at the same place; the mean over a cell.

    Products of two cubic splines, polynomials of degree 6 in each direction: 4 Gauss points integrate them exactly.
    """
    padded = (16,) * d
    multiplier = landau_multipliers(padded, gamma, torch.float64, CPU)[0]
    kernel = torch.fft.irfftn(multiplier, s=padded)
    spline = BSpline.basis_element(np.arange(-2.0, 3.0), extrapolate=False)
    points, share = np.polynomial.legendre.leggauss(4)
    pair = torch.zeros(16, dtype=torch.float64)
    for x, w in zip((points + 1) / 2, share / 2, strict=True):
        values = np.nan_to_num(spline(x - np.arange(-1, 3)))
        for a in range(4):
            for b in range(4):
                pair[a - b] += w * values[a] * values[b]
    mean = kernel
    for _ in range(d):
        mean = mean @ pair
    assert own_value(multiplier, padded) == pytest.approx(float(mean), rel=1e-12)
