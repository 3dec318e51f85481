"""Deposit: what particles carry, summed at the nodes of a grid."""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor

from graphlandau.base.errors import InvalidArgument
from graphlandau.base.precision import full_precision
from graphlandau.base.validation import require_finite
from graphlandau.graphs.particle_cells import Stencil
from graphlandau.graphs.stencil_sums import spread
from graphlandau.nn.conv.grid_layer import GridLayer

__all__ = ["Deposit"]


class Deposit(GridLayer):
    r"""Sum of what particles carry at the nodes of a grid, with B-spline weights.

    .. math::
        Q_i = \sum_p q_p \, w_{pi}, \qquad w_{pi} = \prod_a B_m\Big(\frac{x_{pa} - X_{ia}}{h_a}\Big), \qquad
        \sum_i Q_i = \sum_p q_p

    a *sum*: the density is :math:`Q_i` over ``grid.cell_volume``. The total is exact to rounding for any positions and
    values; :class:`~graphlandau.nn.Gather` of the same grid and order is the exact adjoint,
    :math:`\sum_i Q_i F_i = \sum_p q_p F(x_p)`. Dimensionless.

    Args:
        grid: The grid.
        order: Order :math:`m` of the spline, 0 to 3: 0 is the nearest node, 1 the tent (cloud in cell), and so on.
        backend: ``"edges"`` (``propagate`` over the bipartite graph of :math:`(m + 1)^{d_x} N` edges), ``"fused"`` (the
            same sums without an edge list, node by node of the stencil or cell by cell of the particles, with memory
            for some :math:`(m + 1) d_x N` nodes and weights, in the backward pass too), or ``"auto"``: ``edges`` in a
            subclass with a ``message`` of its own, else ``fused``.

    Shapes:
        - **pos**: positions :math:`(N, d_x)`; a periodic box takes them from anywhere
        - **values**: :math:`(N,)` or :math:`(N, q)`
        - **stencil**: that of ``pos`` from :meth:`stencil`, to be shared between layers of one grid and order
          *(optional)*; ``pos`` itself is then not looked at
        - **batch**: the plasma of each particle, from 0 as in a PyG ``Batch``, :math:`(N,)` *(optional)*: each plasma
          is summed on a grid of its own
        - **output**: ``(*grid.shape)`` or ``(*grid.shape, q)``; with ``batch`` ``(B, *grid.shape)`` or ``(B,
          *grid.shape, q)``, B one more than the highest number in ``batch``

    Differentiable in ``values`` and, from order 1, in ``pos`` (order 1: almost everywhere). Sums run in float64 inside
    and are returned in the dtype of ``values`` (``fused``). On a CUDA device their order changes from call to call.

    Raises:
        ValueError: If an argument is out of range, tensors are non-finite or do not fit, ``pos`` requires grad at order
            0, or a particle of a bounded box has nodes beyond its end.

    Example:
        >>> import torch
        >>> from graphlandau.fields import Grid
        >>> grid = Grid(4.0, 4)
        >>> Deposit(grid)(torch.tensor([[0.25], [3.5]]), torch.ones(2))
        tensor([1.2500, 0.2500, 0.0000, 0.5000])

    Reference: arXiv:2603.23901, Section 3.4 (order 1); Birdsall and Langdon, Plasma Physics via Computer Simulation,
    Chapter 8 for the other orders.
    """

    @full_precision
    def forward(
        self,
        pos: Float[Tensor, "N d_x"],
        values: Float[Tensor, " N"] | Float[Tensor, "N q"],
        *,
        batch: Int[Tensor, " N"] | None = None,
        stencil: Stencil | None = None,
    ) -> Float[Tensor, "*shape"]:
        """Sums at the nodes."""
        cells = self.stencil(pos, stencil, batch)
        _require_values(values, cells)
        columns = values[:, None] if values.dim() == 1 else values
        if self.fused:
            out = spread(cells, columns)
        else:
            size = (cells.particles, cells.nodes)
            out = self.propagate(self.edges(cells), values=(columns, None), weight=cells.edge_weight(), size=size)
        plasmas = () if batch is None else (cells.copies,)
        return out.view(*plasmas, *self.grid.shape, *values.shape[1:])


def _require_values(values: Tensor, stencil: Stencil) -> None:
    n, dtype = stencil.particles, stencil.weight[0].dtype
    if not isinstance(values, Tensor) or values.dim() not in (1, 2) or values.size(0) != n or values.numel() == 0:
        got = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
        raise InvalidArgument("values", f"must have shape ({n},) or ({n}, q) with q >= 1", got)
    if values.dtype != dtype:
        raise InvalidArgument("values", f"must have the dtype of 'pos', {dtype}", values.dtype)
    require_finite("values", values)
