"""What Deposit and Gather share: inputs checked, backend dispatched, sums over stencils without an edge list."""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd import forward_ad
from torch_geometric.nn import MessagePassing

from graphlandau.fields.grid import Grid
from graphlandau.graphs.neighbours import MOST_EDGES
from graphlandau.graphs.particle_cells import Stencil, particle_cells, require_order
from graphlandau.validation import is_concrete, require_one_of

__all__ = ["GridLayer", "collect", "spread"]

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
            raise ValueError(f"'grid' must be a Grid (got {type(grid).__name__})")
        self.grid = grid
        self.order = require_order(order)
        self.backend = require_one_of("backend", backend, BACKENDS)
        self._own_message = type(self).message is not GridLayer.message
        if backend == "fused" and self._own_message:
            raise ValueError(
                f"'backend' must be 'auto' or 'edges' for {type(self).__name__}, which has a message of its own "
                "(got 'fused')"
            )

    def stencil(self, pos: Float[Tensor, "N d_x"], given: Stencil | None = None) -> Stencil:
        """The stencil of ``pos``, or the one ``given`` if it fits."""
        if given is None:
            return particle_cells(pos, self.grid, self.order)
        if not isinstance(given, Stencil):
            raise ValueError(f"'stencil' must be a Stencil (got {type(given).__name__})")
        if given.grid != self.grid or given.order != self.order or given.particles != pos.size(0):
            want = f"{pos.size(0)} particles at order {self.order} on {self.grid}"
            got = f"{given.particles} at order {given.order} on {given.grid}"
            raise ValueError(f"'stencil' must be that of {want} (got {got})")
        return given

    @property
    def fused(self) -> bool:
        """Whether sums are taken without an edge list."""
        return self.backend == "fused" or (self.backend == "auto" and not self._own_message)

    def edges(self, stencil: Stencil) -> Int[Tensor, "2 E"]:
        """The edges of a stencil, refused if they are too many to be listed."""
        if stencil.edges > MOST_EDGES:
            raise ValueError(
                f"'backend' must not be 'edges' for {stencil.edges:,} edges (at most {MOST_EDGES:,}); "
                "'fused' needs no edge list"
            )
        return stencil.edge_index()

    def message(self, values_j: Tensor, weight: Tensor) -> Tensor:
        """What an edge carries: the value of the sender times the weight of the edge."""
        return values_j * weight[:, None]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.grid}, order={self.order}, backend={self.backend!r})"


def spread(stencil: Stencil, values: Float[Tensor, "N q"]) -> Float[Tensor, "M q"]:
    """Sum at every node of values times weights; memory does not grow with the number of edges."""
    if _wants_gradient(values, *stencil.weight):
        return _result(_Spread.apply(stencil, values, *stencil.weight))
    return _spread(stencil, values)


def collect(stencil: Stencil, field: Float[Tensor, "M q"]) -> Float[Tensor, "N q"]:
    """Sum at every particle of the field times weights; memory does not grow with the number of edges."""
    if _wants_gradient(field, *stencil.weight):
        return _result(_Collect.apply(stencil, field, *stencil.weight))
    return _collect(stencil, field)


def _wants_gradient(*tensors: Tensor) -> bool:
    """Whether reverse mode, and no function transform, will ask for derivatives of an operation on ``tensors``."""
    if not torch.is_grad_enabled() or not all(is_concrete(x) for x in tensors):
        return False
    if any(forward_ad.unpack_dual(x).tangent is not None for x in tensors):
        return False
    return any(x.requires_grad for x in tensors)


def _result(out: Any) -> Tensor:
    assert isinstance(out, Tensor)
    return out


def _spread(stencil: Stencil, values: Tensor) -> Tensor:
    # Thousands of particles may share a node: float32 sums of so many terms would be biased, float64 costs little more.
    columns: list[Any] = [None] * values.size(1)
    for part, own in stencil.parts(values):
        for offset in part.offsets():
            node, weight = part.node(offset), part.node_weight(offset)
            for c, value in enumerate(own.unbind(1)):
                term = (value * weight).double()
                if columns[c] is None:
                    columns[c] = term.new_zeros(stencil.grid.nodes)
                columns[c] = columns[c].index_add_(0, node, term)
    return torch.stack(columns, dim=1).to(values.dtype)


def _collect(stencil: Stencil, field: Tensor) -> Tensor:
    components = field.T.contiguous().unbind(0)
    out = []
    for (part,) in stencil.parts():
        columns: list[Any] = [0] * len(components)
        for offset in part.offsets():
            node, weight = part.node(offset), part.node_weight(offset)
            for c, component in enumerate(components):
                columns[c] = columns[c] + weight * component.index_select(0, node)
        out.append(torch.stack(columns, dim=1))
    return torch.cat(out)


def _by_weights(stencil: Stencil, field: Tensor, values: Tensor) -> tuple[Tensor, ...]:
    """Derivatives of the sum over edges of value times weight times field by the weights of each direction."""
    components = field.T.contiguous().unbind(0)
    out = []
    for part, own in stencil.parts(values):
        columns: list[list[Any]] = [[0] * (stencil.order + 1) for _ in stencil.weight]
        for offset in part.offsets():
            node = part.node(offset)
            pairs = zip(own.unbind(1), components, strict=True)
            product: Any = sum(value * component.index_select(0, node) for value, component in pairs)
            for axis, k in enumerate(offset):
                others = [w[j] for b, (w, j) in enumerate(zip(part.weight, offset, strict=True)) if b != axis]
                columns[axis][k] = columns[axis][k] + math.prod(others, start=product)
        out.append([torch.stack(column) for column in columns])
    return tuple(torch.cat(column, dim=1) for column in zip(*out, strict=True))


class _Spread(torch.autograd.Function):
    """:func:`_spread` with a backward pass that is again a sum over the stencil, and nothing saved for each edge."""

    @staticmethod
    def forward(ctx: Any, stencil: Stencil, values: Tensor, *weight: Tensor) -> Tensor:
        ctx.save_for_backward(values, *stencil.index, *weight)
        ctx.of = (stencil.grid, stencil.order)
        return _spread(stencil, values)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        (gradient,) = gradients
        values, stencil = _restore(ctx)
        by_values = _collect(stencil, gradient) if ctx.needs_input_grad[1] else None
        by_weights = (
            _by_weights(stencil, gradient, values) if any(ctx.needs_input_grad[2:]) else (None,) * stencil.grid.d
        )
        return None, by_values, *by_weights


class _Collect(torch.autograd.Function):
    """:func:`_collect` with a backward pass that is again a sum over the stencil, and nothing saved for each edge."""

    @staticmethod
    def forward(ctx: Any, stencil: Stencil, field: Tensor, *weight: Tensor) -> Tensor:
        ctx.save_for_backward(field, *stencil.index, *weight)
        ctx.of = (stencil.grid, stencil.order)
        return _collect(stencil, field)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        (gradient,) = gradients
        field, stencil = _restore(ctx)
        by_field = _spread(stencil, gradient) if ctx.needs_input_grad[1] else None
        by_weights = (
            _by_weights(stencil, field, gradient) if any(ctx.needs_input_grad[2:]) else (None,) * stencil.grid.d
        )
        return None, by_field, *by_weights


def _restore(ctx: Any) -> tuple[Tensor, Stencil]:
    grid, order = ctx.of
    first, *rest = ctx.saved_tensors
    return first, Stencil(grid, order, tuple(rest[: grid.d]), tuple(rest[grid.d :]))
