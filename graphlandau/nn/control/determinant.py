"""Determinants of one step of a velocity field, to full relative precision for short ones."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["determinant_excess", "log_determinant"]


def log_determinant(jacobian: Float[Tensor, "N d d"], tau: float) -> Float[Tensor, " N"]:
    r"""Logarithm :math:`\log |\det(I + \tau J)|`, to full relative precision for small :math:`\tau J`.

    Example:
        >>> log_determinant(torch.full((1, 1, 1), 1e-6), 1e-6)
        tensor([1.0000e-12])
    """
    excess = determinant_excess(jacobian, tau)
    # log|1 + z| is log1p(z) on one side of z = -1 and log1p(-2 - z) on the other.
    return torch.log1p(torch.where(excess >= -1, excess, -2 - excess))


def determinant_excess(jacobian: Tensor, tau: float) -> Tensor:
    r"""How far :math:`\det(I + \tau J)` is from 1, by the principal minors of :math:`\tau J` for d up to 3."""
    m = tau * jacobian
    d = m.size(-1)
    if d > 3:
        return torch.linalg.det(torch.eye(d, dtype=m.dtype, device=m.device) + m) - 1
    trace = m.diagonal(dim1=-2, dim2=-1).sum(-1)
    if d == 1:
        return trace
    minors = sum(m[..., a, a] * m[..., b, b] - m[..., a, b] * m[..., b, a] for a in range(d) for b in range(a))
    if d == 2:
        return trace + minors
    cofactors = torch.linalg.cross(m[..., 1, :], m[..., 2, :])
    return trace + minors + (m[..., 0, :] * cofactors).sum(-1)
