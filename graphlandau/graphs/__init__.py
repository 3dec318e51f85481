"""Who meets whom: PyG transforms that put a graph or blocks on a state."""

from graphlandau.graphs.knn_graph import KNNGraph
from graphlandau.graphs.neighbours import knn_edges, radius_edges
from graphlandau.graphs.particle_cells import Stencil, particle_cells
from graphlandau.graphs.radius_graph import RadiusGraph
from graphlandau.graphs.random_batches import RandomBatches

__all__ = ["KNNGraph", "RadiusGraph", "RandomBatches", "Stencil", "knn_edges", "particle_cells", "radius_edges"]
