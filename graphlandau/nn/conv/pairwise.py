"""What all layers that sum over pairs of particles share: inputs checked, backend dispatched."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch_geometric.nn import MessagePassing

from graphlandau.base.validation import require_one_of
from graphlandau.graphs.neighbours import MAX_EDGES
from graphlandau.graphs.partition import Partition
from graphlandau.nn.pairs import PairFormula, dense_pair_sum, keops_available, keops_pair_sum

__all__ = ["PairwiseLayer"]


class PairwiseLayer(MessagePassing):
    r"""Base of layers :math:`y_i = \sum_j F(x_i, x_j)` over all pairs, pairs inside blocks, or edges of a graph.

    A subclass writes :math:`F` once, in the notation of :mod:`graphlandau.base.vectors`; every backend evaluates
    that one formula.

    Args:
        backend: One of ``backends``.
        backends: What the subclass supports.

    Raises:
        ValueError: If ``backend`` is not one of ``backends``.
        ImportError: If ``backend="keops"`` and KeOps does not work here.
    """

    def __init__(self, backend: str, backends: tuple[str, ...]) -> None:
        super().__init__(aggr="add", flow="source_to_target", node_dim=0)
        self.backend = require_one_of("backend", backend, backends)
        if backend == "keops" and not keops_available()[0]:
            reason = keops_available()[1]
            raise ImportError(f"backend 'keops' needs pykeops and g++: pip install graphlandau[keops] ({reason})")

    def pair_sum(
        self,
        backend: str,
        formula: PairFormula,
        receivers: Sequence[Float[Tensor, "N _k"]],
        senders: Sequence[Float[Tensor, "N _l"]],
        graph: Partition | Int[Tensor, "2 E"],
    ) -> Float[Tensor, "N q"]:
        """Sum ``formula`` over ``graph``; the last vector of a sender is its weight, ``(N, 1)``."""
        if isinstance(graph, Partition) and backend != "edges":
            reduce = keops_pair_sum if backend == "keops" else dense_pair_sum
            return reduce(formula, receivers, senders, graph)
        edges = complete_edges(graph) if isinstance(graph, Partition) else graph
        return self.propagate(
            edges,
            receivers=torch.cat(tuple(receivers), dim=1),
            senders=torch.cat(tuple(senders), dim=1),
            widths=([x.size(1) for x in receivers], [x.size(1) for x in senders]),
            formula=formula,
        )

    def message(self, receivers_i: Tensor, senders_j: Tensor, widths: Any, formula: Any) -> Tensor:
        """What edge j -> i carries: the formula of the layer."""
        return formula(receivers_i.split(widths[0], -1), senders_j.split(widths[1], -1))


def complete_edges(partition: Partition) -> Int[Tensor, "2 E"]:
    """All ordered pairs inside each block, without self-loops."""
    edges = int((partition.size * (partition.size - 1)).sum())
    if edges > MAX_EDGES:
        raise ValueError(
            f"'backend' must not be 'edges' for a complete graph of {edges:,} edges (at most {MAX_EDGES:,}); "
            "'dense' needs no edge list"
        )
    size, first = partition.size, partition.first
    repeats = torch.repeat_interleave(size, size)
    receiver = torch.repeat_interleave(torch.arange(repeats.numel(), device=size.device), repeats)
    start = torch.repeat_interleave(torch.repeat_interleave(first, size), repeats)
    row_begin = torch.repeat_interleave(torch.cumsum(repeats, 0) - repeats, repeats)
    sender = start + torch.arange(receiver.numel(), device=size.device) - row_begin
    keep = sender != receiver
    return torch.stack([partition.order[sender[keep]], partition.order[receiver[keep]]])
