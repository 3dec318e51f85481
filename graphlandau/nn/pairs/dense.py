"""Pair sums over dense tiles of components: the exact path for CPU, GPU and derivatives of any order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from graphlandau.base import distributed
from graphlandau.graphs.partition import Partition
from graphlandau.nn.pairs.tiles import Group, PairFormula, PairTile, tile_sum

__all__ = ["dense_pair_sum", "rectangular_pair_sum"]


def dense_pair_sum(
    formula: PairFormula,
    receivers: Sequence[Float[Tensor, "N _k"]],
    senders: Sequence[Float[Tensor, "N _l"]],
    partition: Partition,
) -> Float[Tensor, "N q"]:
    r"""Sum of ``formula`` over all pairs inside each block, :math:`O(N \times \text{tile})` memory.

    Blocks of other sizes than the largest are padded. The last sender vector is a factor of every term (its weight),
    and padding a sender of weight 0; a formula whose attribute ``weighted`` is false gets a factor of its own. Of
    several processes each takes its shard of the receivers, or of the blocks.
    """
    if partition.count == 1:
        return rectangular_pair_sum(formula, receivers, senders)
    parts, places = [], []
    padded = partition.padded()
    if not getattr(formula, "weighted", True) and not all(bool(mask.all()) for _, mask in padded):
        formula, senders = Padded(formula), [*senders, senders[0].new_ones(len(senders[0]), 1)]
    x, y = _grouped(receivers), _grouped(senders)
    tile = PairTile(formula, tuple(group for group, _ in x), tuple(group for group, _ in y))
    last = len(senders) - 1
    for index, mask in padded:
        inputs = [tensor[index] for _, tensor in x]
        for group, tensor in y:
            rows = tensor[index]
            if group[-1][0] == last:
                rows = torch.cat([rows[..., :-1], rows[..., -1:] * mask[..., None]], dim=-1)
            inputs.append(rows)
        blocks = len(index)
        if distributed.is_sharded(blocks):
            inputs = [distributed.shard(rows) for rows in inputs]
        (out,) = tile_sum(tile, *(_components(rows) for rows in inputs))
        if distributed.is_sharded(blocks):
            out = distributed.replicate(out, blocks)
        parts.append(out.transpose(1, 2)[mask])
        places.append(index[mask])
    return torch.cat(parts)[torch.argsort(torch.cat(places))]


@dataclass(frozen=True)
class Padded:
    """A formula times the last vector of the sender, which is 1, or 0 for padding."""

    formula: PairFormula

    def __call__(self, receiver: Sequence[Any], sender: Sequence[Any]) -> Any:
        return self.formula(receiver, sender[:-1]) * sender[-1]


def rectangular_pair_sum(
    formula: PairFormula, receivers: Sequence[Float[Tensor, "n _k"]], senders: Sequence[Float[Tensor, "m _l"]]
) -> Float[Tensor, "n q"]:
    """Sum of ``formula`` over all pairs of a receiver and a sender, of which there may be other numbers."""
    x, y = _grouped(receivers), _grouped(senders)
    tile = PairTile(formula, tuple(group for group, _ in x), tuple(group for group, _ in y))
    n = receivers[0].size(0)
    here, there = [tensor for _, tensor in x], [tensor for _, tensor in y]
    if distributed.is_sharded(n):
        here, there = [distributed.shard(a) for a in here], [distributed.partial_gradient(a) for a in there]
    (out,) = tile_sum(tile, *(_components(tensor[None]) for tensor in (*here, *there)))
    out = out[0].transpose(0, 1)
    return distributed.replicate(out, n) if distributed.is_sharded(n) else out


def _grouped(vectors: Sequence[Float[Tensor, "N _k"]]) -> list[tuple[Group, Float[Tensor, "N _m"]]]:
    """The vectors that need a gradient side by side, and those that need none: no time is spent on theirs."""
    groups = []
    for wanted in (True, False):
        chosen = [(k, x) for k, x in enumerate(vectors) if x.requires_grad == wanted]
        if chosen:
            group = tuple((k, x.size(1)) for k, x in chosen)
            groups.append((group, torch.cat([x for _, x in chosen], dim=1)))
    return groups


def _components(x: Float[Tensor, "B n k"]) -> Float[Tensor, "B k n"]:
    # Components first and contiguous: strided columns of an (N, d) array cost a factor of almost three.
    return x.transpose(1, 2).contiguous()
