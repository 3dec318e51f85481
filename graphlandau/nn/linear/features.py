"""Scalar features of a vector, with their gradients: what a linear model is linear in."""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor, nn

from graphlandau.base.copies import copied
from graphlandau.base.derivatives import forward_mode
from graphlandau.base.errors import InvalidArgument
from graphlandau.base.precision import Adapted
from graphlandau.base.validation import as_number

__all__ = ["Features", "FourierFeatures", "NetworkFeatures"]


class Features(Protocol):
    r"""Functions :math:`\Phi(x)` that a linear model adds to its base; sums over particles are all that a fit needs.

    Attributes:
        max_count: Number of features.
        fixed: How many of them are always used; of the others the first few may do.
    """

    max_count: int
    fixed: int

    def __call__(self, x: Tensor) -> Tensor:
        """Features ``(N, max_count)``."""
        ...

    def value_and_mean_gradient(self, x: Tensor, w: Tensor | None, count: int) -> tuple[Tensor, Tensor]:
        r"""First ``count`` features ``(*, N, count)``, :math:`\sum_i w_i \nabla\Phi(x_i)` ``(*, count, d)``."""
        ...

    def value_and_jacobian(self, x: Tensor, coefficients: Tensor) -> tuple[Tensor, Tensor]:
        r"""The field :math:`W^\top \Phi` ``(N, d)`` and its Jacobian ``(N, d, d)``."""
        ...


class FourierFeatures(nn.Module):
    r"""Cosines of random directions, :math:`\Phi_k(x) = \cos(\omega_k \cdot x + b_k)`.

    Directions come in random orthonormal sets (Haar), :math:`|\omega_k|` is that of a 2D standard normal vector,
    phases are uniform. ``seed`` fixes the draw; the first ``count`` features are the same for every ``count``.
    """

    frequency: Tensor
    phase: Tensor

    def __init__(self, d: int, max_count: int, seed: int) -> None:
        super().__init__()
        self.fixed, self.max_count = 0, max_count
        generator = torch.Generator().manual_seed(as_number(seed))
        length = normal(generator, max_count, 2).norm(dim=1, keepdim=True)
        self.register_buffer("frequency", length * directions(d, max_count, generator))
        self.register_buffer("phase", 2 * math.pi * torch.rand(max_count, generator=generator, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        """Features ``(N, max_count)``."""
        return torch.cos(self._angle(x, self.max_count))

    def value_and_mean_gradient(self, x: Tensor, w: Tensor | None, count: int) -> tuple[Tensor, Tensor]:
        r"""First ``count`` features ``(*, N, count)``, :math:`\sum_i w_i \nabla\Phi(x_i)` ``(*, count, d)``."""
        angle = self._angle(x.flatten(0, -2), count).unflatten(0, x.shape[:-1])
        sine = torch.sin(angle)
        total = sine.sum(-2) if w is None else (w[..., None, :] @ sine).squeeze(-2)
        return torch.cos(angle), -total[..., None] * self.frequency[:count].to(x)

    def value_and_jacobian(self, x: Tensor, coefficients: Tensor) -> tuple[Tensor, Tensor]:
        r"""The field :math:`W^\top \Phi` ``(N, d)`` and its Jacobian ``(N, d, d)``."""
        angle = self._angle(x, self.max_count)
        outer = -coefficients[:, :, None] * self.frequency.to(x)[:, None, :]
        return torch.cos(angle) @ coefficients, (torch.sin(angle) @ outer.flatten(1)).unflatten(1, outer.shape[1:])

    def _angle(self, x: Tensor, count: int) -> Tensor:
        return torch.addmm(self.phase[:count].to(x), x, self.frequency[:count].to(x).T)


class NetworkFeatures(Adapted):
    """The outputs of a network ``(N, d) -> (N, m)``, such as its last hidden layer, with gradients by forward mode.

    Raises:
        ValueError: If ``network`` does not map ``(N, d)`` to ``(N, m)``.
    """

    def __init__(self, d: int, network: nn.Module) -> None:
        super().__init__(network)
        self.try_precisions(torch.zeros(3, d))
        with torch.no_grad(), torch.random.fork_rng():
            try:
                value = copied(self).call(torch.zeros(3, d))
            except Exception as error:  # a network that does not fit may fail in any way when it is tried
                raise ValueError(f"'features' must map (N, {d}) to (N, m) (failed on (3, {d}): {error})") from error
        if not isinstance(value, Tensor) or value.dim() != 2 or value.size(0) != 3:
            got = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise InvalidArgument("features", f"must map (N, {d}) to (N, m)", f"{got} for (3, {d})")
        self.max_count = value.size(1)
        self.fixed = self.max_count

    def forward(self, x: Tensor) -> Tensor:
        """Features ``(N, m)``."""
        return self.call(x)

    def value_and_mean_gradient(self, x: Tensor, w: Tensor | None, count: int) -> tuple[Tensor, Tensor]:
        r"""Features ``(*, N, m)``, :math:`\sum_i w_i \nabla\Phi(x_i)` ``(*, m, d)``; ``count`` is ``max_count``."""
        value, gradient = (y.unflatten(-2, x.shape[:-1]) for y in self._value_and_gradient(x.flatten(0, -2)))
        gradient = gradient if w is None else w[..., None] * gradient
        return value, gradient.sum(-2).movedim(0, -1)

    def value_and_jacobian(self, x: Tensor, coefficients: Tensor) -> tuple[Tensor, Tensor]:
        r"""The field :math:`W^\top \Phi` ``(N, d)`` and its Jacobian ``(N, d, d)``."""
        value, gradient = self._value_and_gradient(x)
        return value @ coefficients, torch.einsum("ma,bnm->nab", coefficients, gradient)

    def _value_and_gradient(self, x: Tensor) -> tuple[Tensor, Tensor]:
        value, jacobian = forward_mode(self.call, (x,), (torch.eye(x.size(1), dtype=x.dtype, device=x.device),))
        return value, jacobian.movedim(-1, 0)


def normal(generator: torch.Generator, *shape: int) -> Tensor:
    """Standard normal numbers in double precision."""
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def directions(d: int, count: int, generator: torch.Generator) -> Tensor:
    """Unit vectors ``(count, d)`` in random orthonormal sets, which cover the sphere evenly."""
    frames = torch.linalg.qr(normal(generator, math.ceil(count / d), d, d)).Q.mT
    return frames.reshape(-1, d)[:count]
