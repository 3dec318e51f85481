"""Pair sums through KeOps: symbolic reductions compiled by its own C++/CUDA generator."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from graphlandau.base import distributed
from graphlandau.base.vectors import of_message
from graphlandau.graphs.partition import Partition
from graphlandau.nn.pairs.tiles import PairFormula

__all__ = ["keops_available", "keops_pair_sum"]


@functools.cache
def keops_available() -> tuple[bool, str]:
    """Whether KeOps is installed and its compiler works here (found out with a tiny sum), and why not if not."""
    try:
        import pykeops

        # Its progress messages would land in the middle of the caller's own output.
        pykeops.set_verbose(False)
        from pykeops.torch import LazyTensor

        x = torch.ones(2, 1)
        LazyTensor(x[:, None, :]).sum(dim=1)
    # A missing package, compiler, or writable cache folder raise ImportError, ModuleNotFoundError,
    # FileNotFoundError or RuntimeError, depending on which and when.
    except Exception as error:
        return False, f"{type(error).__name__}: {error}".splitlines()[0]
    return True, "works"


def keops_pair_sum(
    formula: PairFormula,
    receivers: Sequence[Float[Tensor, "N _k"]],
    senders: Sequence[Float[Tensor, "N _l"]],
    partition: Partition,
) -> Float[Tensor, "N q"]:
    """Sum of ``formula`` over all pairs inside each block; blocks are KeOps ranges.

    The same formula as the dense tiles, evaluated on symbols. Differentiable in reverse mode to any
    order, not in forward mode. Of several processes each takes its shard of the receivers, or of the blocks.

    Raises:
        ImportError: If KeOps is missing or cannot compile here.
    """
    works, reason = keops_available()
    if not works:
        raise ImportError(f"backend 'keops' needs pykeops and g++: pip install 'graphlandau[keops]' ({reason})")
    if partition.count > 1:
        order = partition.order
        sorted_sum = _in_blocks(formula, [x[order] for x in receivers], [x[order] for x in senders], partition)
        return sorted_sum[torch.argsort(order)]
    n = receivers[0].size(0)  # all particles, or some targets
    if not distributed.is_sharded(n):
        return _symbols(formula, receivers, senders).sum(dim=1)
    receivers, senders = [distributed.shard(x) for x in receivers], [distributed.partial_gradient(x) for x in senders]
    return distributed.replicate(_symbols(formula, receivers, senders).sum(dim=1), n)


def _symbols(formula: PairFormula, receivers: Sequence[Tensor], senders: Sequence[Tensor]) -> Any:
    """The terms of all pairs, not yet evaluated."""
    symbol = _symbol_type()
    x = [symbol(a.contiguous()[:, None, :]) for a in receivers]
    y = [symbol(a.contiguous()[None, :, :]) for a in senders]
    return formula(x, y)


@functools.cache
def _symbol_type() -> type:
    """KeOps symbols that take the functions of a message as tensors do, also those that KeOps itself lacks."""
    from pykeops.torch import LazyTensor

    class Symbols(LazyTensor):
        def lt_constructor(self, x: Any = None, axis: Any = None, is_complex: bool = False) -> Any:
            return Symbols(x, axis, is_complex)

        @classmethod
        def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            return of_message(cls, func, args, kwargs)

        def sum(self, dim: int = -1, keepdim: bool = True, **options: Any) -> Any:
            return super().sum(dim=dim, **options)

        def norm(self, p: float = 2, dim: int = -1, keepdim: bool = True) -> Any:
            return super().norm(dim)

        def __pow__(self, exponent: float) -> Any:
            # KeOps takes a general power in single precision.
            if float(exponent).is_integer():
                return super().__pow__(int(exponent))
            if abs(exponent) == 0.5:
                return super().__pow__(exponent)
            return (self.log() * float(exponent)).exp()

        def sigmoid(self) -> Any:
            decay: Any = self * -1.0
            return 1 / (decay.exp() + 1)

        def tanh(self) -> Any:
            decay: Any = self * -2.0
            return 2 / (decay.exp() + 1) - 1

    return Symbols


def _in_blocks(
    formula: PairFormula, receivers: Sequence[Tensor], senders: Sequence[Tensor], partition: Partition
) -> Tensor:
    """Sum over the pairs of each block; the particles are in the order of their blocks."""
    size, sizes = partition.size, None
    if distributed.is_sharded(partition.count):
        blocks = size.split(distributed.shard_sizes(partition.count))
        size, sizes = blocks[distributed.rank()], [int(part.sum()) for part in blocks]
        receivers, senders = ([distributed.shard(x, sizes) for x in vectors] for vectors in (receivers, senders))
    total = _symbols(formula, receivers, senders)
    total.ranges = _diagonal(size)
    out = total.sum(dim=1)
    return out if sizes is None else distributed.replicate(out, sum(sizes), sizes)


def _diagonal(size: Tensor) -> tuple[Tensor, ...]:
    end = torch.cumsum(size, 0)
    ranges = torch.stack([end - size, end], dim=1).int().contiguous()
    slices = torch.arange(1, size.numel() + 1, dtype=torch.int32, device=ranges.device)
    return (ranges, slices, ranges, ranges, slices, ranges)
