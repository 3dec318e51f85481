"""Pair sums through KeOps: symbolic reductions compiled by its own C++/CUDA generator."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from graphlandau.nn.reduce.tiles import PairFormula
from graphlandau.partition import Partition

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
    order, not in forward mode.

    Raises:
        ImportError: If KeOps is missing or cannot compile here.
    """
    works, reason = keops_available()
    if not works:
        raise ImportError(f"backend 'keops' needs pykeops and g++: pip install graphlandau[keops] ({reason})")
    from pykeops.torch import LazyTensor

    if partition.count > 1:
        order = partition.order
        receivers, senders = [x[order] for x in receivers], [x[order] for x in senders]
    x = [LazyTensor(a.contiguous()[:, None, :]) for a in receivers]
    y = [LazyTensor(a.contiguous()[None, :, :]) for a in senders]
    total = formula(x, y)
    if partition.count == 1:
        return total.sum(dim=1)
    total.ranges = _diagonal(partition)
    return total.sum(dim=1)[torch.argsort(partition.order)]


def _diagonal(partition: Partition) -> tuple[Tensor, ...]:
    ranges = torch.stack([partition.first, partition.first + partition.size], dim=1).int().contiguous()
    slices = torch.arange(1, partition.count + 1, dtype=torch.int32, device=ranges.device)
    return (ranges, slices, ranges, ranges, slices, ranges)
