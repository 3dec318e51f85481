"""Determinants of a step: those of torch, with all digits for short steps."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from graphlandau.nn.control.determinant import determinant_excess, log_determinant


def jacobians(n: int, d: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, d, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@settings(max_examples=30, deadline=None)
@given(d=st.integers(1, 5), tau=st.floats(1e-3, 2), seed=st.integers(0, 1000))
def test_log_determinant_is_that_of_torch(d, tau, seed):
    jacobian = jacobians(20, d, seed)
    expected = torch.linalg.slogdet(torch.eye(d, dtype=torch.float64) + tau * jacobian).logabsdet
    # Both lose digits where the determinant nearly vanishes: rounding over the determinant.
    tolerance = 1e-13 * (1 + tau * jacobian.abs().sum((1, 2))) ** d / expected.exp()
    assert bool(((log_determinant(jacobian, tau) - expected).abs() <= tolerance).all())


@pytest.mark.parametrize("d", [1, 2, 3])
def test_log_determinant_keeps_its_digits_in_single_precision(d):
    # tau tr J to first order in tau J = 1e-6, whose second order is 1e-12: the sum 1 + 1e-6 has one digit of it.
    jacobian = jacobians(50, d).float()
    trace = jacobian.diagonal(dim1=1, dim2=2).sum(1)
    torch.testing.assert_close(log_determinant(jacobian, 1e-6) / 1e-6, trace, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("d", [1, 2, 3])
def test_log_determinant_can_be_trained_through(d):
    jacobian = 0.3 * jacobians(4, d)
    assert torch.autograd.gradcheck(lambda m: log_determinant(m, 0.7), (jacobian.requires_grad_(),))


@pytest.mark.parametrize("d", [1, 2, 3, 4])
def test_the_excess_has_the_sign_of_an_inverted_map(d):
    # A reflection has determinant -1 for every d: the excess says so, the logarithm of the modulus does not.
    reflection = torch.zeros(1, d, d, dtype=torch.float64)
    reflection[0, 0, 0] = -2
    torch.testing.assert_close(determinant_excess(reflection, 1.0), torch.tensor([-2.0], dtype=torch.float64))
    torch.testing.assert_close(log_determinant(reflection, 1.0), torch.tensor([0.0], dtype=torch.float64))
