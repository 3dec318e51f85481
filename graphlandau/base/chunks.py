"""Functions of rows evaluated a few rows at a time, so that memory does not grow with what a row costs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from graphlandau.base.validation import is_concrete

__all__ = ["in_chunks", "over_chunks", "rows_at_a_time"]

# Rows at a time where no gradient is recorded: some hundred numbers for each fit the second-level cache of every
# thread on a CPU, and keep a GPU busy.
CPU_ROWS_PER_THREAD = 2048
CUDA_ROWS = 2**15

# Where gradients are recorded all numbers of a chunk are kept for its derivative, and computed twice.
TRAINING_ROWS = 2**15


def rows_at_a_time(x: Tensor) -> int:
    """Rows of a chunk where no gradient is recorded."""
    return CUDA_ROWS if x.is_cuda else CPU_ROWS_PER_THREAD * torch.get_num_threads()


def over_chunks(function: Callable[..., Any], *rows: Tensor) -> list[Any]:
    """``function`` of each chunk of ``rows``, in order.

    Where gradients are recorded each is computed once more for its derivative, instead of being kept. Inside function
    transforms, which have no checkpoints, there is one chunk.

    Args:
        function: Treats every row by itself.
        rows: Tensors of equally many rows.
    """
    if not all(is_concrete(x) for x in rows):
        return [function(*rows)]
    recorded = torch.is_grad_enabled()
    size = TRAINING_ROWS if recorded else rows_at_a_time(rows[0])
    if rows[0].size(0) <= size:
        return [function(*rows)]
    parts = zip(*(x.split(size) for x in rows), strict=True)
    if recorded:
        return [checkpoint(function, *part, use_reentrant=False) for part in parts]
    return [function(*part) for part in parts]


def in_chunks(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same ``function`` of rows, to a tensor of rows or a tuple of such, evaluated by :func:`over_chunks`."""

    def joined(*rows: Tensor) -> Any:
        parts = over_chunks(function, *rows)
        if len(parts) == 1:
            return parts[0]
        if isinstance(parts[0], Tensor):
            return torch.cat(parts)
        return tuple(torch.cat(columns) for columns in zip(*parts, strict=True))

    return joined
