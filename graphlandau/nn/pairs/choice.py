"""How a sum over pairs of particles is carried out, and the choice ``auto``."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from graphlandau.base.backends import BACKENDS, MESH_FROM, MESH_TOLERANCE
from graphlandau.graphs.partition import Partition
from graphlandau.nn.pairs.dense import dense_pair_sum
from graphlandau.nn.pairs.edges import complete_edges, edge_pair_sum
from graphlandau.nn.pairs.keops import keops_available, keops_pair_sum
from graphlandau.nn.pairs.tiles import PairFormula

__all__ = ["BACKENDS", "MESH_FROM", "MESH_TOLERANCE", "choose_backend", "choose_exact", "pair_sum"]


def choose_exact(device: torch.device | str | None) -> str:
    """The backend of exact sums over all pairs: KeOps on CUDA where it works, else tiles, compiled where it pays."""
    on_cuda = device is not None and torch.device(device).type == "cuda"
    return "keops" if on_cuda and keops_available()[0] else "dense"


def choose_backend(gamma: float, d: int, particles: int, device: torch.device | str | None = None) -> str:
    """The backend that ``auto`` takes for blocks of so many particles (the smallest one)."""
    if gamma == 0:
        return "moments"
    return "mesh" if -3 <= gamma < 0 and d in (2, 3) and particles >= MESH_FROM else choose_exact(device)


def pair_sum(
    backend: str,
    formula: PairFormula,
    receivers: Sequence[Float[Tensor, "N _k"]],
    senders: Sequence[Float[Tensor, "M _l"]],
    graph: Partition | Int[Tensor, "2 E"],
) -> Float[Tensor, "N q"]:
    """Sum ``formula`` over ``graph`` by an exact backend; the last vector of a sender is its weight, ``(M, 1)``."""
    if isinstance(graph, Partition) and backend != "edges":
        return (keops_pair_sum if backend == "keops" else dense_pair_sum)(formula, receivers, senders, graph)
    return edge_pair_sum(formula, receivers, senders, complete_edges(graph) if isinstance(graph, Partition) else graph)
