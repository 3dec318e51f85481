"""Symplectic maps of one time step for particles with positions."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["MAPS", "kick", "symplectic_step"]

# Shares of the kick before and after the drift.
MAPS: dict[str, tuple[float, float]] = {"verlet": (0.5, 0.5), "kick_drift": (1.0, 0.0), "drift_kick": (0.0, 1.0)}


def kick(v: Float[Tensor, "N d"], force: Float[Tensor, "N dx"], dt: float) -> Float[Tensor, "N d"]:
    r"""Velocities after :math:`\dot v = F` for ``dt``; the force acts on the first :math:`d_x` components."""
    if dt == 0:
        return v
    if force.size(1) == v.size(1):
        return v + dt * force
    return torch.cat([v[:, : force.size(1)] + dt * force, v[:, force.size(1) :]], dim=1)


def symplectic_step(
    x: Float[Tensor, "N dx"],
    v: Float[Tensor, "N d"],
    force: Float[Tensor, "N dx"],
    force_after: Callable[[Tensor], Tensor],
    dt: float,
    map: str = "verlet",
) -> tuple[Float[Tensor, "N dx"], Float[Tensor, "N d"]]:
    r"""One step of :math:`\dot x = v, \; \dot v = F(x)` by a symplectic map; its Jacobian determinant is 1.

    .. math::
        v^{1/2} = v + a \, \Delta t \, F(x), \qquad x^* = x + \Delta t \, v^{1/2}, \qquad
        v^* = v^{1/2} + (1 - a) \, \Delta t \, F(x^*)

    with :math:`a = 1/2` for ``"verlet"`` (Störmer-Verlet, second order), 1 for ``"kick_drift"`` (symplectic Euler, the
    position moves with the new velocity) and 0 for ``"drift_kick"`` (symplectic Euler, the force is at the new
    position). Dimensionless.

    Args:
        x: Positions, not wrapped: neither is what comes back.
        v: Velocities, of which the first :math:`d_x` move the positions.
        force: :math:`F(x)`.
        force_after: The displacement :math:`x^* - x` to :math:`F(x^*)`; called once.
        dt: Time step.
        map: ``"verlet"``, ``"kick_drift"`` or ``"drift_kick"``.

    Example:
        >>> x, v = torch.tensor([[1.0]]), torch.tensor([[0.0]])
        >>> symplectic_step(x, v, -x, lambda moved: -(x + moved), 0.1, "kick_drift")
        (tensor([[0.9900]]), tensor([[-0.1000]]))

    Reference: arXiv:2603.23901, Eqs. (18), (25), (26).
    """
    before, after = MAPS[map]
    v = kick(v, force, before * dt)
    moved = dt * v[:, : x.size(1)]
    return x + moved, kick(v, force_after(moved), after * dt)
