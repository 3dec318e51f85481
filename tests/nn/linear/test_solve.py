"""The solve beside a base, against numpy on all functions at once; factors of singular matrices."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from graphlandau.nn.linear import Base, Moments, Quadratic, cholesky, features_beside


def problem(m: int, d: int, base: int, seed: int) -> tuple[Moments, Base]:
    """Random moments of ``base`` functions and then ``m`` features, and the base that minimises them alone."""
    generator = torch.Generator().manual_seed(seed)
    columns = torch.randn(5 * (m + base), m + base, generator=generator, dtype=torch.float64)
    gram = columns.T @ columns / len(columns)
    linear = torch.randn(m + base, d, generator=generator, dtype=torch.float64)
    zero, own = slice(0, base), slice(base, None)
    weights = -torch.linalg.solve(gram[zero, zero], linear[zero])
    moments = Moments(gram, linear, torch.ones((), dtype=torch.float64))
    return moments, Base(zero, own, weights, torch.linalg.solve(gram[zero, zero], gram[zero, own]))


def loss(moments: Moments, weights: torch.Tensor) -> float:
    return float((weights * (moments.gram @ weights + 2 * moments.linear)).sum())


@settings(max_examples=25, deadline=None)
@given(
    m=st.integers(1, 6), d=st.integers(1, 3), base=st.integers(1, 4), seed=st.integers(0, 999), ridge=st.floats(1e-6, 9)
)
def test_the_minimiser_is_that_of_numpy_with_a_penalty_on_the_features_alone(m, d, base, seed, ridge):
    moments, fitted = problem(m, d, base, seed)
    quadratic = features_beside(fitted, moments)
    found = quadratic.minimisers(torch.tensor([ridge, 2 * ridge]))
    penalty = np.zeros(base + m)
    penalty[base:] = ridge * float(quadratic.unit())
    expected = -np.linalg.solve(moments.gram.numpy() + np.diag(penalty), moments.linear.numpy())
    joint = torch.cat([fitted.weights - fitted.regression @ found[0], found[0]])
    np.testing.assert_allclose(joint.numpy(), expected, rtol=1e-6, atol=1e-9)


@settings(max_examples=25, deadline=None)
@given(m=st.integers(1, 6), d=st.integers(1, 3), seed=st.integers(0, 999))
def test_the_loss_of_the_features_is_what_they_add_on_any_particles(m, d, seed):
    # The base is fitted to some particles, the loss is that over others: no term cancels.
    fitted, others = problem(m, d, 3, seed)[1], problem(m, d, 3, seed + 1000)[0]
    weights = torch.randn(m, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    joint = torch.cat([fitted.weights - fitted.regression @ weights, weights])
    alone = torch.cat([fitted.weights, torch.zeros_like(weights)])
    gain = features_beside(fitted, others).loss(weights[None])[0]
    assert float(gain) == pytest.approx(loss(others, joint) - loss(others, alone), rel=1e-9, abs=1e-9)


def test_features_that_do_not_vary_get_no_weight():
    quadratic = Quadratic(torch.zeros(2, 2, dtype=torch.float64), torch.zeros(2, 1, dtype=torch.float64))
    assert torch.equal(quadratic.minimisers(torch.tensor([1e-3]))[0].abs(), torch.zeros(2, 1, dtype=torch.float64))


def test_a_factor_of_dependent_and_of_vanishing_functions_exists():
    columns = torch.randn(50, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    columns = torch.cat([columns, columns[:, :1] + columns[:, 1:2], torch.zeros(50, 1).double()], dim=1)
    gram = columns.T @ columns
    factor = cholesky(gram)
    expected = gram + torch.diag(torch.tensor([0.0, 0, 0, 0, 1], dtype=torch.float64))
    torch.testing.assert_close(factor @ factor.T, expected, rtol=1e-8, atol=1e-8)


@pytest.mark.bad_input
def test_an_indefinite_matrix_has_none():
    with pytest.raises(ArithmeticError, match="no finite positive Gram matrix"):
        cholesky(torch.tensor([[1.0, 2.0], [2.0, 1.0]]))
