r"""The joint objective of the global-in-time particle method, term by term.

A flow map :math:`\Phi(v_0, t)` and a score :math:`s(v, t)` see the same particles at a few collocation times at once:
one block of the collision graph for each time. All terms are means over particles and times, differentiable in both
networks, and dimensionless.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from graphlandau.base.derivatives import jacobian_product
from graphlandau.base.validation import require_one_of
from graphlandau.nn.conv import LandauDrift
from graphlandau.nn.flow import FlowMap
from graphlandau.nn.score.time_score import TimeScore

__all__ = ["Collocation", "collocate", "implicit_in_time"]


@dataclass
class Collocation:
    r"""Particles at their collocation times.

    Attributes:
        v: :math:`\Phi(v_0, t_k)`, :math:`(B, n, d)`.
        s: Score there, :math:`(B, n, d)`.
        divergence: Its divergence, :math:`(B, n)`, exact or a random estimate.
        residual: :math:`\rho = \partial_t \Phi - U^\delta(\Phi)`, :math:`(B, n, d)`.
    """

    v: Tensor
    s: Tensor
    divergence: Tensor
    residual: Tensor

    @property
    def physics(self) -> Float[Tensor, ""]:
        r"""Physics loss :math:`\langle |\rho|^2 \rangle`, Eq. (2.11)."""
        return self.residual.square().sum(-1).mean()

    @property
    def implicit(self) -> Float[Tensor, ""]:
        r"""Implicit score-matching loss :math:`\langle |s|^2 + 2 \nabla \cdot s \rangle`, Eq. (2.10)."""
        return implicit_in_time(self.s, self.divergence)


def implicit_in_time(s: Float[Tensor, "*n d"], divergence: Float[Tensor, "*n"]) -> Float[Tensor, ""]:
    r""":math:`\langle |s|^2 + 2 \nabla \cdot s \rangle` over particles and times."""
    return (s.square().sum(-1) + 2 * divergence).mean()


def collocate(
    flow: FlowMap,
    score: TimeScore,
    drift: LandauDrift,
    v0: Float[Tensor, "n d"],
    t: Float[Tensor, " B"],
    *,
    divergence: str = "exact",
    drift_is_target: bool = True,
    score_moves_flow: bool = False,
    generator: torch.Generator | None = None,
) -> Collocation:
    r"""Move particles to the collocation times and compare the flow with the drift of their score.

    .. math::
        \rho_i(t_k) = \partial_t \Phi(v_{0,i}, t_k)
        + \frac{1}{n} \sum_j A(v_i - v_j) \bigl( s(v_i, t_k) - s(v_j, t_k) \bigr), \qquad v_i = \Phi(v_{0,i}, t_k)

    What is differentiated through what, the paper leaves open. By default the drift is a target: the flow learns its
    rate from the residual, and the score from its own loss at the particles where they are. With
    ``drift_is_target=False`` the residual also pulls at the score, and at the particles through the drift, as printed;
    it is zero at the solution, so this does not move the solution, but the derivative of a rough score makes it a noisy
    guide there. With ``score_moves_flow`` the loss of the score is differentiated through the particles too, as
    printed. Its minimum over the score is minus the Fisher information of the particles: it drives the flow to
    concentrate them, away from the solution, at a strength that does not vanish there.

    Args:
        flow: Flow map.
        score: Score at all times.
        drift: Collision drift.
        v0: Initial velocities.
        t: Collocation times.
        divergence: ``"exact"``, or ``"hutchinson"``: one random direction for each particle and time.
        drift_is_target: Whether the drift is a constant to the derivatives of the residual.
        score_moves_flow: Whether the score's loss is differentiated through the flow.
        generator: Source of the random directions.

    Raises:
        ValueError: If ``divergence`` is unknown.

    Reference: arXiv:2603.10874, Eqs. (2.10)-(2.12) and Algorithm 1, which leaves the last point open.
    """
    require_one_of("divergence", divergence, ("exact", "hutchinson"))
    at = t[:, None]
    v, rate = flow.value_and_rate(v0, at)
    x = v if score_moves_flow else v.detach()
    if divergence == "exact":
        s, div = score.value_and_divergence(x, at)
    else:
        z = 2.0 * torch.randint(0, 2, x.shape, generator=generator, device=x.device).to(x.dtype) - 1.0
        s, tangent = jacobian_product(lambda y: score(y, at), x, z, score.network.in_reverse)
        div = (z * tangent).sum(-1)
    at_particles, felt = v, s
    if drift_is_target:
        at_particles, felt = v.detach(), s.detach()
    elif not score_moves_flow:
        felt = score(v, at)  # once more: the particles feel this one in the drift, not in the score's loss
    batch = torch.arange(t.numel(), device=v.device).repeat_interleave(v0.size(0))
    u = drift(at_particles.flatten(0, 1), felt.flatten(0, 1), batch=batch).view_as(v)
    return Collocation(v, s, div, rate - u)
