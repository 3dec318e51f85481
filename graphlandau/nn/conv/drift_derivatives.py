"""Derivatives of the Landau drift in the velocity and the score of a particle, and the matrix of its diffusion."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from graphlandau.base.validation import is_concrete
from graphlandau.base.vectors import dot, identity, join, outer
from graphlandau.graphs.partition import Partition
from graphlandau.nn.pairs import pair_sum
from graphlandau.physics.landau_kernel import LandauKernel

__all__ = ["differentiated_partials", "diffusion", "partials"]

Pair = tuple[Tensor, Tensor]


def partials(
    kernel: LandauKernel,
    backend: str,
    at: Pair,
    senders: tuple[Tensor, Tensor, Tensor],
    graph: Partition | Tensor,
    by_hand: bool,
) -> Pair:
    r""":math:`T = \partial_v U` and :math:`D = \partial_s U` of the drift of ``kernel``, by an exact backend.

    Args:
        kernel: Of the collisions.
        backend: Exact backend.
        at: Velocities and scores where the field is differentiated.
        senders: Velocities, scores and weights, ``(N, 1)``, of the particles.
        graph: Blocks, or edges.
        by_hand: Whether the gradient of these in ``at`` is to be evaluated by a formula of its own.
    """
    d = at[0].size(1)

    def value(x: Tensor, u: Tensor) -> Tensor:
        return pair_sum(backend, Partials(kernel), (x, u), senders, graph)

    def gradient(x: Tensor, u: Tensor, cotangent: Tensor) -> tuple[Tensor, ...]:
        receivers = (x, u, *_contractions(*cotangent.unflatten(1, (2, d, d)).unbind(1)))
        return pair_sum(backend, PartialsGradient(kernel), receivers, senders, graph).split(d, dim=1)

    if not by_hand or not is_concrete(at[0]) or any(x.requires_grad for x in senders):
        out = value(*at)
    else:
        out = ByReceivers.apply(*at, value, gradient)
    by_v, by_s = out.split(d * d, dim=1)
    return by_v.unflatten(1, (d, d)), by_s.unflatten(1, (d, d))


def differentiated_partials(drift: Callable[[Tensor, Tensor], Tensor], at: Pair) -> Pair:
    r"""The same of any drift field :math:`U(v, s)`, by differentiating it component by component.

    Args:
        drift: Velocities and scores of receivers to their drifts, each receiver for itself.
        at: Where it is differentiated.
    """
    keep = torch.is_grad_enabled() and any(x.requires_grad for x in at)
    with torch.enable_grad():
        x, u = (a if a.requires_grad else a.detach().requires_grad_() for a in at)
        out = drift(x, u)
        rows = [
            torch.autograd.grad(column.sum(), (x, u), retain_graph=True, create_graph=keep) for column in out.unbind(1)
        ]
    return torch.stack([by_v for by_v, _ in rows], 1), torch.stack([by_s for _, by_s in rows], 1)


def diffusion(
    kernel: LandauKernel, backend: str, v: Float[Tensor, "N d"], weight: Float[Tensor, "N 1"], graph: Partition | Tensor
) -> Pair:
    r""":math:`\sum_j w_j A(v_i - v_j)` and its divergence, by an exact backend."""
    d = v.size(1)
    matrix, divergence = pair_sum(backend, Diffusion(kernel), (v,), (v, weight), graph).split([d * d, d], dim=1)
    return matrix.unflatten(1, (d, d)), (d - 1) * divergence


@dataclass(frozen=True)
class Partials:
    r"""What one sender adds to :math:`T` and :math:`D`, row by row.

    With :math:`p = C |z|^\gamma` and :math:`A(z) u = p\,(|z|^2 u - z (z \cdot u))`,
    :math:`\partial_z [A(z) u] = \frac{\gamma p}{|z|^2} (|z|^2 u - z (z \cdot u)) z^\top
    + p\,(2 u z^\top - (z \cdot u) I - z u^\top)`.
    """

    kernel: LandauKernel

    def __call__(self, receiver: Sequence[Any], sender: Sequence[Any]) -> Any:
        (v_i, s_i), (v_j, s_j, w_j) = receiver, sender
        z, u = v_i - v_j, s_i - s_j
        r2, zu, eye = dot(z, z), dot(z, u), identity(z)
        p = self.kernel.power(r2) * w_j
        slope = p * self.kernel.gamma / self.kernel.softened(r2)
        by_v = outer(u * r2 - z * zu, z) * slope + (outer(u, z) * 2.0 - eye * zu - outer(z, u)) * p
        by_s = (eye * r2 - outer(z, z)) * p
        return join([by_v * -1.0, by_s * -1.0])


class ByReceivers(torch.autograd.Function):
    """A function of the receivers alone with a first derivative of its own, and no second one."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        u: Tensor,
        value: Callable[[Tensor, Tensor], Tensor],
        gradient: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, ...]],
    ) -> Tensor:
        ctx.save_for_backward(x, u)
        ctx.gradient = gradient
        return value(x, u)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return (*ctx.gradient(*ctx.saved_tensors, cotangent), None, None)


