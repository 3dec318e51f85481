"""The ways to sum over pairs of particles, by name, and from where on ``auto`` takes which."""

from __future__ import annotations

__all__ = ["BACKENDS", "MESH_FROM", "MESH_TOLERANCE"]

# Particles in a block from which ``auto`` takes the mesh.
MESH_FROM = 100_000
# Relative error of the drift that the mesh is made for, unless another is asked for.
MESH_TOLERANCE = 1e-3

BACKENDS = {
    "auto": f"moments for gamma = 0, mesh for negative gamma in 2D and 3D from {MESH_FROM:,} particles, else dense "
    "(keops on CUDA)",
    "dense": "tiles of components, compiled where it pays; exact, O(N^2) time, O(N) memory, any derivative",
    "moments": "exact O(N) for gamma = 0",
    "mesh": "particle mesh, O(N + M^d log M), for -3 <= gamma < 0 in 2D and 3D; to a tolerance, which the run measures",
    "keops": "KeOps symbolic sums; exact, O(N^2) time, O(N) memory, no forward mode (extra 'keops')",
    "edges": "PyG propagate over explicit edges; O(E) memory, for sparse graphs",
}
