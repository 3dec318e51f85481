"""Sums over pairs of particles: how they are carried out, when they are compiled, and the choice ``auto``."""

from graphlandau.nn.pairs.choice import BACKENDS, MESH_FROM, MESH_TOLERANCE, choose_backend, choose_exact, pair_sum
from graphlandau.nn.pairs.compiled import COMPILE_MODES, compile_available, compile_mode, expected_calls
from graphlandau.nn.pairs.dense import dense_pair_sum, rectangular_pair_sum
from graphlandau.nn.pairs.edges import complete_edges, edge_pair_sum
from graphlandau.nn.pairs.keops import keops_available, keops_pair_sum
from graphlandau.nn.pairs.moments import maxwell_drift, maxwell_gram, maxwell_partials
from graphlandau.nn.pairs.tiles import PairFormula

__all__ = [
    "BACKENDS",
    "COMPILE_MODES",
    "MESH_FROM",
    "MESH_TOLERANCE",
    "PairFormula",
    "choose_backend",
    "choose_exact",
    "compile_available",
    "compile_mode",
    "complete_edges",
    "dense_pair_sum",
    "edge_pair_sum",
    "expected_calls",
    "keops_available",
    "keops_pair_sum",
    "maxwell_drift",
    "maxwell_gram",
    "maxwell_partials",
    "pair_sum",
    "rectangular_pair_sum",
]
