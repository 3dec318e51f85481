"""Derivatives of the functions that a linear model of the phase space is made of."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Tangents"]


class Tangents(NamedTuple):
    r"""Derivatives of functions, :math:`\partial_b \Phi_k = \sum_j S_{jk} \, n_{jbk}`, by slopes and directions.

    One term suffices where each function moves along a direction that is the same for all particles.

    Shapes:
        - **slopes**: :math:`S`, :math:`(J, N, m)`; **directions**: :math:`n`, :math:`(J, d, m)`
    """

    slopes: Tensor
    directions: Tensor

    @staticmethod
    def dense(derivatives: Tensor) -> Tangents:
        """Tangents by the derivatives ``(d, N, m)`` themselves."""
        eye = torch.eye(derivatives.size(0), dtype=derivatives.dtype, device=derivatives.device)
        return Tangents(derivatives, eye[:, :, None].expand(-1, -1, derivatives.size(2)))

    def jacobian(self, weights: Tensor) -> Tensor:
        r"""Jacobian of :math:`W^\top \Phi`, ``(N, d, d)``."""
        (_, n, m), d = self.slopes.shape, self.directions.size(1)
        columns = (self.directions[:, :, :, None] * weights).permute(0, 2, 3, 1).reshape(-1, m, weights.size(1) * d)
        return (self.slopes @ columns).sum(0).view(n, weights.size(1), d)

    def adjoint(self, matrices: Tensor) -> Tensor:
        r"""Sum over particles and ``b`` of :math:`\partial_b \Phi_k M_{ba}`, ``(m, d)``."""
        products = (self.slopes.mT @ matrices.flatten(1)).unflatten(2, matrices.shape[1:])
        return torch.einsum("jbk,jkba->ka", self.directions, products)

    def total(self) -> Tensor:
        """Sum over the particles, ``(m, d)``."""
        return torch.einsum("jbk,jk->kb", self.directions, self.slopes.sum(1))

    def along(self, vectors: Tensor) -> Tensor:
        """Derivatives along one vector per particle, ``(N, m)``."""
        return (self.slopes * (vectors @ self.directions)).sum(0)
