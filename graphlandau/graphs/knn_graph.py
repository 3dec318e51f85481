"""The k-nearest-neighbour graph of particles."""

from __future__ import annotations

from collections.abc import Sequence

from torch_geometric.data import Data
from torch_geometric.transforms import BaseTransform
from torch_geometric.utils import to_undirected

from graphlandau.base.validation import require_integer, require_one_of
from graphlandau.graphs.neighbours import BACKENDS, knn_edges, measured

__all__ = ["KNNGraph"]


class KNNGraph(BaseTransform):
    r"""Connect each particle to its ``k`` nearest others, see :func:`~graphlandau.graphs.knn_edges`.

    Sets ``edge_index`` :math:`(2, E)`, row 0 sends, row 1 receives. If the state has ``batch``, neighbours are sought
    inside each block. The graph is directed: j may be among the nearest of i without i among those of j, and
    :class:`~graphlandau.nn.LandauDrift` over it loses momentum and energy. ``undirected=True`` keeps both.

    Args:
        k: Neighbours of each particle, at least 1 and below the number of particles (of the smallest block).
        on: Where distances are measured, ``"v"`` or ``"pos"``.
        box: Side lengths of a periodic box, one for all axes or one for each.
        undirected: Make an edge in either direction one in both; a particle may then have more than ``k``.
        backend: ``"kdtree"``, ``"torch_cluster"`` or ``"auto"``.

    Raises:
        ValueError: If an argument is out of range, or the state lacks ``on`` or has too few particles.

    Example:
        >>> import torch
        >>> from graphlandau.base.state import particle_state
        >>> KNNGraph(4)(particle_state(torch.randn(10, 3))).edge_index.shape
        torch.Size([2, 40])
    """

    def __init__(
        self,
        k: int,
        on: str = "v",
        box: float | Sequence[float] | None = None,
        undirected: bool = False,
        backend: str = "auto",
    ) -> None:
        self.k = require_integer("k", k, minimum=1)
        self.on = require_one_of("on", on, ("v", "pos"))
        self.box = box
        self.undirected = undirected
        self.backend = require_one_of("backend", backend, BACKENDS)

    def forward(self, data: Data) -> Data:
        """Return the state with ``edge_index``."""
        x = measured(data, self.on)
        edges = knn_edges(x, self.k, box=self.box, batch=data.get("batch"), backend=self.backend)
        # Sorted by sender; of a graph that is its own transpose, so is the transpose by receiver.
        data.edge_index = to_undirected(edges, num_nodes=x.size(0)).flip(0) if self.undirected else edges
        return data

    def __repr__(self) -> str:
        return (
            f"KNNGraph(k={self.k}, on={self.on!r}, box={self.box}, undirected={self.undirected}, "
            f"backend={self.backend!r})"
        )
