"""What Deposit and Gather share: inputs checked and the backend dispatched."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch_geometric.nn import MessagePassing

from graphlandau.base.errors import InvalidArgument
from graphlandau.base.validation import require_one_of
from graphlandau.graphs.grid import Grid
from graphlandau.graphs.neighbours import MAX_EDGES
from graphlandau.graphs.particle_cells import Stencil, particle_cells, require_order
from graphlandau.graphs.partition import Partition

__all__ = ["GridLayer"]

BACKENDS = ("auto", "fused", "edges")


class GridLayer(MessagePassing):
    r"""Base of layers between particles and the nodes of a grid, over the graph of
    :func:`~graphlandau.graphs.particle_cells`.

    Args:
        grid: The grid.
        order: Order of the spline, 0 to 3.
        backend: ``"edges"`` (``propagate`` over the edge list), ``"fused"`` (the same sums without one), or ``"auto"``:
            ``edges`` in a subclass with a ``message`` of its own, else ``fused``.

    Raises:
        ValueError: If an argument is out of range, or ``"fused"`` meets a ``message`` of its own.
    """

    def __init__(self, grid: Grid, order: int = 1, backend: str = "auto") -> None:
        super().__init__(aggr="add", flow="source_to_target", node_dim=0)
        if not isinstance(grid, Grid):
            raise InvalidArgument("grid", "must be a Grid", type(grid).__name__)
        self.grid = grid
        self.order = require_order(order)
        self.backend = require_one_of("backend", backend, BACKENDS)
        self._own_message = type(self).message is not GridLayer.message
        if backend == "fused" and self._own_message:
            raise InvalidArgument(
                "backend",
                f"must be 'auto' or 'edges' for {type(self).__name__}, which has a message of its own",
                "'fused'",
            )

    def stencil(
        self,
        pos: Float[Tensor, "N d_x"],
        given: Stencil | None = None,
        batch: Int[Tensor, " N"] | None = None,
        plasmas: int | None = None,
    ) -> Stencil:
        """The stencil of ``pos``, or the one ``given`` if it fits.

        Args:
            pos: Positions.
            given: Stencil of these positions.
            batch: The plasma of each particle, which has a copy of the grid of its own.
            plasmas: Number of plasmas, one more than the highest in ``batch`` unless given.
        """
        if batch is not None:
            Partition.from_batch(batch, pos)
            batch = batch.long()
            plasmas = int(batch.max()) + 1 if plasmas is None else plasmas
        if given is None:
            return particle_cells(pos, self.grid, self.order, batch, plasmas or 1)
        if not isinstance(given, Stencil):
            raise InvalidArgument("stencil", "must be a Stencil", type(given).__name__)
        if batch is None and given.copies > 1:
            raise InvalidArgument("stencil", "must be on one copy of the grid", given.copies)
        if batch is not None and (given.copy is None or not torch.equal(given.copy, batch) or given.copies != plasmas):
            want = f"must be on a copy of the grid for each of {plasmas} plasmas, by 'batch'"
            raise InvalidArgument("stencil", want, f"{given.copies} copies")
        if given.grid != self.grid or given.order != self.order or given.particles != pos.size(0):
            want = f"{pos.size(0)} particles at order {self.order} on {self.grid}"
            got = f"{given.particles} at order {given.order} on {given.grid}"
            raise InvalidArgument("stencil", f"must be that of {want}", got)
        return given

    @property
    def fused(self) -> bool:
        """Whether sums are taken without an edge list."""
        return self.backend == "fused" or (self.backend == "auto" and not self._own_message)

    def edges(self, stencil: Stencil) -> Int[Tensor, "2 E"]:
        """The edges of a stencil, refused if they are too many to be listed."""
        if stencil.edges > MAX_EDGES:
            raise ValueError(
                f"'backend' must not be 'edges' for {stencil.edges:,} edges (at most {MAX_EDGES:,}); "
                "'fused' needs no edge list"
            )
        return stencil.edge_index()

    def message(self, values_j: Tensor, weight: Tensor) -> Tensor:
        """What an edge carries: the value of the sender times the weight of the edge."""
        return values_j * weight[:, None]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.grid}, order={self.order}, backend={self.backend!r})"
