"""Errors against known perturbations."""

from __future__ import annotations

import pytest
import torch

from graphlandau.diagnostics import covariance, covariance_error, relative_fisher_divergence
from graphlandau.problems import Gaussian

DTYPES = pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])


@DTYPES
def test_fisher_divergence_of_perturbed_gaussian_scores(dtype, tolerance):
    """A wrong temperature T gives (1 - 1/T)^2 for any particles; a shift b gives |b|^2 / <|v|^2>."""
    exact = Gaussian([0.0, 0.0], [[1.0, 0.0], [0.0, 1.0]])
    g = torch.Generator().manual_seed(0)
    v = exact.sample(200, generator=g).to(dtype)
    weight = torch.rand(200, generator=g, dtype=torch.float64).to(dtype)
    hot = Gaussian([0.0, 0.0], [[2.5, 0.0], [0.0, 2.5]])
    shifted = Gaussian([0.3, -0.4], [[1.0, 0.0], [0.0, 1.0]])
    for w in (None, weight):
        assert float(relative_fisher_divergence(exact.score(v), exact.score(v), w)) == 0
        got = float(relative_fisher_divergence(hot.score(v), exact.score(v), w))
        assert got == pytest.approx((1 - 1 / 2.5) ** 2, rel=tolerance)
        square = v.square().sum(1)
        mean_square = float(square.mean() if w is None else (w * square).sum() / w.sum())
        got = float(relative_fisher_divergence(shifted.score(v), exact.score(v), w))
        assert got == pytest.approx(0.25 / mean_square, rel=tolerance)


@DTYPES
def test_covariance_error_is_a_frobenius_norm(dtype, tolerance):
    g = torch.Generator().manual_seed(1)
    v = (3 + torch.randn(100, 3, generator=g, dtype=torch.float64)).to(dtype)
    weight = torch.rand(100, generator=g, dtype=torch.float64).to(dtype)
    change = torch.tensor([[0.0, 0.3, 0.0], [0.3, 0.0, 0.0], [0.0, 0.0, -0.4]], dtype=torch.float64)
    for w in (None, weight):
        sigma = covariance(v, w)
        assert float(covariance_error(v, sigma, w)) == 0
        # Off-diagonal entries count twice: sqrt(2 * 0.09 + 0.16).
        error = float(covariance_error(v, sigma.double() + change, w))
        assert error == pytest.approx(0.34**0.5, rel=10 * tolerance)


def test_shapes_are_checked():
    with pytest.raises(ValueError, match=r"'s' must have the shape \(N, d\) of s_exact, \(4, 2\) \(got \(4, 1\)\)"):
        relative_fisher_divergence(torch.ones(4, 1), torch.ones(4, 2))
    with pytest.raises(ValueError, match=r"'sigma' must have shape \(2, 2\) \(got \(3, 3\)\)"):
        covariance_error(torch.ones(4, 2), torch.eye(3))
