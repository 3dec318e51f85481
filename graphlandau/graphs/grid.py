"""A uniform grid in a box, periodic or bounded."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from graphlandau.base.errors import InvalidArgument
from graphlandau.base.validation import (
    as_numbers,
    is_concrete,
    require_dimension,
    require_integer,
    require_number,
    require_positive,
)

__all__ = ["Grid"]

# A cubic spline has four nodes in each direction: with fewer in a period it would meet one of them twice.
MIN_CELLS = 4


class Grid:
    r"""A uniform grid in a box of 1, 2 or 3 dimensions; node :math:`i` sits at ``origin`` :math:`+\; i h`.

    In direction :math:`a` there are :math:`n_a` cells of width :math:`h_a = L_a / n_a`, with as many nodes if the box
    is periodic (node :math:`n_a` is node 0), and :math:`n_a + 1` if it is bounded (both ends are nodes). Dimensionless.

    Args:
        lengths: Side lengths :math:`L` of the box, one for each direction.
        cells: Number of cells :math:`n`, at least 4, one for all directions or one for each.
        origin: Lower corner of the box, one number for all directions or one for each.
        periodic: Whether the box is periodic in all directions, or bounded in all.

    Attributes:
        d: Number of directions :math:`d_x`.
        spacing: Widths :math:`h` of a cell.
        shape: Nodes in each direction.
        nodes: Number of nodes.
        cell_volume: :math:`\prod_a h_a`.
        volume: :math:`\prod_a L_a`.

    Raises:
        ValueError: If a number is out of range, or they are for different numbers of directions.

    Example:
        >>> Grid(1.0, 8)
        Grid(lengths=(1.0,), cells=(8,), origin=(0.0,), periodic=True)
        >>> Grid((2.0, 1.0), 4, periodic=False).shape
        (5, 5)
    """

    def __init__(
        self,
        lengths: float | Sequence[float],
        cells: int | Sequence[int],
        *,
        origin: float | Sequence[float] = 0.0,
        periodic: bool = True,
    ) -> None:
        self.lengths = tuple(require_positive("lengths", x) for x in _each("lengths", lengths, None))
        self.d = len(self.lengths)
        if not 1 <= self.d <= 3:
            raise InvalidArgument("lengths", "must be 1, 2 or 3 numbers", self.d)
        self.cells = tuple(require_integer("cells", x, minimum=MIN_CELLS) for x in _each("cells", cells, self.d))
        self.origin = tuple(require_number("origin", x) for x in _each("origin", origin, self.d))
        self.periodic = periodic = as_numbers(periodic)
        if not isinstance(periodic, bool):
            raise InvalidArgument("periodic", "must be True or False", repr(periodic))
        self.spacing = tuple(length / n for length, n in zip(self.lengths, self.cells, strict=True))
        self.shape = self.cells if periodic else tuple(n + 1 for n in self.cells)
        self.nodes = math.prod(self.shape)
        self.cell_volume = math.prod(self.spacing)
        self.volume = math.prod(self.lengths)

    def axes(self, like: Tensor) -> list[Tensor]:
        """Coordinates of the nodes, one tensor for each direction, with the dtype and device of ``like``."""
        return [
            (origin + h * torch.arange(n, dtype=torch.float64)).to(like)
            for origin, h, n in zip(self.origin, self.spacing, self.shape, strict=True)
        ]

    def wrap(self, pos: Float[Tensor, "N d_x"]) -> Float[Tensor, "N d_x"]:
        r"""Bring positions into :math:`[o, o + L)` of a periodic box; one that is inside stays as it is, bit for bit.

        The derivative is the identity. A bounded box moves nothing.

        Raises:
            ValueError: If ``pos`` is not a finite floating :math:`(N, d_x)`, or leaves a bounded box.
        """
        require_dimension("pos", pos, self.d)
        if not self.periodic:
            return self.require_inside(pos)
        columns = []
        for x, low, length in zip(pos.unbind(1), self.origin, self.lengths, strict=True):
            x = x - length * torch.floor((x - low) / length)
            # Rounding may leave a position below the box, or at its upper end, which is the lower one.
            outside = (x < low) | (x >= low + length)
            columns.append(torch.where(outside, low + (x - x.detach()), x))
        return torch.stack(columns, dim=1)

    def require_inside(self, pos: Float[Tensor, "N d_x"], margin: float = 0.0) -> Float[Tensor, "N d_x"]:
        """Return ``pos``; raise ``ValueError`` unless it stays ``margin`` cells inside the box in every direction."""
        if not is_concrete(pos):
            return pos
        outside = torch.zeros(pos.size(0), dtype=torch.bool, device=pos.device)
        box = []
        for x, h, low, length in zip(pos.unbind(1), self.spacing, self.origin, self.lengths, strict=True):
            low, high = low + margin * h, low + length - margin * h
            outside |= (x < low) | (x > high)
            box.append(f"[{low:g}, {high:g}]")
        bad = int(outside.sum())
        if bad:
            raise InvalidArgument("pos", f"must be in {' x '.join(box)}", f"{bad} of {pos.size(0)} particles outside")
        return pos

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Grid) and repr(self) == repr(other)

    def __hash__(self) -> int:
        return hash(repr(self))

    def __repr__(self) -> str:
        return f"Grid(lengths={self.lengths}, cells={self.cells}, origin={self.origin}, periodic={self.periodic})"


def _each(name: str, value: object, d: int | None) -> tuple:
    """One entry for each of ``d`` directions; a single number is the same in all."""
    value = as_numbers(value)
    if isinstance(value, str) or not isinstance(value, Sequence):
        return (value,) * (d or 1)
    if d is not None and len(value) != d:
        raise InvalidArgument(name, f"must be one number or one for each of {d} directions", len(value))
    return tuple(value)
