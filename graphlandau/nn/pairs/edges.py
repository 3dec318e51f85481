"""Sums of a pair formula along edges, and complete graphs as edges."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch_geometric.utils import scatter

from graphlandau.base.errors import InvalidArgument
from graphlandau.graphs.neighbours import MAX_EDGES
from graphlandau.graphs.partition import Partition
from graphlandau.nn.pairs.tiles import PairFormula

__all__ = ["complete_edges", "edge_pair_sum"]


def edge_pair_sum(
    formula: PairFormula,
    receivers: Sequence[Float[Tensor, "N _k"]],
    senders: Sequence[Float[Tensor, "M _l"]],
    edges: Int[Tensor, "2 E"],
) -> Float[Tensor, "N q"]:
    """Sum of ``formula`` over edges j -> i, one term per edge in memory."""
    sender, receiver = edges
    terms = formula([x[receiver] for x in receivers], [x[sender] for x in senders])
    return scatter(terms, receiver, dim=0, dim_size=receivers[0].size(0), reduce="sum")


def complete_edges(partition: Partition) -> Int[Tensor, "2 E"]:
    """All ordered pairs inside each block, without self-loops.

    Raises:
        InvalidArgument: If they are too many to be listed.
    """
    edges = int((partition.size * (partition.size - 1)).sum())
    if edges > MAX_EDGES:
        raise InvalidArgument(
            "backend",
            f"must not be 'edges' for more than {MAX_EDGES:,} edges",
            f"a complete graph of {edges:,}",
            "; 'dense' needs no edge list",
        )
    size, first = partition.size, partition.first
    repeats = torch.repeat_interleave(size, size)
    receiver = torch.repeat_interleave(torch.arange(repeats.numel(), device=size.device), repeats)
    start = torch.repeat_interleave(torch.repeat_interleave(first, size), repeats)
    row_begin = torch.repeat_interleave(torch.cumsum(repeats, 0) - repeats, repeats)
    sender = start + torch.arange(receiver.numel(), device=size.device) - row_begin
    keep = sender != receiver
    return torch.stack([partition.order[sender[keep]], partition.order[receiver[keep]]])
