"""Who meets whom: PyG transforms that put a graph or blocks on a state."""

from graphlandau.graphs.random_batches import RandomBatches

__all__ = ["RandomBatches"]
