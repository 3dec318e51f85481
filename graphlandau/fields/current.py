"""The current on the faces of a grid that moves the deposited charge exactly."""

from __future__ import annotations

import itertools
import math
from typing import Any, Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from graphlandau.base.errors import InvalidArgument
from graphlandau.base.validation import require_dimension, require_number
from graphlandau.graphs.grid import Grid

__all__ = ["conserving_current"]


class Deposits(Protocol):
    """What sums at the nodes of its grid what particles carry: a :class:`~graphlandau.nn.Deposit`."""

    grid: Grid

    def __call__(self, pos: Tensor, values: Tensor, /) -> Any: ...


def conserving_current(
    deposit: Deposits,
    start: Float[Tensor, "N d_x"],
    displacement: Float[Tensor, "N d_x"],
    charge: Float[Tensor, " N"],
    dt: float,
) -> Float[Tensor, "*shape d_x"]:
    r"""Current density on the faces of a periodic grid for particles that move by any ``displacement`` in ``dt``.

    .. math::
        \sum_a \frac{J_{a, i} - J_{a, i - e_a}}{h_a} = -\frac{\rho^1_i - \rho^0_i}{\Delta t}, \qquad
        J_{a, i} = -\frac{h_a}{\Delta t V} \sum_{l \le i_a} D_{a, l} + c_a, \qquad
        \sum_a D_a = Q^1 - Q^0

    to rounding, with :math:`\rho = Q / V` the density deposited at the start and at the end, :math:`V` the volume of a
    cell and component :math:`a` at index :math:`i` on the face at :math:`i + 1/2` in direction :math:`a`. :math:`D_a`
    is the part of the change that is due to the motion along :math:`a`, averaged over the orders in which the
    directions can be moved one after the other (in 3D, Esirkepov's weights 1/3 and 1/6). The constants :math:`c_a`, one
    for each row of faces along :math:`a`, make the mean of :math:`J_a` in the row that of the particles,
    :math:`\sum_p q_p \Delta x_{pa} / \Delta t` times their weights in the other directions. Nothing is assumed of the
    displacement, which may be many cells or boxes: only ordinary deposits at mixed positions are summed,
    :math:`2^{d_x}` of them. Dimensionless.

    Args:
        deposit: A :class:`~graphlandau.nn.Deposit` on a periodic grid; of any order.
        start: Positions before the step, :math:`(N, d_x)`.
        displacement: Motion in the step, *not* wrapped, :math:`(N, d_x)`.
        charge: Charge (or weight) of each particle, :math:`(N,)`.
        dt: Time step, not 0.

    Returns:
        Current density, ``(*grid.shape, d_x)``.

    Raises:
        ValueError: If the grid is bounded, ``dt`` is 0, or tensors are non-finite or do not fit.

    Example:
        >>> from graphlandau.fields import Grid
        >>> from graphlandau.nn import Deposit
        >>> x, one = torch.tensor([[0.5]]), torch.ones(1)
        >>> conserving_current(Deposit(Grid(4.0, 4)), x, torch.ones(1, 1), one, dt=1.0)[:, 0]
        tensor([0.5000, 0.5000, 0.0000, 0.0000])

    Reference: Esirkepov, Comput. Phys. Commun. 135 (2001) 144, for motion below a cell; the row constants,
    which allow any motion, are ours.
    """
    grid = deposit.grid
    if not grid.periodic:
        raise InvalidArgument("deposit", "must have a periodic grid", grid)
    require_dimension("start", start, grid.d)
    require_dimension("displacement", displacement, grid.d)
    if displacement.shape != start.shape or displacement.dtype != start.dtype:
        want, got = f"{tuple(start.shape)}, {start.dtype}", f"{tuple(displacement.shape)}, {displacement.dtype}"
        raise InvalidArgument("displacement", f"must have the shape and dtype of 'start', {want}", got)
    if not isinstance(charge, Tensor) or charge.shape != start.shape[:1]:
        got = tuple(charge.shape) if isinstance(charge, Tensor) else type(charge).__name__
        raise InvalidArgument("charge", f"must have shape ({start.size(0)},)", got)
    if charge.dtype != start.dtype:
        raise InvalidArgument("charge", f"must have the dtype of 'start', {start.dtype}", charge.dtype)
    if require_number("dt", dt) == 0:
        raise InvalidArgument("dt", "must not be 0", dt)

    end = start + displacement
    change = [start.new_zeros(grid.shape) for _ in range(grid.d)]
    flow = [start.new_zeros(grid.shape) for _ in range(grid.d)]
    for corner in itertools.product((0, 1), repeat=grid.d):
        pos = torch.stack([(end if moved else start)[:, a] for a, moved in enumerate(corner)], dim=1)
        still = [a for a, moved in enumerate(corner) if not moved]
        carried = torch.stack([charge, *(charge * displacement[:, a] for a in still)], dim=1)
        there, *carried_there = deposit(pos, carried).unbind(-1)
        for a, moved in enumerate(corner):
            # The share of the orders of motion in which exactly the other moved directions come before this one.
            before = sum(corner) - moved
            share = math.factorial(before) * math.factorial(grid.d - 1 - before) / math.factorial(grid.d)
            change[a] = change[a] + (share if moved else -share) * there
            if not moved:
                flow[a] = flow[a] + share * carried_there[still.index(a)]
    return torch.stack([_row_current(change[a], flow[a], grid.spacing[a], a) for a in range(grid.d)], dim=-1) / (
        dt * grid.cell_volume
    )


def _row_current(change: Tensor, flow: Tensor, h: float, axis: int) -> Tensor:
    """Partial sums of the change along a direction, shifted to the mean of the flow in each row."""
    current = -h * torch.cumsum(change, axis)
    return current + (flow - current).mean(axis, keepdim=True)
