"""External potentials."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor

from graphlandau.base.errors import InvalidArgument
from graphlandau.base.validation import require_number, require_positive, require_velocities

__all__ = ["Potential", "RippledWell"]


class Potential(ABC):
    r"""An external potential :math:`\phi(x)`; particles feel the force :math:`-\nabla\phi`. Dimensionless.

    A subclass writes :meth:`value`; the gradient then follows by automatic differentiation. Override it where a formula
    is known. Evaluation follows the dtype and device of the positions.

    Example:
        >>> class Slope(Potential):
        ...     def value(self, x):
        ...         return 2 * x[:, 0]
        >>> Slope().gradient(torch.zeros(1, 2))
        tensor([[2., 0.]])
    """

    @abstractmethod
    def value(self, x: Float[Tensor, "N d_x"]) -> Float[Tensor, " N"]:
        r"""Potential :math:`\phi` at every position; entry :math:`i` depends on :math:`x_i` only."""

    def gradient(self, x: Float[Tensor, "N d_x"]) -> Float[Tensor, "N d_x"]:
        r"""Gradient :math:`\nabla\phi`, here by automatic differentiation of :meth:`value`."""
        require_velocities("x", x, min_particles=1)
        return torch.func.grad(lambda y: self.value(y).sum())(x)


class RippledWell(Potential):
    r"""A parabola with ripples, the same in every direction.

    .. math::
        \phi(x) = \sum_a \tfrac{1}{2} \kappa x_a^2 + A \cos(k x_a - \theta)

    With :math:`\kappa = 1, A = 1, k = 2\pi` and in one dimension Example 2 of the reference; with :math:`\kappa = 0,
    A = 1/5, \theta = \pi/2` the periodic :math:`\sin(2 \pi x) / 5` of its Example 3. Dimensionless.

    Args:
        stiffness: :math:`\kappa \ge 0`.
        amplitude: :math:`A`.
        wavenumber: :math:`k > 0`.
        phase: :math:`\theta`.

    Shapes:
        - **x**: positions :math:`(N, d_x)`
        - **output**: :math:`(N,)`, and :math:`(N, d_x)` for the gradient

    Raises:
        ValueError: If an argument is out of range, or ``x`` is not a finite floating :math:`(N, d_x)`.

    Example:
        >>> RippledWell(stiffness=1.0).gradient(torch.tensor([[3.0]]))
        tensor([[3.]])

    Reference: arXiv:2603.23901, Section 5, Examples 2 to 4.
    """

    def __init__(
        self,
        stiffness: float = 0.0,
        amplitude: float = 0.0,
        wavenumber: float = 2 * math.pi,
        phase: float = 0.0,
    ) -> None:
        if require_number("stiffness", stiffness) < 0:
            raise InvalidArgument("stiffness", "must be at least 0", stiffness)
        self.stiffness = float(stiffness)
        self.amplitude = require_number("amplitude", amplitude)
        self.wavenumber = require_positive("wavenumber", wavenumber)
        self.phase = require_number("phase", phase)

    def value(self, x: Float[Tensor, "N d_x"]) -> Float[Tensor, " N"]:
        """Potential at every position."""
        require_velocities("x", x, min_particles=1)
        ripple = torch.cos(self.wavenumber * x - self.phase)
        return (0.5 * self.stiffness * x.square() + self.amplitude * ripple).sum(1)

    def gradient(self, x: Float[Tensor, "N d_x"]) -> Float[Tensor, "N d_x"]:
        """Gradient at every position."""
        require_velocities("x", x, min_particles=1)
        ripple = torch.sin(self.wavenumber * x - self.phase)
        return self.stiffness * x - self.amplitude * self.wavenumber * ripple

    def __repr__(self) -> str:
        return (
            f"RippledWell(stiffness={self.stiffness}, amplitude={self.amplitude}, wavenumber={self.wavenumber}, "
            f"phase={self.phase})"
        )
