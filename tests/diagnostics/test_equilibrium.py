"""Distance to equilibrium: exact values, invariances, and the noise of samples."""

from __future__ import annotations

import math

import pytest
import torch

from graphlandau.diagnostics import (
    covariance,
    equilibrium_distance,
    equilibrium_distance_mc,
    equilibrium_entropy,
    temperature,
)
from graphlandau.problems import Gaussian


def particles(sigma: torch.Tensor) -> torch.Tensor:
    """Particles whose covariance is ``sigma`` to rounding, about a mean that is not zero."""
    d = sigma.size(0)
    v = torch.randn(200, d, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    v = (v - v.mean(0)) @ torch.linalg.inv(torch.linalg.cholesky(covariance(v))).T
    return 3 + v @ torch.linalg.cholesky(sigma).T


def test_values_for_a_given_covariance():
    """T = 1 and Sigma - T I = diag(0.8, -0.8, 0) with 0.1 twice off the diagonal."""
    v = particles(torch.tensor([[1.8, 0.1, 0.0], [0.1, 0.2, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64))
    assert float(temperature(v)) == pytest.approx(1, rel=1e-12)
    assert float(equilibrium_distance(v)) == pytest.approx(math.sqrt(2 * 0.64 + 2 * 0.01), rel=1e-12)
    assert equilibrium_entropy(v) == pytest.approx(-1.5 * math.log(2 * math.pi * math.e), rel=1e-12)
    # Scaled velocities: T and the distance quadratic, the entropy by d log 2.
    assert float(temperature(2 * v)) == pytest.approx(4, rel=1e-12)
    assert float(equilibrium_distance(2 * v)) == pytest.approx(4 * float(equilibrium_distance(v)), rel=1e-12)
    assert equilibrium_entropy(2 * v) == pytest.approx(equilibrium_entropy(v) - 3 * math.log(2), rel=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_isotropic_particles_have_no_distance(dtype):
    v = particles(0.7 * torch.eye(2, dtype=torch.float64)).to(dtype)
    tolerance = 1e-5 if dtype == torch.float32 else 1e-13
    assert float(equilibrium_distance(v)) < tolerance
    assert equilibrium_distance(v).dtype == dtype


def test_rotation_changes_nothing_and_weights_count():
    g = torch.Generator().manual_seed(1)
    v = torch.randn(50, 3, generator=g, dtype=torch.float64) * torch.tensor([1.0, 2.0, 0.5])
    q, _ = torch.linalg.qr(torch.randn(3, 3, generator=g, dtype=torch.float64))
    weight = torch.zeros(50, dtype=torch.float64)
    weight[:20] = 2.0
    for measure in (temperature, equilibrium_distance, equilibrium_entropy):
        assert float(measure(v @ q.T)) == pytest.approx(float(measure(v)), rel=1e-12)
        assert float(measure(v, weight)) == pytest.approx(float(measure(v[:20])), rel=1e-12)


@pytest.mark.parametrize(("d", "T"), [(2, 1.0), (3, 2.5), (10, 0.3)])
def test_samples_of_a_maxwellian_have_the_expected_distance(d, T):
    """Root mean square over 600 samples of 400 particles: standard error below 3 %, next order 1/400."""
    f = Gaussian([1.0] * d, T * torch.eye(d, dtype=torch.float64))
    n, repeats = 400, 600
    v = f.sample(n * repeats, generator=torch.Generator().manual_seed(2)).reshape(repeats, n, d)
    square = torch.stack([equilibrium_distance(sample).square() for sample in v])
    error = float(square.std()) / math.sqrt(repeats)
    assert abs(float(square.mean()) - equilibrium_distance_mc(T, n, d) ** 2) < 4 * error + 0.005 * float(square.mean())
    assert error < 0.06 * float(square.mean())


def test_one_dimension_is_always_isotropic():
    v = torch.randn(10, 1, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    assert float(equilibrium_distance(v)) == pytest.approx(0, abs=1e-15)
    assert equilibrium_distance_mc(1.0, 10, 1) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0.0, 10, 2), r"'T' must be positive \(got 0.0\)"),
        ((1.0, 0, 2), r"'n' must be positive \(got 0\)"),
        ((1.0, 10, 0), r"'d' must be an integer >= 1 \(got 0\)"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        equilibrium_distance_mc(*arguments)
