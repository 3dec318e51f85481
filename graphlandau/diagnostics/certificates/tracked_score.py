r"""The score of the density that the particles really have: the initial one, pushed forward by what moved them.

For a smooth map :math:`F` of velocity space with Jacobian :math:`J_{ab} = \partial_b F_a`,

.. math::
    \log u'(F(v)) = \log u(v) - \log \det J, \qquad
    \sigma' = J^{-\top} (\sigma - \nabla \log \det J)

for :math:`\sigma = \nabla \log u` and :math:`\sigma' = \nabla \log u'` at :math:`F(v)`. No exact solution is needed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from graphlandau.base.derivatives import elementary_attention
from graphlandau.base.errors import InvalidArgument, NotInvertible
from graphlandau.base.validation import require_velocities

__all__ = ["PushedForward", "push_forward", "push_score"]


class PushedForward(NamedTuple):
    """Particles after a map: velocities, score and (if it was given) log-density there."""

    v: Tensor
    sigma: Tensor
    log_f: Tensor | None


def push_forward(
    mapping: Callable[[Tensor], Tensor],
    v: Float[Tensor, "N d"],
    sigma: Float[Tensor, "N d"],
    log_f: Float[Tensor, " N"] | None = None,
) -> PushedForward:
    r"""Move particles with the score and the log-density of their distribution by ``mapping``.

    Exact: the Jacobian by forward-mode differentiation, the gradient of its log-determinant by one derivative more.

    Args:
        mapping: A map of velocity space, :math:`(N, d) \to (N, d)`, that moves each particle by its own velocity
            alone and that ``torch.func`` can differentiate. One time step, or the flow map over any time.
        v: Velocities.
        sigma: Score at ``v``.
        log_f: Log-density at ``v``.

    Raises:
        ValueError: If shapes do not match.
        NotInvertible: If the map is not invertible at a particle.

    Example:
        >>> v = torch.tensor([[1.0, 2.0], [0.0, -1.0]])
        >>> moved = push_forward(lambda x: 2 * x, v, sigma=-v)  # N(0, I) to N(0, 4 I)
        >>> torch.equal(moved.sigma, -moved.v / 4)
        True
    """
    directions = torch.eye(v.size(-1), dtype=v.dtype, device=v.device)
    values: list[Tensor] = []

    def jacobian(x: Tensor) -> Tensor:
        def push(direction: Tensor) -> tuple[Tensor, Tensor]:
            return torch.func.jvp(mapping, (x,), (direction.expand_as(x),))[:2]

        with elementary_attention():
            value, columns = torch.func.vmap(push)(directions)
        values.append(value[0].detach())
        return columns.permute(1, 2, 0)

    pushed, log_f = push_score(jacobian, v, sigma, log_f)
    return PushedForward(values[0], pushed, log_f)


def push_score(
    jacobian: Callable[[Tensor], Tensor],
    v: Float[Tensor, "N d"],
    sigma: Float[Tensor, "N d"],
    log_f: Float[Tensor, " N"] | None = None,
) -> tuple[Float[Tensor, "N d"], Float[Tensor, " N"] | None]:
    r"""Score and log-density where a map of known Jacobian takes the particles: :func:`push_forward` for less work.

    Args:
        jacobian: Velocities to Jacobians :math:`(N, d, d)`, ``[:, a, b]`` :math:`= \partial F_a / \partial v_b`,
            that of each particle a differentiable function of its own velocity. It is called once, at ``v``.
        v: Velocities.
        sigma: Score at ``v``.
        log_f: Log-density at ``v``.

    Raises:
        ValueError: If shapes do not match.
        NotInvertible: If the map is not invertible at a particle.
    """
    require_velocities("v", v, min_particles=1)
    if sigma.shape != v.shape or sigma.dtype != v.dtype:
        want = f"{tuple(v.shape)}, {v.dtype}"
        raise InvalidArgument(
            "sigma", f"must have the shape and dtype of 'v', {want}", f"{tuple(sigma.shape)}, {sigma.dtype}"
        )
    if log_f is not None and log_f.shape != v.shape[:1]:
        raise InvalidArgument("log_f", f"must have shape ({v.size(0)},)", tuple(log_f.shape))
    with torch.enable_grad():
        x = v.detach().requires_grad_()
        J = jacobian(x)
        sign, log_det = torch.linalg.slogdet(J)
        failing = int((~(sign > 0)).sum())
        if failing:
            raise NotInvertible(failing, v.size(0))
        # A map may be linear: then nothing depends on x.
        slope = torch.zeros_like(x)
        if log_det.requires_grad:
            (found,) = torch.autograd.grad(log_det.sum(), x, allow_unused=True)
            slope = slope if found is None else found
    pushed = torch.linalg.solve(J.detach().mT, (sigma.detach() - slope.detach())[:, :, None])[:, :, 0]
    return pushed, None if log_f is None else log_f.detach() - log_det.detach()
