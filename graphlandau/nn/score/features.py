"""Scalar features of the whitened velocity, with their gradients: what :class:`ClosedFormScore` is linear in."""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn

from graphlandau.validation import require_one_of

__all__ = ["NetworkFeatures", "RandomFeatures"]

# Standard deviation of omega.x for unit variance x.
FREQUENCY = {"tanh": 1.5, "fourier": 1.0}


class RandomFeatures(nn.Module):
    r"""Ridge functions of random directions, :math:`\Phi_k(x) = \varphi(\omega_k \cdot x + b_k)`.

    Directions come in random orthonormal sets of :math:`d` (Haar), which cover the sphere more evenly than independent
    ones. ``"tanh"``: :math:`|\omega_k| = 1.5` and :math:`b_k = -|\omega_k| c_k`, :math:`c_k \sim N(0, 1)`, so that the
    steps lie where the particles are. ``"fourier"`` (cosines): :math:`|\omega_k|` of a 2D standard normal vector and
    uniform phases. ``seed`` fixes the draw; the first ``count`` features are the same for every ``count``.
    """

    frequency: Tensor
    phase: Tensor

    def __init__(self, d: int, most: int, kind: str, seed: int) -> None:
        super().__init__()
        self.most = most
        self.kind = require_one_of("features", kind, tuple(FREQUENCY))
        generator = torch.Generator().manual_seed(seed)
        frames = torch.randn(math.ceil(most / d), d, d, generator=generator, dtype=torch.float64)
        directions = torch.linalg.qr(frames).Q.mT.reshape(-1, d)[:most]
        normal = torch.randn(most, 2, generator=generator, dtype=torch.float64)
        if kind == "tanh":
            length = torch.full((most,), FREQUENCY[kind], dtype=torch.float64)
            phase = -length * normal[:, 0]
        else:
            length = FREQUENCY[kind] * normal.norm(dim=1)
            phase = 2 * math.pi * torch.rand(most, generator=generator, dtype=torch.float64)
        self.register_buffer("frequency", directions * length[:, None])
        self.register_buffer("phase", phase)

    def forward(self, x: Tensor) -> Tensor:
        """Features ``(N, most)``."""
        return self._value_and_slope(x, self.most)[0]

    def value_and_mean_gradient(self, x: Tensor, w: Tensor, count: int) -> tuple[Tensor, Tensor]:
        r"""First ``count`` features ``(N, count)`` and :math:`\sum_i w_i \nabla\Phi(x_i)`, ``(count, d)``."""
        value, slope = self._value_and_slope(x, count)
        return value, (w @ slope)[:, None] * self.frequency[:count].to(x)

    def value_and_jacobian(self, x: Tensor, coefficients: Tensor) -> tuple[Tensor, Tensor]:
        r"""The field :math:`W^\top \Phi` ``(N, d)`` and its Jacobian ``(N, d, d)``."""
        value, slope = self._value_and_slope(x, self.most)
        outer = coefficients[:, :, None] * self.frequency.to(x)[:, None, :]
        return value @ coefficients, (slope @ outer.flatten(1)).unflatten(1, outer.shape[1:])

    def _value_and_slope(self, x: Tensor, count: int) -> tuple[Tensor, Tensor]:
        z = torch.addmm(self.phase[:count].to(x), x, self.frequency[:count].to(x).T)
        if self.kind == "tanh":
            value = torch.tanh(z)
            return value, 1 - value * value
        return torch.cos(z), -torch.sin(z)


class NetworkFeatures(nn.Module):
    """The outputs of a network ``(N, d) -> (N, m)``, such as its last hidden layer, with gradients by forward mode.

    Raises:
        ValueError: If ``network`` does not map ``(N, d)`` to ``(N, m)``.
    """

    def __init__(self, d: int, network: nn.Module) -> None:
        super().__init__()
        like = next((x for x in network.parameters() if x.is_floating_point()), torch.empty(0))
        with torch.no_grad(), torch.random.fork_rng():
            try:
                value = copy.deepcopy(network)(torch.zeros(3, d).to(like))
            except Exception as error:  # a network that does not fit may fail in any way when it is tried
                raise ValueError(f"'features' must map (N, {d}) to (N, m) (failed on (3, {d}): {error})") from error
        if not isinstance(value, Tensor) or value.dim() != 2 or value.size(0) != 3:
            got = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise ValueError(f"'features' must map (N, {d}) to (N, m) (got {got} for (3, {d}))")
        self.network, self.most = network, value.size(1)

    def forward(self, x: Tensor) -> Tensor:
        """Features ``(N, m)``."""
        return self.network(x)

    def value_and_mean_gradient(self, x: Tensor, w: Tensor, count: int) -> tuple[Tensor, Tensor]:
        r"""Features ``(N, m)`` and :math:`\sum_i w_i \nabla\Phi(x_i)`, ``(m, d)``; ``count`` is ``most``."""
        value, gradient = self._value_and_gradient(x)
        return value, torch.einsum("n,bnm->mb", w, gradient)

    def value_and_jacobian(self, x: Tensor, coefficients: Tensor) -> tuple[Tensor, Tensor]:
        r"""The field :math:`W^\top \Phi` ``(N, d)`` and its Jacobian ``(N, d, d)``."""
        value, gradient = self._value_and_gradient(x)
        return value @ coefficients, torch.einsum("ma,bnm->nab", coefficients, gradient)

    def _value_and_gradient(self, x: Tensor) -> tuple[Tensor, Tensor]:
        directions = torch.eye(x.size(1), dtype=x.dtype, device=x.device)

        def push(direction: Tensor) -> tuple[Tensor, Tensor]:
            return torch.func.jvp(self.network, (x,), (direction.expand_as(x),))[:2]

        values, gradient = torch.func.vmap(push)(directions)
        return values[0], gradient
