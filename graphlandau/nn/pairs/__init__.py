"""How a sum over pairs of particles is carried out, and the choice ``auto``."""

from __future__ import annotations

from graphlandau.nn.mesh.gaussian import GaussianMesh
from graphlandau.nn.mesh.landau import FlatBlock, mesh_diffusion, mesh_drift, mesh_partials
from graphlandau.nn.mesh.lattice import MeshTooLarge
from graphlandau.nn.pairs.compiled import compile_available, expected_calls
from graphlandau.nn.pairs.dense import dense_pair_sum, rectangular_pair_sum
from graphlandau.nn.pairs.keops import keops_available, keops_pair_sum
from graphlandau.nn.pairs.moments import maxwell_drift, maxwell_gram, maxwell_partials
from graphlandau.nn.pairs.tiles import PairFormula

__all__ = [
    "BACKENDS",
    "MESH_FROM",
    "MESH_TOLERANCE",
    "FlatBlock",
    "GaussianMesh",
    "MeshTooLarge",
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
    "mesh_diffusion",
    "mesh_drift",
    "mesh_partials",
    "rectangular_pair_sum",
]

# Particles in a block from which ``auto`` takes the mesh.
MESH_FROM = 100_000
# Relative error of the drift that the mesh is made for, unless another is asked for.
MESH_TOLERANCE = 1e-3

BACKENDS = {
    "auto": f"moments for gamma = 0, mesh for negative gamma in 2D and 3D from {MESH_FROM:,} particles, else dense",
    "dense": "tiles of components, compiled where it pays; exact, O(N^2) time, O(N) memory, any derivative",
    "moments": "exact O(N) for gamma = 0",
    "mesh": "particle mesh, O(N + M^d log M), for -3 <= gamma < 0 in 2D and 3D; to a tolerance, which the run measures",
    "keops": "KeOps symbolic sums; exact, O(N^2) time, O(N) memory, no forward mode (extra 'keops')",
    "edges": "PyG propagate over explicit edges; O(E) memory, for sparse graphs",
}


def choose_backend(gamma: float, d: int, particles: int) -> str:
    """The backend that ``auto`` takes for blocks of so many particles (the smallest one), on CPU and CUDA alike."""
    if gamma == 0:
        return "moments"
    return "mesh" if -3 <= gamma < 0 and d in (2, 3) and particles >= MESH_FROM else "dense"
