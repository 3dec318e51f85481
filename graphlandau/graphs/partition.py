"""Particles split into blocks, each of which interacts only within itself."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from graphlandau.base.errors import InvalidArgument
from graphlandau.base.validation import is_concrete

__all__ = ["Partition"]


@dataclass(frozen=True)
class Partition:
    """Blocks of particles from a PyG ``batch`` vector: any sizes, unsorted, gaps in the numbering allowed.

    Args:
        block: Block of each particle, numbered 0..count-1 without gaps, ``(N,)``.
        size: Particles per block, ``(count,)``.
    """

    block: Int[Tensor, " N"]
    size: Int[Tensor, " B"]

    @classmethod
    def from_batch(cls, batch: Int[Tensor, " N"] | None, like: Tensor) -> Partition:
        """The partition that ``batch`` describes, or one block of everything if it is ``None``.

        Raises:
            ValueError: If ``batch`` is not an integer tensor with one entry per row of ``like``.
        """
        n = like.size(0)
        if batch is None:
            zero = torch.zeros(n, dtype=torch.long, device=like.device)
            return cls(zero, torch.full((1,), n, dtype=torch.long, device=like.device))
        if not isinstance(batch, Tensor):
            raise InvalidArgument("batch", f"must be an integer tensor of shape ({n},)", type(batch).__name__)
        if batch.dtype not in (torch.int64, torch.int32) or batch.shape != (n,):
            raise InvalidArgument(
                "batch", f"must be an integer tensor of shape ({n},)", f"{batch.dtype}, {tuple(batch.shape)}"
            )
        _, block, size = torch.unique(batch, return_inverse=True, return_counts=True)
        return cls(block, size)

    @property
    def count(self) -> int:
        """Number of blocks."""
        return self.size.numel()

    @cached_property
    def order(self) -> Int[Tensor, " N"]:
        """Particles sorted by block, in their own order inside each."""
        return torch.argsort(self.block, stable=True)

    @cached_property
    def first(self) -> Int[Tensor, " B"]:
        """Where each block begins in ``order``."""
        return torch.cumsum(self.size, 0) - self.size

    def total(self, x: Float[Tensor, "N *k"]) -> Float[Tensor, "B *k"]:
        """Sum of ``x`` over each block."""
        if self.count == 1:
            return x.sum(0, keepdim=True)
        return x.new_zeros(self.count, *x.shape[1:]).index_add(0, self.block, x)

    def spread(self, x: Float[Tensor, "B *k"]) -> Float[Tensor, "N *k"]:
        """The value of its block, for each particle."""
        if self.count == 1:
            return x.expand(self.block.numel(), *x.shape[1:])
        return x[self.block]

    def scale(self, x: Float[Tensor, "N d"]) -> Float[Tensor, "N 1"]:
        r"""A power of two near the spread of each block, in float64: a unit in which its particles are of order 1.

        :math:`2^k` with :math:`\sigma / 2^k \in [2^{-1/2}, 2^{1/2})` for
        :math:`\sigma^2 = \langle |x - \langle x \rangle|^2 \rangle / d`, and 1 where all particles coincide. To divide
        by it loses no digit. A constant to every derivative.
        """
        y = x.detach().double()
        size = self.size.double()[:, None]
        y = y - self.spread(self.total(y) / size)
        spread = (self.total(y.square().mean(1, keepdim=True)) / size).sqrt()
        doubled = torch.where(spread > 0, spread, 1.0) * math.sqrt(2)
        return self.spread(doubled / torch.frexp(doubled).mantissa / 2)

    def normalised(self, weight: Float[Tensor, " N"] | None, like: Tensor) -> Float[Tensor, " N"]:
        """Weights with sum 1 in each block (uniform if ``None``).

        Raises:
            ValueError: If a block has total weight 0.
        """
        if weight is None:
            return self.spread(1.0 / self.size.to(like.dtype))
        total = self.total(weight)
        if is_concrete(total) and bool((total <= 0).any()):
            empty = int((total <= 0).nonzero()[0])
            raise InvalidArgument("weight", "must have a positive sum in every block", f"0 in block {empty}")
        return weight / self.spread(total)

    def padded(self) -> list[tuple[Int[Tensor, "b n"], Tensor]]:
        """Blocks of similar size as index tables, with the mask of true entries.

        Sizes are grouped by powers of two, so padding costs at most a factor four in pairs however uneven
        the blocks are; equal blocks need none.
        """
        groups = []
        exponent = torch.ceil(torch.log2(self.size.double())).long()
        for e in torch.unique(exponent).tolist():
            members = (exponent == e).nonzero().squeeze(-1)
            columns = torch.arange(int(self.size[members].max()), device=self.size.device)
            mask = columns < self.size[members, None]
            position = torch.where(mask, self.first[members, None] + columns, self.first[members, None])
            groups.append((self.order[position], mask))
        return groups
