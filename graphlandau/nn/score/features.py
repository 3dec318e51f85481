"""Scalar features of the whitened velocity, with their gradients: what :class:`ClosedFormScore` is linear in."""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn

__all__ = ["FourierFeatures", "NetworkFeatures", "TanhFeatures"]

# Units of the random hidden layer of TanhFeatures.
HIDDEN = 48

# Core radii of the central features of TanhFeatures, squared and per dimension.
CORES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)

# Factor on them, see TanhFeatures.
CENTRAL_SCALE = 4.0


class TanhFeatures(nn.Module):
    r"""Random features of two layers, :math:`\tanh(V \tanh(\Omega x + b) + c)`, and a few central ones.

    A single random layer consists of ridges across the whole space and needs very many of them for a
    structure around a point; a second one makes them local. Rows of :math:`\Omega` have length 1.5 and directions in
    random orthonormal sets (Haar); :math:`b = -1.5\,n` with standard normal :math:`n` puts the steps where the
    particles are; entries of :math:`V` have variance :math:`4 / 48`, those of :math:`c` are standard normal. ``seed``
    fixes the draw; the first ``count`` features are the same for every ``count``.

    The point that many distributions are structured around is their own mean (shells, rings, cores with heavy tails):
    :math:`4 x_b / \sqrt{1 + |x|^2 / (q_j d)}` for six :math:`q_j` between 0.01 and 3 are always among the features; the
    factor makes the ridge weigh the few of them 16 times less than the many random ones.
    """

    frequency: Tensor
    phase: Tensor
    mixing: Tensor
    offset: Tensor
    core: Tensor

    def __init__(self, d: int, most: int, seed: int) -> None:
        super().__init__()
        self.fixed, self.most = d * len(CORES), d * len(CORES) + most
        generator = torch.Generator().manual_seed(seed)
        self.register_buffer("frequency", 1.5 * _directions(d, HIDDEN, generator))
        self.register_buffer("phase", 1.5 * _normal(generator, HIDDEN))
        self.register_buffer("mixing", 2 / math.sqrt(HIDDEN) * _normal(generator, most, HIDDEN))
        self.register_buffer("offset", _normal(generator, most))
        self.register_buffer("core", d * torch.tensor(CORES, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        """Features ``(N, most)``."""
        central = _central(x, self.core.to(x))[0]
        return torch.cat([central, self._layers(x, len(self.offset))[1]], dim=1)

    def value_and_mean_gradient(self, x: Tensor, w: Tensor, count: int) -> tuple[Tensor, Tensor]:
        r"""First ``count`` features ``(N, count)`` and :math:`\sum_i w_i \nabla\Phi(x_i)`, ``(count, d)``."""
        central, central_gradient = _central(x, self.core.to(x))
        hidden, value = self._layers(x, count - central.size(1))
        # sum_i w_i Phi'_ik H'_ih V_kh Omega_hb: the sum over particles is one matrix product.
        joint = (w[:, None] * (1 - value * value)).T @ (1 - hidden * hidden)
        gradient = (joint * self.mixing[: value.size(1)].to(x)) @ self.frequency.to(x)
        mean_gradient = torch.tensordot(w, central_gradient, dims=1)
        return torch.cat([central, value], dim=1), torch.cat([mean_gradient, gradient])

    def value_and_jacobian(self, x: Tensor, coefficients: Tensor) -> tuple[Tensor, Tensor]:
        r"""The field :math:`W^\top \Phi` ``(N, d)`` and its Jacobian ``(N, d, d)``."""
        central, central_gradient = _central(x, self.core.to(x))
        first, rest = coefficients.split([central.size(1), len(self.offset)])
        hidden, value = self._layers(x, len(rest))
        slope, hidden_slope = 1 - value * value, 1 - hidden * hidden
        mixing, frequency = self.mixing.to(x), self.frequency.to(x)
        rows = [(hidden_slope * (slope @ (c[:, None] * mixing))) @ frequency for c in rest.unbind(1)]
        jacobian = torch.stack(rows, dim=1) + torch.einsum("ka,nkb->nab", first, central_gradient)
        return value @ rest + central @ first, jacobian

    def _layers(self, x: Tensor, count: int) -> tuple[Tensor, Tensor]:
        hidden = torch.tanh(torch.addmm(self.phase.to(x), x, self.frequency.to(x).T))
        value = torch.tanh(torch.addmm(self.offset[:count].to(x), hidden, self.mixing[:count].to(x).T))
        return hidden, value


def _central(x: Tensor, core: Tensor) -> tuple[Tensor, Tensor]:
    r"""Fields :math:`4 x_b / \sqrt{1 + |x|^2 / q}`, ``(N, cores * d)``, and their gradients ``(N, cores * d, d)``."""
    shape = (1 + x.square().sum(1, keepdim=True) / core).rsqrt()
    slope = -(shape**3) / core
    eye = torch.eye(x.size(1), dtype=x.dtype, device=x.device)
    gradient = shape[:, :, None, None] * eye + slope[:, :, None, None] * (x[:, :, None] * x[:, None, :])[:, None]
    return CENTRAL_SCALE * (shape[:, :, None] * x[:, None, :]).flatten(1), CENTRAL_SCALE * gradient.flatten(1, 2)


class FourierFeatures(nn.Module):
    r"""Cosines of random directions, :math:`\Phi_k(x) = \cos(\omega_k \cdot x + b_k)`.

    Directions come in random orthonormal sets (Haar), :math:`|\omega_k|` is that of a 2D standard normal vector,
    phases are uniform. ``seed`` fixes the draw; the first ``count`` features are the same for every ``count``.
    """

    frequency: Tensor
    phase: Tensor

    def __init__(self, d: int, most: int, seed: int) -> None:
        super().__init__()
        self.fixed, self.most = 0, most
        generator = torch.Generator().manual_seed(seed)
        length = _normal(generator, most, 2).norm(dim=1, keepdim=True)
        self.register_buffer("frequency", length * _directions(d, most, generator))
        self.register_buffer("phase", 2 * math.pi * torch.rand(most, generator=generator, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        """Features ``(N, most)``."""
        return torch.cos(self._angle(x, self.most))

    def value_and_mean_gradient(self, x: Tensor, w: Tensor, count: int) -> tuple[Tensor, Tensor]:
        r"""First ``count`` features ``(N, count)`` and :math:`\sum_i w_i \nabla\Phi(x_i)`, ``(count, d)``."""
        angle = self._angle(x, count)
        return torch.cos(angle), -(w @ torch.sin(angle))[:, None] * self.frequency[:count].to(x)

    def value_and_jacobian(self, x: Tensor, coefficients: Tensor) -> tuple[Tensor, Tensor]:
        r"""The field :math:`W^\top \Phi` ``(N, d)`` and its Jacobian ``(N, d, d)``."""
        angle = self._angle(x, self.most)
        outer = -coefficients[:, :, None] * self.frequency.to(x)[:, None, :]
        return torch.cos(angle) @ coefficients, (torch.sin(angle) @ outer.flatten(1)).unflatten(1, outer.shape[1:])

    def _angle(self, x: Tensor, count: int) -> Tensor:
        return torch.addmm(self.phase[:count].to(x), x, self.frequency[:count].to(x).T)


def _normal(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def _directions(d: int, count: int, generator: torch.Generator) -> Tensor:
    """Unit vectors ``(count, d)`` in random orthonormal sets, which cover the sphere evenly."""
    frames = torch.linalg.qr(_normal(generator, math.ceil(count / d), d, d)).Q.mT
    return frames.reshape(-1, d)[:count]


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
        self.fixed = self.most

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
