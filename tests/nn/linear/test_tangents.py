"""Derivatives by slopes and directions: the same sums as with the derivatives written out."""

from __future__ import annotations

import pytest
import torch

from graphlandau.nn.linear import Tangents

N, M, D = 6, 4, 3


def tangents(terms: int) -> tuple[Tangents, torch.Tensor]:
    """Tangents of some terms, and the derivatives ``(d, N, m)``."""
    generator = torch.Generator().manual_seed(terms)
    slopes = torch.randn(terms, N, M, generator=generator, dtype=torch.float64)
    directions = torch.randn(terms, D, M, generator=generator, dtype=torch.float64)
    return Tangents(slopes, directions), torch.einsum("jnk,jbk->bnk", slopes, directions)


@pytest.mark.parametrize("terms", [1, 3])
def test_all_sums_are_those_of_the_derivatives(terms):
    compact, dense = tangents(terms)
    generator = torch.Generator().manual_seed(9)
    weights = torch.randn(M, D, generator=generator, dtype=torch.float64)
    matrices = torch.randn(N, D, D, generator=generator, dtype=torch.float64)
    vectors = torch.randn(N, D, generator=generator, dtype=torch.float64)
    for found in (compact, Tangents.dense(dense)):
        torch.testing.assert_close(found.jacobian(weights), torch.einsum("bnk,ka->nab", dense, weights))
        torch.testing.assert_close(found.adjoint(matrices), torch.einsum("bnk,nba->ka", dense, matrices))
        torch.testing.assert_close(found.total(), dense.sum(1).T)
        torch.testing.assert_close(found.along(vectors), torch.einsum("bnk,nb->nk", dense, vectors))


def test_the_adjoint_is_the_adjoint_of_the_jacobian():
    # sum_i M_i : J_i(W) = W : adjoint(M), with J_ab and M_ba.
    found, _ = tangents(2)
    generator = torch.Generator().manual_seed(5)
    weights = torch.randn(M, D, generator=generator, dtype=torch.float64)
    matrices = torch.randn(N, D, D, generator=generator, dtype=torch.float64)
    product = (found.jacobian(weights) * matrices.mT).sum()
    torch.testing.assert_close(product, (weights * found.adjoint(matrices)).sum())
