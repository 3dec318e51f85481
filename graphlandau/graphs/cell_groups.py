"""Particles that meet the same nodes of a grid, put together in groups of a few sizes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

__all__ = ["CellGroups", "group_by_cell"]

# Groups are filled up to the next of these sizes: from 3 particles on less than a third of the places stays empty.
SIZES = (4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)


@dataclass(frozen=True)
class CellGroups:
    r"""Groups of particles with the same stencil nodes; groups of one size stand together.

    A group has as many places as its size, and maybe fewer particles.

    Args:
        sizes: The sizes and how many groups there are of each.
        first: A particle of each group.
        particle: The particle at each place, ``N`` where it is empty.
        weight: The weights of the stencil at each place, without derivatives; some numbers where it is empty.
    """

    sizes: tuple[tuple[int, int], ...]
    first: Int[Tensor, " groups"]
    particle: Int[Tensor, " places"]
    weight: Float[Tensor, "d_x p1 places"]

    def pieces(self, places: int) -> Iterator[CellGroups]:
        """Some groups of one size at a time, with about so many ``places``."""
        group = place = 0
        for size, count in self.sizes:
            for done in range(0, count, max(1, places // size)):
                n = min(max(1, places // size), count - done)
                at = slice(place, place + n * size)
                yield CellGroups(((size, n),), self.first[group : group + n], self.particle[at], self.weight[..., at])
                group, place = group + n, place + n * size

    def by_group(self, x: Float[Tensor, "k places"]) -> Float[Tensor, "groups k size"]:
        """The columns of each group, if all have one size."""
        ((size, count),) = self.sizes
        return x.view(-1, count, size).transpose(0, 1)


def group_by_cell(cell: Int[Tensor, " N"], weight: tuple[Float[Tensor, "p1 N"], ...]) -> CellGroups:
    """Group particles of the same ``cell``; a cell with more of them than the largest size has several groups."""
    device, n = cell.device, cell.numel()
    cell, order = torch.sort(cell, stable=True)
    _, filled = torch.unique_consecutive(cell, return_counts=True)
    begin = filled.cumsum(0) - filled
    parts = (filled + SIZES[-1] - 1) // SIZES[-1]
    whole = torch.repeat_interleave(parts)
    before = SIZES[-1] * (torch.arange(whole.numel(), device=device) - (parts.cumsum(0) - parts)[whole])
    begin, filled = begin[whole] + before, (filled[whole] - before).clamp(max=SIZES[-1])

    bounds = torch.tensor(SIZES, device=device, dtype=torch.int64)
    which, by_size = torch.sort(torch.bucketize(filled, bounds), stable=True)
    begin, filled = begin[by_size], filled[by_size]
    counts = torch.bincount(which, minlength=len(SIZES)).tolist()
    sizes = tuple((size, count) for size, count in zip(SIZES, counts, strict=True) if count)

    particle, start = [], 0
    order = torch.cat([order, order.new_full((1,), n)])
    for size, count in sizes:
        inside = torch.arange(size, device=device)
        own, last = begin[start : start + count, None] + inside, filled[start : start + count, None]
        particle.append(order[torch.where(inside < last, own, n)].flatten())
        start += count
    at = torch.cat(particle)
    taken = at.clamp(max=n - 1)
    columns = weight[0].new_empty(len(weight), weight[0].size(0), at.numel())
    for own, out in zip(weight, columns.unbind(0), strict=True):
        torch.index_select(own.detach(), 1, taken, out=out)
    return CellGroups(sizes, order[begin], at, columns)
