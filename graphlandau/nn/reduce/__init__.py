"""How a sum over pairs of particles is carried out, and the choice ``auto``."""

from __future__ import annotations

from graphlandau.nn.reduce.compiled import compile_available, expected_calls
from graphlandau.nn.reduce.dense import dense_pair_sum
from graphlandau.nn.reduce.keops import keops_available, keops_pair_sum
from graphlandau.nn.reduce.moments import maxwell_drift, maxwell_gram, maxwell_partials
from graphlandau.nn.reduce.tiles import PairFormula

__all__ = [
    "BACKENDS",
    "PairFormula",
    "choose_backend",
    "compile_available",
    "dense_pair_sum",
    "expected_calls",
    "keops_available",
    "keops_pair_sum",
    "maxwell_drift",
    "maxwell_gram",
    "maxwell_partials",
]

BACKENDS = {
    "auto": "moments for gamma = 0, dense otherwise; edges when a graph is given",
    "dense": "tiles of components, compiled where it pays; exact, O(N^2) time, O(N) memory, any derivative",
    "moments": "exact O(N) for gamma = 0",
    "keops": "KeOps symbolic sums; exact, O(N^2) time, O(N) memory, no forward mode (extra 'keops')",
    "edges": "PyG propagate over explicit edges; O(E) memory, for sparse graphs",
}


def choose_backend(gamma: float) -> str:
    """The backend that ``auto`` takes for a complete graph or blocks, on CPU and CUDA alike."""
    return "moments" if gamma == 0 else "dense"
