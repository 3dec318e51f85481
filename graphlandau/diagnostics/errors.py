"""Errors against the exact score and the exact covariance."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from graphlandau.base.errors import InvalidArgument
from graphlandau.physics.moments import average, covariance, inner

__all__ = ["covariance_error", "relative_fisher_divergence"]


def relative_fisher_divergence(
    s: Float[Tensor, "N d"], s_exact: Float[Tensor, "N d"], weight: Float[Tensor, " N"] | None = None
) -> Float[Tensor, ""]:
    r"""Squared relative score error :math:`\sum_i w_i |s_i - s^*_i|^2 / \sum_i w_i |s^*_i|^2`; dimensionless.

    Raises:
        ValueError: If ``s`` and ``s_exact`` differ in shape.

    Example:
        >>> s_exact = torch.tensor([[1.0, 0.0], [0.0, -2.0]])
        >>> relative_fisher_divergence(1.1 * s_exact, s_exact)
        tensor(0.0100)

    Reference: Ilin, Hu and Wang 2025, Section 5.2 ("normalized true score matching error").
    """
    if s.dim() != 2 or s.shape != s_exact.shape:
        raise InvalidArgument("s", f"must have the shape (N, d) of s_exact, {tuple(s_exact.shape)}", tuple(s.shape))
    error = s - s_exact
    return average(inner(error, error), weight) / average(inner(s_exact, s_exact), weight)


def covariance_error(
    v: Float[Tensor, "N d"], sigma: Float[Tensor, "d d"], weight: Float[Tensor, " N"] | None = None
) -> Float[Tensor, ""]:
    r"""Frobenius norm :math:`\| \Sigma(v) - \Sigma \|_F` of the error of the particles' covariance.

    Raises:
        ValueError: If ``sigma`` does not have shape :math:`(d, d)`.

    Reference: Huang and Wang, arXiv:2409.12296, Section 5.5; Ilin, Hu and Wang 2025, Section 5.2, print its
    square. Both take second moments about zero; ours are about the mean of the particles.
    """
    if sigma.shape != (v.size(1), v.size(1)):
        raise InvalidArgument("sigma", f"must have shape ({v.size(1)}, {v.size(1)})", tuple(sigma.shape))
    return torch.linalg.matrix_norm(covariance(v, weight) - sigma.to(dtype=v.dtype, device=v.device))
