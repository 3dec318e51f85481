"""The collision kernel against its matrix, its divergence and its limits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from invariants import EXPONENTS, rotation

from graphlandau.physics.landau_kernel import LandauKernel


def matrix(kernel: LandauKernel, z: torch.Tensor) -> torch.Tensor:
    """A(z) column by column, for one z."""
    eye = torch.eye(z.numel(), dtype=z.dtype)
    return torch.stack([kernel(z[None], e[None])[0] for e in eye], dim=1)


@given(st.sampled_from((2, 3, 5, 10)), st.floats(-4, 1), st.floats(0.01, 100), st.integers(0, 2**31))
@settings(max_examples=30, deadline=None)
def test_is_its_matrix(d, gamma, strength, seed):
    """A = C |z|^gamma (|z|^2 I - z z^T), symmetric, positive semi-definite, with A z = 0 and A even."""
    z = torch.randn(d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    kernel = LandauKernel(gamma, strength)
    x = z.numpy()
    r = np.linalg.norm(x)
    expected = torch.from_numpy(strength * r**gamma * (r**2 * np.eye(d) - np.outer(x, x)))
    a, size = matrix(kernel, z), strength * r ** (gamma + 2)
    # Softening changes |z|^gamma by gamma eps^2 / 2 |z|^2 < 1e-15 for |z| > 1e-2; the rest is rounding.
    assert torch.allclose(a, expected, rtol=0, atol=1e-13 * size)
    assert torch.allclose(a, a.T, rtol=0, atol=1e-13 * size)
    assert torch.allclose(a, matrix(kernel, -z), rtol=0, atol=0)
    assert float((a @ z).norm()) <= 1e-13 * size * r
    assert float(torch.linalg.eigvalsh(a)[0]) >= -1e-13 * size
    q = rotation(d, seed)
    assert torch.allclose(matrix(kernel, q @ z), q @ a @ q.T, rtol=0, atol=1e-12 * size)


@pytest.mark.parametrize("gamma", EXPONENTS)
@pytest.mark.parametrize("d", [2, 3, 5])
def test_divergence(d, gamma):
    """div A = -(d - 1) C |z|^gamma z."""
    z = torch.randn(d, generator=torch.Generator().manual_seed(d), dtype=torch.float64)
    kernel = LandauKernel(gamma, 2.0)
    jacobian = torch.func.jacfwd(lambda x: matrix(kernel, x))(z)
    expected = -(d - 1) * 2.0 * z.norm() ** gamma * z
    assert torch.allclose(jacobian.diagonal(dim1=1, dim2=2).sum(-1), expected, rtol=1e-12)


@pytest.mark.parametrize("gamma", [-4.0, -3.0, -1.5, -1.0])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-13)])
def test_softening_is_invisible_at_a_distance(gamma, dtype, tolerance):
    """Distances of 0.05 and more: |gamma| eps^2 / 2 |z|^2 <= 8e-8 in float32, then rounding of a few operations."""
    z = torch.tensor([[0.05, 0.0], [0.3, 0.4], [20.0, -30.0]], dtype=dtype)
    u = torch.tensor([[1.0, 1.0], [-1.0, 2.0], [0.5, 1.0]], dtype=dtype)
    exact = []
    for a, b in zip(z.double().numpy(), u.double().numpy(), strict=True):
        r = np.linalg.norm(a)
        exact.append(r**gamma * (r**2 * b - a * (a @ b)))
    error = LandauKernel(gamma)(z, u).double() - torch.from_numpy(np.stack(exact))
    size = z.double().norm(dim=1) ** (gamma + 2) * u.double().norm(dim=1)
    assert float((error.norm(dim=1) / size).max()) < tolerance


@pytest.mark.parametrize("gamma", EXPONENTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_is_zero_with_finite_slope_at_the_origin(gamma, dtype):
    """A(0) = 0 and its first derivatives are finite."""
    kernel = LandauKernel(gamma)
    z = torch.zeros(1, 3, dtype=dtype, requires_grad=True)
    u = torch.tensor([[1.0, -2.0, 0.5]], dtype=dtype, requires_grad=True)
    out = kernel(z, u)
    assert not out.any()
    grads = torch.autograd.grad(out.sum(), (z, u))
    assert all(torch.isfinite(g).all() for g in grads)


@pytest.mark.parametrize("gamma", [-9, -4.001, 1.5, float("nan"), float("inf"), "coulomb", None, True])
def test_refuses_gamma(gamma):
    with pytest.raises(ValueError, match="'gamma' must be"):
        LandauKernel(gamma)


@pytest.mark.parametrize("value", [0, -1.0, float("nan"), float("inf"), "strong"])
@pytest.mark.parametrize("name", ["strength", "eps"])
def test_refuses_strength_and_eps(name, value):
    with pytest.raises(ValueError, match=f"'{name}' must be"):
        LandauKernel(-3.0, **{name: value})
