"""Scalar features of the whitened velocity, with their gradients: what :class:`ClosedFormScore` is linear in."""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn

from graphlandau.base.errors import InvalidArgument

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
        rows = x.T
        central = _Central(rows, self.core.to(x))
        return torch.cat([central.value(), self._layers(rows, len(self.offset))[1]]).T

    def value_and_mean_gradient(self, x: Tensor, w: Tensor | None, count: int) -> tuple[Tensor, Tensor]:
        r"""First ``count`` features ``(*, N, count)``, :math:`\sum_i w_i \nabla\Phi(x_i)` ``(*, count, d)``."""
        rows = x.flatten(0, -2).T
        central = _Central(rows, self.core.to(x))
        hidden, value = self._layers(rows, count - self.fixed)
        # sum_i w_i Phi'_ik H'_ih V_kh Omega_hb: the sum over particles is one matrix product.
        slope = _blocks(_tanh_slope(value), x)
        slope = slope if w is None else slope * w[..., None, :]
        joint = slope @ _blocks(_tanh_slope(hidden), x).mT
        gradient = (joint * self.mixing[: len(value)].to(x)) @ self.frequency.to(x)
        gradient = torch.cat([central.mean_gradient(x, w), gradient], dim=-2)
        return _blocks(torch.cat([central.value(), value]), x).mT, gradient

    def value_and_jacobian(self, x: Tensor, coefficients: Tensor) -> tuple[Tensor, Tensor]:
        r"""The field :math:`W^\top \Phi` ``(N, d)`` and its Jacobian ``(N, d, d)``."""
        rows = x.T
        central = _Central(rows, self.core.to(x))
        first, rest = coefficients.split([self.fixed, len(self.offset)])
        hidden, value = self._layers(rows, len(rest))
        mixing, frequency = self.mixing.to(x), self.frequency.to(x)
        # W_ka Phi'_k V_kh for every component a of the field at once, then H'_h Omega_hb.
        weights = (rest[:, :, None] * mixing[:, None, :]).flatten(1)
        inner = (weights.T @ _tanh_slope(value)).unflatten(0, (rest.size(1), -1)) * _tanh_slope(hidden)
        jacobian = frequency.T @ inner + central.jacobian(first)
        return (rest.T @ value + first.T @ central.value()).T, jacobian.permute(2, 0, 1)

    def _layers(self, rows: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """Both layers at ``rows``, one column for each particle."""
        hidden = _tanh_layer(self.phase, self.frequency, rows)
        return hidden, _tanh_layer(self.offset[:count], self.mixing[:count], hidden)


def _tanh_layer(offset: Tensor, weight: Tensor, rows: Tensor) -> Tensor:
    r""":math:`\tanh(W x + b) = 2 \sigma(2 (W x + b)) - 1` at the columns: torch's sigmoid takes a tenth of the time."""
    doubled = torch.addmm(offset.to(rows)[:, None], weight.to(rows), rows, beta=2, alpha=2)
    return torch.add(rows.new_tensor(-1), torch.sigmoid(doubled), alpha=2)


class _Central:
    r"""Fields :math:`4 x_b / \sqrt{1 + |x|^2 / q_j}` at the columns of ``rows``, ``j`` slower than ``b``."""

    def __init__(self, rows: Tensor, core: Tensor) -> None:
        self.rows = rows
        shape = (1 + rows.square().sum(0) / core[:, None]).rsqrt()
        self.slope = (-CENTRAL_SCALE / core[:, None]) * shape**3
        self.shape = CENTRAL_SCALE * shape

    def value(self) -> Tensor:
        """``(cores * d, N)``."""
        return (self.shape[:, None] * self.rows).flatten(0, 1)

    def mean_gradient(self, x: Tensor, w: Tensor | None) -> Tensor:
        """Weighted sum of the gradients over the particles of each block of ``x``, ``(*, cores * d, d)``."""
        d = len(self.rows)
        shape, slope = (_blocks(y if w is None else y * w.flatten(), x) for y in (self.shape, self.slope))
        products = _blocks((self.rows[:, None] * self.rows).flatten(0, 1), x)
        eye = torch.eye(d, dtype=x.dtype, device=x.device)
        gradient = shape.sum(-1)[..., None, None] * eye + (slope @ products.mT).unflatten(-1, (d, d))
        return gradient.flatten(-3, -2)

    def jacobian(self, coefficients: Tensor) -> Tensor:
        """Jacobian of the field with these coefficients, ``(d, d, N)``."""
        d = len(self.rows)
        parts = coefficients.unflatten(0, (-1, d))  # core j, component b of the velocity, component a of the field
        isotropic = parts.permute(2, 1, 0).flatten(0, 1) @ self.shape
        radial = coefficients.T @ (self.slope[:, None] * self.rows).flatten(0, 1)
        return isotropic.unflatten(0, (d, d)) + radial[:, None] * self.rows


def _blocks(columns: Tensor, x: Tensor) -> Tensor:
    """Columns ``(m, N)`` of all particles as ``(*, m, n)``, one block for each of ``x`` ``(*, n, d)``."""
    return columns.unflatten(1, x.shape[:-1]).movedim(0, -2)


def _tanh_slope(value: Tensor) -> Tensor:
    """Derivative of the hyperbolic tangent, from its value; ``1 - value * value`` in one pass."""
    return torch.addcmul(value.new_ones(()), value, value, value=-1)


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

    def value_and_mean_gradient(self, x: Tensor, w: Tensor | None, count: int) -> tuple[Tensor, Tensor]:
        r"""First ``count`` features ``(*, N, count)``, :math:`\sum_i w_i \nabla\Phi(x_i)` ``(*, count, d)``."""
        angle = self._angle(x.flatten(0, -2), count).unflatten(0, x.shape[:-1])
        sine = torch.sin(angle)
        total = sine.sum(-2) if w is None else (w[..., None, :] @ sine).squeeze(-2)
        return torch.cos(angle), -total[..., None] * self.frequency[:count].to(x)

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
            raise InvalidArgument("features", f"must map (N, {d}) to (N, m)", f"{got} for (3, {d})")
        self.network, self.most = network, value.size(1)
        self.fixed = self.most

    def forward(self, x: Tensor) -> Tensor:
        """Features ``(N, m)``."""
        return self.network(x)

    def value_and_mean_gradient(self, x: Tensor, w: Tensor | None, count: int) -> tuple[Tensor, Tensor]:
        r"""Features ``(*, N, m)``, :math:`\sum_i w_i \nabla\Phi(x_i)` ``(*, m, d)``; ``count`` is ``most``."""
        value, gradient = (y.unflatten(-2, x.shape[:-1]) for y in self._value_and_gradient(x.flatten(0, -2)))
        gradient = gradient if w is None else w[..., None] * gradient
        return value, gradient.sum(-2).movedim(0, -1)

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
