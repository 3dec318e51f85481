"""Pair sums over a lattice: spread, convolve, gather."""

from graphlandau.nn.mesh.gaussian import GaussianMesh
from graphlandau.nn.mesh.landau import FlatBlock, mesh_diffusion, mesh_drift, mesh_partials
from graphlandau.nn.mesh.lattice import MeshTooLarge

__all__ = ["FlatBlock", "GaussianMesh", "MeshTooLarge", "mesh_diffusion", "mesh_drift", "mesh_partials"]
