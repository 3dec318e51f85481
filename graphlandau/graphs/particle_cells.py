"""The bipartite graph between particles and the nodes of a grid, with B-spline weights on its edges."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from graphlandau.base.errors import InvalidArgument
from graphlandau.base.validation import is_concrete, require_dimension, require_integer
from graphlandau.graphs.cell_groups import CellGroups, group_by_cell
from graphlandau.graphs.grid import Grid

__all__ = ["Stencil", "particle_cells", "require_order"]

HIGHEST_ORDER = 3
# Intermediate results for so many particles stay in the cache of a processor: a million at once take up to three times
# longer. A CUDA device, which pays for each call, takes all at once.
PARTICLES_AT_ONCE = 2**16


@dataclass(frozen=True)
class Stencil:
    r"""The nodes that each particle meets, direction by direction: an edge for every combination of them.

    Args:
        grid: The grid.
        order: Order :math:`p` of the spline.
        index: For each direction the numbers of the nodes along it, ``(p + 1, N)``.
        weight: For each direction the values of the spline there, ``(p + 1, N)``; each column sums to 1.
        copy: The copy of the grid that each particle meets; the first without it.
        copies: Number of copies of the grid, numbered one after the other.
    """

    grid: Grid
    order: int
    index: tuple[Int[Tensor, "p1 N"], ...]
    weight: tuple[Float[Tensor, "p1 N"], ...]
    copy: Int[Tensor, " N"] | None = None
    copies: int = 1

    @property
    def nodes(self) -> int:
        """Number of nodes of all copies of the grid."""
        return self.copies * self.grid.nodes

    @property
    def particles(self) -> int:
        """Number of particles."""
        return self.weight[0].size(1)

    @property
    def edges(self) -> int:
        r"""Number of edges, :math:`(p + 1)^{d_x} N`."""
        return (self.order + 1) ** self.grid.d * self.particles

    @functools.cached_property
    def groups(self) -> CellGroups:
        """The particles grouped by the nodes they meet; found once, at the first use."""
        # The first node in each direction determines the others.
        return group_by_cell(self.node((0,) * self.grid.d), self.weight)

    def offsets(self) -> Iterator[tuple[int, ...]]:
        """All combinations of one of the ``p + 1`` nodes in each direction."""
        return itertools.product(range(self.order + 1), repeat=self.grid.d)

    def parts(self, *rows: Tensor) -> Iterator[tuple[Any, ...]]:
        """Some of the particles at a time: their stencil, and their rows of each tensor in ``rows``."""
        size = _at_once(self.weight[0].device, self.particles)
        columns = zip(*(x.split(size, dim=1) for x in (*self.index, *self.weight)), strict=True)
        copies = itertools.repeat(None) if self.copy is None else self.copy.split(size)
        stencils = (
            Stencil(self.grid, self.order, part[: self.grid.d], part[self.grid.d :], copy, self.copies)
            for part, copy in zip(columns, copies, strict=False)
        )
        return zip(stencils, *(x.split(size) for x in rows), strict=True)

    def node(self, offset: tuple[int, ...]) -> Int[Tensor, " N"]:
        """The node of each particle at ``offset``, nodes numbered as in a flattened field."""
        out = self.index[0][offset[0]]
        for n, index, k in zip(self.grid.shape[1:], self.index[1:], offset[1:], strict=True):
            out = torch.add(index[k], out, alpha=n)
        return out if self.copy is None else torch.add(out, self.copy, alpha=self.grid.nodes)

    def node_weight(self, offset: tuple[int, ...]) -> Float[Tensor, " N"]:
        """The product over directions of the weights of each particle at ``offset``."""
        out = self.weight[0][offset[0]]
        for weight, k in zip(self.weight[1:], offset[1:], strict=True):
            out = out * weight[k]
        return out

    def derivative(self, axis: int) -> Stencil:
        r"""The same nodes with the derivatives of the weights in direction ``axis`` by the position (from order 1)."""
        shift = torch.arange(self.order + 1, device=self.weight[axis].device, dtype=self.weight[axis].dtype)
        # Splines reproduce linear functions: their own mean is the position, counted from the first node.
        place = (shift[:, None] * self.weight[axis]).sum(0)
        slope = _spline_slope(place - self.order // 2, self.order) / self.grid.spacing[axis]
        weight = (*self.weight[:axis], slope, *self.weight[axis + 1 :])
        return dataclasses.replace(self, weight=weight)

    def edge_index(self) -> Int[Tensor, "2 E"]:
        """Row 0 the particle, row 1 the node, offset after offset."""
        node = torch.cat([self.node(offset) for offset in self.offsets()])
        particle = torch.arange(self.particles, device=node.device).repeat(node.numel() // self.particles)
        return torch.stack([particle, node])

    def edge_weight(self) -> Float[Tensor, " E"]:
        """The weights of the edges of :meth:`edge_index`; those of each particle sum to 1."""
        return torch.cat([self.node_weight(offset) for offset in self.offsets()])


def particle_cells(
    pos: Float[Tensor, "N d_x"],
    grid: Grid,
    order: int = 1,
    copy: Int[Tensor, " N"] | None = None,
    copies: int = 1,
) -> Stencil:
    r"""Join each particle to the :math:`(p + 1)^{d_x}` nodes near it, weighted by the B-spline of order :math:`p`.

    .. math::
        w_{pi} = \prod_a B_p\Big(\frac{x_{pa} - X_{ia}}{h_a}\Big), \qquad
        \sum_i w_{pi} = 1, \qquad \sum_i w_{pi} X_i = x_p \text{ for } p \ge 1

    :math:`B_0` is the nearest node, :math:`B_1(z) = \max(0, 1 - |z|)` the tent (cloud in cell), :math:`B_{p + 1} = B_p
    * B_0`. The weights are differentiable in ``pos`` from order 1. Positions are dimensionless.

    Args:
        pos: Positions :math:`(N, d_x)`; a periodic box takes them from anywhere.
        grid: The grid.
        order: Order :math:`p` of the spline, 0 to 3.
        copy: For each particle the copy of the grid that it meets, 0 to ``copies - 1`` *(optional)*.
        copies: Number of copies of the grid; node :math:`i` of copy :math:`c` has the number :math:`c M + i` for
            :math:`M` nodes of the grid.

    Raises:
        ValueError: If ``pos`` is not a finite floating :math:`(N, d_x)`, requires grad at order 0, if a particle of a
            bounded box is closer than :math:`(p - 1) h / 2` to an end, where nodes would be missing, or if ``copy`` is
            not whole numbers of the copies there are.

    Example:
        >>> stencil = particle_cells(torch.tensor([[0.25], [3.5]]), Grid(4.0, 4))
        >>> stencil.edge_index()
        tensor([[0, 1, 0, 1],
                [0, 3, 1, 0]])
        >>> stencil.edge_weight()
        tensor([0.7500, 0.5000, 0.2500, 0.5000])

    Reference: Birdsall and Langdon, Plasma Physics via Computer Simulation, Chapters 2 and 8.
    """
    require_dimension("pos", pos, grid.d)
    require_order(order)
    if order == 0 and pos.requires_grad:
        raise InvalidArgument("pos", "must not require grad at order 0, whose weights do not change with it", "order=0")
    if not grid.periodic:
        grid.require_inside(pos, margin=max(0.0, (order - 1) / 2))
    _require_copy(copy, copies, pos)
    parts = [_part(x, grid, order) for x in pos.split(_at_once(pos.device, pos.size(0)))]
    index, weight = (
        tuple(x[0] if len(x) == 1 else torch.cat(x, dim=1) for x in zip(*rows, strict=True))
        for rows in zip(*parts, strict=True)
    )
    return Stencil(grid, order, index, weight, copy, copies)


def _require_copy(copy: Tensor | None, copies: int, pos: Tensor) -> None:
    copies = require_integer("copies", copies, minimum=1)
    if copy is None:
        return
    if not isinstance(copy, Tensor) or copy.dtype != torch.int64 or copy.shape != pos.shape[:1]:
        got = f"{copy.dtype} {tuple(copy.shape)}" if isinstance(copy, Tensor) else type(copy).__name__
        raise InvalidArgument("copy", f"must be int64 of shape ({pos.size(0)},)", got)
    if not is_concrete(copy):
        return
    low, high = (int(x) for x in copy.aminmax()) if copy.numel() else (0, 0)
    if low < 0 or high >= copies:
        raise InvalidArgument("copy", f"must be from 0 to {copies - 1}", low if low < 0 else high)


def require_order(order: int) -> int:
    """Return ``order``; raise ``ValueError`` unless it is 0, 1, 2 or 3."""
    order = require_integer("order", order, minimum=0)
    if order > HIGHEST_ORDER:
        raise InvalidArgument("order", "must be 0, 1, 2 or 3", order)
    return order


def _at_once(device: torch.device, particles: int) -> int:
    return particles if device.type == "cuda" else PARTICLES_AT_ONCE


def _part(pos: Tensor, grid: Grid, order: int) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Nodes and weights of each direction."""
    index, weight = [], []
    for axis, x in enumerate(pos.unbind(1)):
        cell = (x - grid.origin[axis]) / grid.spacing[axis]
        # Odd splines have as many nodes on either side of the particle; even ones are centred at the nearest node.
        first = torch.floor(cell.detach() + (0.0 if order % 2 else 0.5)) - order // 2
        if not grid.periodic:
            # A particle at the upper end of what is allowed belongs to the cell below it.
            first = first.clamp(0, grid.cells[axis] - order)
        index.append(_nodes(first, order, grid, axis))
        weight.append(_spline(cell - first - order // 2, order))
    return tuple(index), tuple(weight)


def _nodes(first: Tensor, order: int, grid: Grid, axis: int) -> Tensor:
    """The ``order + 1`` nodes from ``first`` on, ``(order + 1, N)``; a periodic box continues at its other end."""
    n = grid.shape[axis]
    # The remainder of whole numbers is exact, however far outside the box they are.
    first = torch.remainder(first, n) if grid.periodic else first
    index = first.to(torch.int64) + torch.arange(order + 1, device=first.device)[:, None]
    return torch.where(index >= n, index - n, index) if grid.periodic else index


def _spline(z: Tensor, order: int) -> Tensor:
    r"""Values of the B-spline at the nodes, ``(order + 1, N)``.

    :math:`z` is the distance from the lower middle node, in [0, 1], for odd orders; from the middle one, in
    [-1/2, 1/2], for even ones.
    """
    if order == 0:
        return torch.ones_like(z)[None]
    if order == 1:
        return torch.stack([1 - z, z])
    if order == 2:
        return torch.stack([(0.5 - z) ** 2 / 2, 0.75 - z**2, (0.5 + z) ** 2 / 2])
    u = 1 - z
    return torch.stack([u**3, 4 - 6 * z**2 + 3 * z**3, 4 - 6 * u**2 + 3 * u**3, z**3]) / 6


def _spline_slope(z: Tensor, order: int) -> Tensor:
    """Derivatives by the position of the values that :func:`_spline` gives."""
    if order == 1:
        return torch.stack([-torch.ones_like(z), torch.ones_like(z)])
    if order == 2:
        return torch.stack([z - 0.5, -2 * z, z + 0.5])
    u = 1 - z
    return torch.stack([-0.5 * u**2, 1.5 * z**2 - 2 * z, 2 * u - 1.5 * u**2, 0.5 * z**2])