def _contractions(M: Float[Tensor, "N d d"], N: Float[Tensor, "N d d"]) -> list[Tensor]:
    """Cotangents of T and D as :class:`PartialsGradient` takes them: two traces, rows of M, M^T and N + N^T."""
    traces = [x.diagonal(dim1=1, dim2=2).sum(1, keepdim=True) for x in (M, N)]
    return [*traces, *M.unbind(1), *M.unbind(2), *(N + N.mT).unbind(1)]


@dataclass(frozen=True)
class PartialsGradient:
    r"""What one sender adds to the gradient of :math:`M : T + N : D` in the velocity and in the score of the receiver.

    By hand, because to differentiate :class:`Partials` entry by entry takes three times as long (in 3D), and minutes
    to compile.
    With :math:`p = C |z|^\gamma`, :math:`c = \gamma p / |z|^2`, :math:`\alpha = u \cdot M z`,
    :math:`\beta = u \cdot z`, :math:`\kappa = z \cdot M z` the term is

    .. math::
        -w_j \left[ c \, (|z|^2 \alpha - \beta \kappa) + p \, (2 \alpha - \beta \operatorname{tr} M - z \cdot M u
        + |z|^2 \operatorname{tr} N - z \cdot N z) \right]

    and :math:`\nabla p = c z`, :math:`\nabla c = (\gamma - 2) c z / |z|^2`. Inside the softened ball ``p`` is constant,
    which is left aside: no pair is that close but a particle and itself, where all of it vanishes.
    """

    kernel: LandauKernel

    def __call__(self, receiver: Sequence[Any], sender: Sequence[Any]) -> Any:
        (v_i, s_i, trace_m, trace_n, *rows), (v_j, s_j, w_j) = receiver, sender
        d = len(rows) // 3
        z, u = v_i - v_j, s_i - s_j

        def times(matrix: Sequence[Any], x: Any) -> Any:
            return join([dot(row, x) for row in matrix])

        m, m_t, n_twice = rows[:d], rows[d : 2 * d], times(rows[2 * d :], z)
        mz, mtz = times(m, z), times(m_t, z)
        r2, alpha, beta, kappa = dot(z, z), dot(u, mz), dot(u, z), dot(z, mz)
        softened = self.kernel.softened(r2)
        p = self.kernel.power(r2) * w_j
        c = p * self.kernel.gamma / softened
        first = alpha * r2 - beta * kappa
        second = alpha * 2.0 - beta * trace_m - dot(u, mtz) + r2 * trace_n - dot(z, n_twice) * 0.5
        by_z = z * (c * (first / softened * (self.kernel.gamma - 2.0) + alpha * 2.0 + second) + p * trace_n * 2.0)
        by_z = by_z + times(m_t, u) * (c * r2 + p * 2.0) - u * (c * kappa + p * trace_m)
        by_z = by_z - (mz + mtz) * (c * beta) - (times(m, u) + n_twice) * p
        by_u = mz * (c * r2 + p * 2.0) - z * (c * kappa + p * trace_m) - mtz * p
        return join([by_z * -1.0, by_u * -1.0])


@dataclass(frozen=True)
class Diffusion:
    r"""What one sender adds to :math:`D`, row by row, and to :math:`\nabla \cdot D / (d - 1)`."""

    kernel: LandauKernel

    def __call__(self, receiver: Sequence[Any], sender: Sequence[Any]) -> Any:
        (v_i,), (v_j, w_j) = receiver, sender
        z = v_i - v_j
        r2 = dot(z, z)
        p = self.kernel.power(r2) * w_j
        return join([(identity(z) * r2 - outer(z, z)) * p, z * p * -1.0])
