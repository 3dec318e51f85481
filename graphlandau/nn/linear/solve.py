"""The linear solve: features beside a base, minimised for a ridge; and Cholesky factors that do not fail."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from graphlandau.nn.linear.moments import Moments

__all__ = ["Base", "Quadratic", "cholesky", "features_beside"]

# Parts of the diagonal that are added to it, one after the other, until a matrix is positive definite to rounding.
LIFTS = (0.0, 1e-14, 1e-12, 1e-10)


class Base(NamedTuple):
    r"""The part of a linear model that every ridge leaves alone, and how features are made orthogonal to it.

    Args:
        functions: Which functions it has, :math:`\Psi_0`.
        features: Which functions are penalised, :math:`\Phi`; the two need not be next to each other.
        weights: :math:`W_0` of the base alone, :math:`(m_0, d)`.
        regression: :math:`R = G_{00}^{-1} G_{0\Phi}`, :math:`(m_0, m)`: :math:`\tilde\Phi = \Phi - R^\top \Psi_0` is
            orthogonal to the base.
    """

    functions: slice
    features: slice
    weights: Tensor
    regression: Tensor


class Quadratic(NamedTuple):
    r"""A loss :math:`\operatorname{tr} W^\top (G W + 2 b)` of weights ``(m, d)``."""

    gram: Tensor
    linear: Tensor

    def loss(self, weights: Tensor) -> Tensor:
        """Loss of each of ``weights``, ``(L, m, d)``."""
        return (weights * (self.gram @ weights + 2 * self.linear)).sum((-2, -1))

    def unit(self) -> Tensor:
        """The unit of the ridge: the mean square of a feature, positive even if none varies at all."""
        return self.gram.diagonal().mean().clamp_min(torch.finfo(self.gram.dtype).tiny)

    def minimisers(self, ridges: Tensor) -> Tensor:
        r"""Minimiser :math:`-(G + \lambda \bar g)^{-1} b` for each ridge, ``(L, m, d)``.

        One eigendecomposition serves them all.
        """
        values, vectors = torch.linalg.eigh(self.gram)
        # The mean eigenvalue is the mean of the diagonal: the unit once more. Features that hardly vary, or depend on
        # each other, leave eigenvalues that are negative by rounding.
        unit = values.mean().clamp_min(torch.finfo(values.dtype).tiny)
        shifted = values.clamp_min(0) + ridges.to(values)[:, None] * unit
        return -vectors @ ((vectors.T @ self.linear) / shifted[:, :, None])


def features_beside(base: Base, moments: Moments) -> Quadratic:
    r"""Loss of the weights of :math:`\tilde\Phi`, over that of the base alone.

    With :math:`W = (W_0 - R \tilde W, \tilde W)` the loss is that of the base plus
    :math:`\operatorname{tr} \tilde W^\top (\tilde G \tilde W + 2 \tilde b)`, where

    .. math::
        \tilde G = G_{\Phi\Phi} - R^\top G_{0\Phi} - G_{\Phi 0} R + R^\top G_{00} R, \qquad
        \tilde b = b_\Phi - R^\top b_0 + (G_{\Phi 0} - R^\top G_{00}) W_0 .

    For the particles that :math:`R` was fitted to the last two terms of :math:`\tilde G` cancel, and the last one of
    :math:`\tilde b` is 0; on others, such as a fold that was held out, they do not.
    """
    own, zero, regression = base.features, base.functions, base.regression
    cross, affine = moments.gram[zero, own], moments.gram[zero, zero]
    mixed = regression.T @ cross
    gram = moments.gram[own, own] - mixed - mixed.T + regression.T @ affine @ regression
    slope = cross.T @ base.weights - regression.T @ (affine @ base.weights)
    return Quadratic(gram, moments.linear[own] - regression.T @ moments.linear[zero] + slope)


def cholesky(matrix: Tensor) -> Tensor:
    """Cholesky factor; functions that vanish get a unit diagonal, and those that depend on others a little more.

    Raises:
        ArithmeticError: If the matrix is not finite, or far from positive semi-definite.
    """
    diagonal = matrix.diagonal()
    for lift in LIFTS:
        factor, failed = torch.linalg.cholesky_ex(matrix + torch.where(diagonal > 0, lift * diagonal, 1).diagflat())
        if not int(failed):
            return factor
    raise ArithmeticError("the functions of the linear model have no finite positive Gram matrix over the particles")
