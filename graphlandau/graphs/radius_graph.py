"""The graph of all particles within a radius of each other."""

from __future__ import annotations

from collections.abc import Sequence

from torch_geometric.data import Data
from torch_geometric.transforms import BaseTransform

from graphlandau.base.validation import require_one_of, require_positive
from graphlandau.graphs.neighbours import BACKENDS, measured, radius_edges

__all__ = ["RadiusGraph"]


class RadiusGraph(BaseTransform):
    r"""Connect all particles within ``r`` of each other, see :func:`~graphlandau.graphs.radius_edges`.

    Sets ``edge_index`` :math:`(2, E)`, row 0 sends, row 1 receives; every edge is there in both directions, so that
    :class:`~graphlandau.nn.LandauDrift` over it keeps momentum and energy. If the state has ``batch``, neighbours are
    sought inside each block.

    Args:
        r: Radius, positive.
        on: Where distances are measured, ``"v"`` or ``"pos"``.
        box: Side lengths of a periodic box, each at least :math:`2 r`, one for all axes or one for each.
        backend: ``"kdtree"``, ``"torch_cluster"`` or ``"auto"``.

    Raises:
        ValueError: If an argument is out of range, or the state lacks ``on``.

    Example:
        >>> import torch
        >>> from graphlandau.base.state import particle_state
        >>> RadiusGraph(1.5)(particle_state(torch.tensor([[0.0], [1.0], [3.0]]))).edge_index
        tensor([[1, 0],
                [0, 1]])
    """

    def __init__(
        self, r: float, on: str = "v", box: float | Sequence[float] | None = None, backend: str = "auto"
    ) -> None:
        self.r = require_positive("r", r)
        self.on = require_one_of("on", on, ("v", "pos"))
        self.box = box
        self.backend = require_one_of("backend", backend, BACKENDS)

    def forward(self, data: Data) -> Data:
        """Return the state with ``edge_index``."""
        x = measured(data, self.on)
        data.edge_index = radius_edges(x, self.r, box=self.box, batch=data.get("batch"), backend=self.backend)
        return data

    def __repr__(self) -> str:
        return f"RadiusGraph(r={self.r:g}, on={self.on!r}, box={self.box}, backend={self.backend!r})"
