"""The Landau collision kernel: the one place where its formula stands."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from graphlandau.base.errors import InvalidArgument
from graphlandau.base.validation import as_number, keep, require_positive
from graphlandau.base.vectors import dot, precision

__all__ = ["LandauKernel"]


@dataclass(frozen=True)
class LandauKernel:
    r"""The matrix kernel of Landau collisions.

    .. math::
        A(z) = C |z|^{\gamma} (|z|^2 I - z z^{\top}), \qquad A(0) = 0, \qquad
        \nabla \cdot A(z) = -(d - 1) C |z|^{\gamma} z

    Symmetric, even, positive semi-definite, and :math:`A(z) z = 0`: that is momentum, dissipation and energy.
    Softening replaces :math:`|z|^\gamma` by :math:`\max(|z|, \varepsilon)^\gamma` and nothing else: pairs farther apart
    than :math:`\varepsilon` do not notice it, and all of these identities and the form of the divergence survive it.
    Dimensionless.

    Args:
        gamma: Exponent in [-4, 1]; 0 is Maxwell molecules, -3 is Coulomb (in every dimension).
        strength: The constant :math:`C > 0`.
        eps: Softening length, in the units of ``z``. ``None`` takes 1e-10 in float64 and 1e-5 in float32, large enough
            that value, first and second derivatives stay finite for coincident particles over the whole range of
            ``gamma``. Just outside the softened ball second derivatives are of the order
            :math:`\varepsilon^{\gamma - 4}`, which in float32 is finite for :math:`\gamma \ge -3.6`. The layers of
            :mod:`graphlandau.nn` evaluate their own messages in units in which the particles are of order 1, so that
            ``None`` means a share of their spread there. Not used for ``gamma = 0``.

    Raises:
        ValueError: If ``gamma`` is outside [-4, 1], or ``strength`` or ``eps`` is not positive.

    Example:
        >>> import torch
        >>> A = LandauKernel(gamma=-3.0, strength=2.0)
        >>> z = torch.tensor([[2.0, 0.0]])
        >>> A(z, torch.tensor([[1.0, 1.0]]))
        tensor([[0., 1.]])

    Reference: Ilin, Hu and Wang 2025, Eq. (1.1); Huang and Wang, arXiv:2409.12296, Eq. (2).
    """

    gamma: float
    strength: float = 1.0
    eps: float | None = None

    def __post_init__(self) -> None:
        keep(self, gamma=as_number(self.gamma))
        if isinstance(self.gamma, bool) or not isinstance(self.gamma, int | float):
            raise InvalidArgument("gamma", "must be a number in [-4, 1]", repr(self.gamma))
        if not (math.isfinite(self.gamma) and -4 <= self.gamma <= 1):
            raise InvalidArgument("gamma", "must be in [-4, 1]", self.gamma)
        keep(self, strength=require_positive("strength", self.strength))
        if self.eps is not None:
            keep(self, eps=require_positive("eps", self.eps))

    def softening(self, dtype: torch.dtype) -> float:
        """Softening length used for tensors of ``dtype``."""
        if self.eps is not None:
            return float(self.eps)
        return 1e-10 if dtype == torch.float64 else 1e-5

    def softened(self, r2: Any) -> Any:
        r""":math:`\max(|z|, \varepsilon)^2` from :math:`|z|^2`."""
        eps = self.softening(precision(r2))
        return (r2 - eps * eps).relu() + eps * eps

    def power(self, r2: Any) -> Any:
        r"""Softened :math:`C |z|^\gamma` from :math:`|z|^2`, a one-component vector of any carrier."""
        if self.gamma == 0:
            return r2 * 0.0 + self.strength
        softened = self.softened(r2)
        if float(self.gamma).is_integer() and self.gamma < 0:
            # A product of reciprocal roots is several times faster than a general power.
            root = softened.rsqrt()
            power = root
            for _ in range(int(-self.gamma) - 1):
                power = power * root
        elif self.gamma == 1:
            power = softened.sqrt()
        else:
            power = (softened.log() * (0.5 * self.gamma)).exp()
        return power * self.strength

    def apply(self, z: Any, u: Any) -> Any:
        r""":math:`A(z) u = C |z|^\gamma (|z|^2 u - z (z \cdot u))` for vectors of any carrier."""
        r2 = dot(z, z)
        power = self.power(r2)
        return u * (power * r2) - z * (power * dot(z, u))

    def __call__(self, z: Float[Tensor, "*n d"], u: Float[Tensor, "*n d"]) -> Float[Tensor, "*n d"]:
        r""":math:`A(z) u` along the last dimension."""
        return self.apply(z, u)
