"""Random features of two layers of hyperbolic tangents, and a few around the mean."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from graphlandau.base.validation import as_number
from graphlandau.nn.linear.features import directions, normal

__all__ = ["TanhFeatures"]

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

    def __init__(self, d: int, max_count: int, seed: int) -> None:
        super().__init__()
        self.fixed, self.max_count = d * len(CORES), d * len(CORES) + max_count
        generator = torch.Generator().manual_seed(as_number(seed))
        self.register_buffer("frequency", 1.5 * directions(d, HIDDEN, generator))
        self.register_buffer("phase", 1.5 * normal(generator, HIDDEN))
        self.register_buffer("mixing", 2 / math.sqrt(HIDDEN) * normal(generator, max_count, HIDDEN))
        self.register_buffer("offset", normal(generator, max_count))
        self.register_buffer("core", d * torch.tensor(CORES, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        """Features ``(N, max_count)``."""
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
