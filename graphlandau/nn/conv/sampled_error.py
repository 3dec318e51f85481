"""How far a drift is from the direct sum of its message in float64."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from graphlandau.graphs.partition import Partition
from graphlandau.nn.pairs import PairFormula, rectangular_pair_sum

__all__ = ["sampled_error"]

# Blocks in which the error of a drift is measured.
MAX_BLOCKS = 8


@torch.no_grad()
def sampled_error(
    found: Float[Tensor, "N d"],
    formula: PairFormula,
    v: Float[Tensor, "N d"],
    s: Float[Tensor, "N d"],
    share: Float[Tensor, " N"],
    graph: Partition,
    targets: int,
    generator: torch.Generator | None,
    factor: Float[Tensor, "N 1"],
) -> float:
    r"""Relative error :math:`\|\tilde U - U\| / \|U\|` of ``found`` over random targets, by the direct sum.

    Args:
        found: Drifts.
        formula: What a pair adds to them.
        v: Velocities.
        s: Scores, with few digits lost in their differences.
        share: Weights of the senders.
        graph: Blocks.
        targets: Number of targets, in at most 8 of the blocks.
        generator: Where they are drawn from, on the CPU.
        factor: What the sum is multiplied by for each particle.
    """
    v, s, share = v.double(), s.double(), share.double()
    chosen = torch.randperm(graph.count, generator=generator, device="cpu")[:MAX_BLOCKS].tolist()
    error, size = 0.0, 0.0
    for block in chosen:
        members = (graph.block == block).nonzero()[:, 0]
        picked = torch.randperm(members.numel(), generator=generator, device="cpu")[: max(1, targets // len(chosen))]
        at = members[picked.to(members.device)]
        exact = rectangular_pair_sum(formula, (v[at], s[at]), (v[members], s[members], share[members, None]))
        exact = exact * factor[at]
        error += float((found[at].double() - exact).square().sum())
        size += float(exact.square().sum())
    return math.sqrt(error / size) if size > 0 else 0.0
