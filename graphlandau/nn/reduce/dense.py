"""Pair sums over dense tiles of components: the exact path for CPU, GPU and derivatives of any order."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from graphlandau.nn.reduce.tiles import PairFormula, PairTile, tile_sum
from graphlandau.partition import Partition

__all__ = ["dense_pair_sum"]


def dense_pair_sum(
    formula: PairFormula,
    receivers: Sequence[Float[Tensor, "N _k"]],
    senders: Sequence[Float[Tensor, "N _l"]],
    partition: Partition,
) -> Float[Tensor, "N q"]:
    r"""Sum of ``formula`` over all pairs inside each block, :math:`O(N \times \text{tile})` memory.

    The last sender vector must be a factor of every term (its weight): padding is a sender of weight 0.
    """
    tile = PairTile(formula, tuple(x.size(1) for x in receivers), tuple(x.size(1) for x in senders))
    receiver, sender = torch.cat(tuple(receivers), dim=1), torch.cat(tuple(senders), dim=1)
    if partition.count == 1:
        (out,) = tile_sum(tile, _components(receiver[None]), _components(sender[None]))
        return out[0].transpose(0, 1)
    parts, places = [], []
    for index, mask in partition.padded():
        padded = torch.cat([sender[index][..., :-1], sender[index][..., -1:] * mask[..., None]], dim=-1)
        (out,) = tile_sum(tile, _components(receiver[index]), _components(padded))
        parts.append(out.transpose(1, 2)[mask])
        places.append(index[mask])
    return torch.cat(parts)[torch.argsort(torch.cat(places))]


def _components(x: Float[Tensor, "B n k"]) -> Float[Tensor, "B k n"]:
    # Components first and contiguous: strided columns of an (N, d) array cost a factor of almost three.
    return x.transpose(1, 2).contiguous()
