"""The flow in the inner time of a JKO step: particles, action, and how volumes change along the way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from graphlandau.diagnostics import average
from graphlandau.integrators.runge_kutta import RungeKutta
from graphlandau.nn.conv import LandauDrift

__all__ = ["Flow", "InnerFlow", "segment_to_singular"]

# Below this determinant its negative logarithm goes on as a parabola: finite, and it still pushes back.
RELAXED_BELOW = 1e-2

VectorField = Callable[[Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Stage:
    """The field at one instant: ``u``, the drift ``U``, and :math:`\\nabla U` with the other particles held fixed."""

    u: Tensor
    drift: Tensor
    jacobian: Tensor


@dataclass(frozen=True)
class Flow:
    r"""Where a flow of duration :math:`\tau` ends.

    Attributes:
        v: Velocities, :math:`(N, d)`.
        action: :math:`\int_0^\tau \frac12 \sum_{ij} w_i w_j |u_i - u_j|_A^2 \, dt`.
        growth: :math:`\int_0^\tau \operatorname{div} U \, dt` along each particle, :math:`(N,)`.
        factors: Jacobian of every inner step, :math:`(N, d, d)` each; that of the flow is their product.
    """

    v: Tensor
    action: Tensor
    growth: Tensor
    factors: tuple[Tensor, ...]

    def log_det(self) -> Float[Tensor, " N"]:
        """Logarithm of the modulus of the determinant of the flow at each particle."""
        return torch.stack([torch.linalg.slogdet(factor).logabsdet for factor in self.factors]).sum(0)

    def relaxed_log_det(self) -> Float[Tensor, " N"]:
        r"""The same as long as no inner step has a determinant below 0.01, and an extension that is finite everywhere.

        Below :math:`\delta`, :math:`-\log x` goes on as
        :math:`-\log\delta + \frac12 ((x - 2\delta)/\delta)^2 - \frac12`, twice continuously differentiable: an
        optimiser that steps over the boundary is pushed back.
        """
        total = torch.zeros_like(self.growth)
        for factor in self.factors:
            x = torch.linalg.det(factor)
            inside = torch.log(x.clamp_min(RELAXED_BELOW))
            outside = ((x.clamp_max(RELAXED_BELOW) - 2 * RELAXED_BELOW) / RELAXED_BELOW).square()
            total = total + inside - 0.5 * (outside - 1)
        return total


@dataclass(frozen=True)
class InnerFlow:
    r"""Integrates :math:`\dot T = U[T]`, :math:`U_i = -\sum_j w_j A(T_i - T_j)(u(T_i) - u(T_j))` for one field ``u``.

    In the inner time of a JKO step, rescaled to :math:`[0, \tau]`. The Jacobian of a particle's map, the others' paths
    held fixed, follows the variational equation :math:`\dot G = \nabla U(T) \, G` under the same integrator: it is the
    exact derivative of the discrete step.

    Args:
        drift: Collisions.
        integrator: An explicit one.
        steps: Number of inner steps.

    Reference: Huang and Wang, arXiv:2409.12296, Problem 3, with more than one inner step as they allow.
    """

    drift: LandauDrift
    integrator: RungeKutta
    steps: int

    def __call__(
        self,
        field: VectorField,
        v: Tensor,
        tau: float,
        *,
        batch: Tensor | None = None,
        weight: Tensor | None = None,
        first: tuple[Tensor, Tensor, Tensor] | None = None,
    ) -> Flow:
        """Flow for the duration ``tau``.

        Args:
            field: Velocities to the field ``u`` and its Jacobian.
            v: Velocities at the start.
            tau: Duration.
            batch: Block of each particle, kept on the way.
            weight: Weights.
            first: Field, Jacobian and drift at ``v``, if they are known.
        """
        h = tau / self.steps

        def stage(at: Tensor) -> Stage:
            u, jacobian = field(at)
            drift = self.drift(at, u, batch=batch, weight=weight)
            return Stage(u, drift, self.drift.jacobian(at, u, jacobian, batch=batch, weight=weight))

        begin = None
        if first is not None:
            u, jacobian, drift = first
            begin = Stage(u, drift, self.drift.jacobian(v, u, jacobian, batch=batch, weight=weight))
        eye = torch.eye(v.size(1), dtype=v.dtype, device=v.device)
        action, growth, factors = v.new_zeros(()), torch.zeros_like(v[:, 0]), []
        for _ in range(self.steps):
            begin = stage(v) if begin is None else begin
            stages, rates = [begin], [begin.drift]
            while len(stages) < len(self.integrator.a):
                stages.append(stage(self.integrator.stage(v, rates, h)))
                rates.append(stages[-1].drift)
            begin = None
            slopes: list[Tensor] = []
            for at, part in zip(stages, self.integrator.weights, strict=True):
                tangent = self.integrator.tangent(slopes, h)
                slopes.append(at.jacobian if tangent is None else at.jacobian @ tangent)
                action = action - h * part * average((at.u * at.drift).sum(1), weight)
                growth = growth + h * part * at.jacobian.diagonal(dim1=1, dim2=2).sum(-1)
            v = v + h * self.integrator.mean(rates)
            factors.append(eye + h * self.integrator.mean(slopes))
        return Flow(v, action, growth, tuple(factors))

    @torch.no_grad()
    def not_invertible(self, flow: Flow) -> Tensor:
        r"""Particles whose map has lost its invertibility, ``(N,)``.

        An Euler step is the end of a segment of maps that begins with the identity: lost if one of them is singular,
        which finds also what has turned inside out twice. Schemes of more stages follow a curve of maps; lost if a step
        ends with :math:`\det \le 0`.
        """
        if len(self.integrator.a) == 1:
            return segment_to_singular(flow.factors) <= 1
        return torch.stack([torch.linalg.det(factor) <= 0 for factor in flow.factors]).any(0)


@torch.no_grad()
def segment_to_singular(factors: tuple[Tensor, ...]) -> Float[Tensor, " N"]:
    r"""How far along the segment from the identity to its Jacobian each particle's map becomes singular.

    The smallest :math:`\theta > 0` with :math:`\det(I + \theta (G - I)) = 0` over the inner steps: minus the reciprocal
    of the most negative real eigenvalue of :math:`G - I`. At most 1 where the map is not invertible, infinite
    where it certainly is; for one explicit step :math:`\theta \tau` is the step that would just have passed.
    """
    eye = torch.eye(factors[0].size(-1), dtype=factors[0].dtype, device=factors[0].device)
    least = torch.full_like(factors[0][:, 0, 0], torch.inf)
    for factor in factors:
        change = factor - eye
        # No eigenvalue is larger than the norm: most particles need no eigenvalues. What is not finite is found
        # elsewhere; the eigenvalue solver must not see it.
        norm = change.flatten(1).norm(dim=1)
        doubtful = ((norm >= 1) & norm.isfinite()).nonzero().squeeze(1)
        if doubtful.numel():
            values = torch.linalg.eigvals(change[doubtful])
            real = values.imag.abs() <= 1e-6 * values.abs()
            negative = torch.where(real & (values.real < 0), -1 / values.real, torch.inf)
            least[doubtful] = torch.minimum(least[doubtful], negative.amin(1))
    return least
