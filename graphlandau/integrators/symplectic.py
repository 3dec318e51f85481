"""Symplectic maps of one time step for particles with positions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["MAPS", "SymplecticMap", "kick"]


def kick(v: Float[Tensor, "N d"], force: Float[Tensor, "N dx"], dt: float) -> Float[Tensor, "N d"]:
    r"""Velocities after :math:`\dot v = F` for ``dt``; the force acts on the first :math:`d_x` components."""
    if dt == 0:
        return v
    if force.size(1) == v.size(1):
        return v + dt * force
    return torch.cat([v[:, : force.size(1)] + dt * force, v[:, force.size(1) :]], dim=1)


@dataclass(frozen=True)
class SymplecticMap:
    r"""A step of :math:`\dot x = v, \; \dot v = F(x)` by kick, drift and kick; its Jacobian determinant is 1.

    .. math::
        v^{1/2} = v + a \, \Delta t \, F(x), \qquad x^* = x + \Delta t \, v^{1/2}, \qquad
        v^* = v^{1/2} + (1 - a) \, \Delta t \, F(x^*)

    Dimensionless.

    Args:
        order: Order of convergence.
        before: :math:`a`.
        after: :math:`1 - a`.

    Example:
        >>> x, v = torch.tensor([[1.0]]), torch.tensor([[0.0]])
        >>> MAPS["kick_drift"].step(x, v, -x, lambda moved: -(x + moved), 0.1)
        (tensor([[0.9900]]), tensor([[-0.1000]]))

    Reference: arXiv:2603.23901, Eqs. (18), (25), (26).
    """

    order: int
    before: float
    after: float

    def step(
        self,
        x: Float[Tensor, "N dx"],
        v: Float[Tensor, "N d"],
        force: Float[Tensor, "N dx"],
        force_after: Callable[[Tensor], Tensor],
        dt: float,
    ) -> tuple[Float[Tensor, "N dx"], Float[Tensor, "N d"]]:
        r"""Positions and velocities after ``dt``.

        Args:
            x: Positions, not wrapped: neither is what comes back.
            v: Velocities, of which the first :math:`d_x` move the positions.
            force: :math:`F(x)`.
            force_after: The displacement :math:`x^* - x` to :math:`F(x^*)`; called once.
            dt: Time step.
        """
        v = kick(v, force, self.before * dt)
        moved = dt * v[:, : x.size(1)]
        return x + moved, kick(v, force_after(moved), self.after * dt)


MAPS = {
    # Störmer-Verlet, then symplectic Euler twice: the position moves with the new velocity, or the force is at the new
    # position.
    "verlet": SymplecticMap(order=2, before=0.5, after=0.5),
    "kick_drift": SymplecticMap(order=1, before=1.0, after=0.0),
    "drift_kick": SymplecticMap(order=1, before=0.0, after=1.0),
}
