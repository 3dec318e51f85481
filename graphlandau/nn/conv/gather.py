"""Gather: a field on a grid, interpolated to particles."""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor

from graphlandau.base.errors import InvalidArgument
from graphlandau.base.precision import full_precision
from graphlandau.base.validation import require_finite
from graphlandau.graphs.grid import Grid
from graphlandau.graphs.particle_cells import Stencil
from graphlandau.graphs.stencil_sums import collect
from graphlandau.nn.conv.grid_layer import GridLayer

__all__ = ["Gather"]


class Gather(GridLayer):
    r"""Value of a field on the nodes of a grid at every particle, with B-spline weights.

    .. math::
        F(x_p) = \sum_i F_i \, w_{pi}, \qquad w_{pi} = \prod_a B_m\Big(\frac{x_{pa} - X_{ia}}{h_a}\Big)

    The exact adjoint of :class:`~graphlandau.nn.Deposit` of the same grid and order,
    :math:`\sum_p q_p F(x_p) = \sum_i Q_i F_i`. Constants are reproduced at every order and linear fields from order 1;
    smoother fields with an error :math:`O(h^2)` from order 1 on, since splines smooth what they carry. Dimensionless.

    Args:
        grid: The grid.
        order: Order :math:`m` of the spline, 0 to 3.
        backend: As for :class:`~graphlandau.nn.Deposit`.

    Shapes:
        - **pos**: positions :math:`(N, d_x)`; a periodic box takes them from anywhere
        - **field**: at the nodes, ``(*grid.shape)`` or ``(*grid.shape, q)``; with ``batch`` one for each plasma, ``(B,
          *grid.shape)`` or ``(B, *grid.shape, q)``
        - **batch**: the plasma of each particle, from 0 as in a PyG ``Batch``, :math:`(N,)` *(optional)*
        - **stencil**: that of ``pos`` from :meth:`stencil` *(optional)*; ``pos`` itself is then not looked at
        - **output**: :math:`(N,)` or :math:`(N, q)`

    Differentiable in ``field`` and, from order 1, in ``pos`` (order 1: almost everywhere).

    Raises:
        ValueError: If an argument is out of range, tensors are non-finite or do not fit, ``pos`` requires grad at order
            0, or a particle of a bounded box has nodes beyond its end.

    Example:
        >>> import torch
        >>> from graphlandau.fields import Grid
        >>> grid = Grid(4.0, 4)
        >>> Gather(grid)(torch.tensor([[0.25], [3.5]]), torch.tensor([0.0, 4.0, 8.0, 12.0]))
        tensor([1., 6.])

    Reference: arXiv:2603.23901, Section 3.4 (order 1); Birdsall and Langdon, Plasma Physics via Computer Simulation,
    Chapter 8 for the other orders.
    """

    @full_precision
    def forward(
        self,
        pos: Float[Tensor, "N d_x"],
        field: Float[Tensor, "*shape"],
        *,
        batch: Int[Tensor, " N"] | None = None,
        stencil: Stencil | None = None,
    ) -> Float[Tensor, " N"] | Float[Tensor, "N q"]:
        """The field at every particle."""
        _require_nodal(field, self.grid, batch is not None)
        plasmas = 0 if batch is None else 1
        cells = self.stencil(pos, stencil, batch, field.size(0) if plasmas else None)
        if field.dtype != cells.weight[0].dtype:
            raise InvalidArgument("field", f"must have the dtype of 'pos', {cells.weight[0].dtype}", field.dtype)
        flat = field.reshape(cells.nodes, -1)
        if self.fused:
            out = collect(cells, flat)
        else:
            edges, size = self.edges(cells).flip(0), (cells.nodes, cells.particles)
            out = self.propagate(edges, values=(flat, None), weight=cells.edge_weight(), size=size)
        return out.view(cells.particles, *field.shape[plasmas + self.grid.d :])


def _require_nodal(field: Tensor, grid: Grid, batched: bool) -> None:
    shape = grid.shape
    first = 1 if batched else 0
    fits = isinstance(field, Tensor) and field.shape[first : first + len(shape)] == shape
    if not fits or field.dim() > first + len(shape) + 1 or field.numel() == 0:
        got = tuple(field.shape) if isinstance(field, Tensor) else type(field).__name__
        want = ", ".join([*(["B"] if batched else []), *(str(n) for n in shape)])
        raise InvalidArgument("field", f"must have shape ({want}) or ({want}, q) with q >= 1", got)
    require_finite("field", field)
