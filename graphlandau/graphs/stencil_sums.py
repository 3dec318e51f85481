"""Sums over the stencils of particles on a grid, without an edge list.

There are two ways. *Offset by offset*: for each node of a stencil a sum over all particles, column by column. *Group by
group*: particles in one cell meet the same nodes, so that sums over them are small matrix products, and the nodes are
read and written once a group (:class:`~graphlandau.graphs.cell_groups.CellGroups`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd import forward_ad

from graphlandau.base.validation import is_concrete
from graphlandau.graphs.cell_groups import CellGroups
from graphlandau.graphs.particle_cells import Stencil

__all__ = ["collect", "spread"]

# Groups pay when each particle meets many nodes with many columns (fewer where cells are full), and when there are many
# particles. Measured on one core at 1e3 to 1e6 particles, the time to find the groups included. Never with four nodes
# (one direction, or two at order 1), where products with weights cost as much as the sums.
FEW_NODES = 4
MANY_TERMS, MANY_TERMS_IN_FULL_CELLS = 192, 48
FULL_CELL = 4
MANY_EDGES = 2**20
# Numbers that a piece of the groups takes at once: 4 MB in float64, near the cache of a core, and enough for threads.
PIECE = 2**19
PIECE_ON_CUDA = 2**23


def spread(stencil: Stencil, values: Float[Tensor, "N q"]) -> Float[Tensor, "M q"]:
    """Sum at every node of values times weights; memory does not grow with the number of edges."""
    if _wants_gradient(values, *stencil.weight):
        return _result(_Spread.apply(stencil, values, *stencil.weight))
    return _spread(stencil, values, _groups(stencil, values))


def collect(stencil: Stencil, field: Float[Tensor, "M q"]) -> Float[Tensor, "N q"]:
    """Sum at every particle of the field times weights; memory does not grow with the number of edges."""
    if _wants_gradient(field, *stencil.weight):
        return _result(_Collect.apply(stencil, field, *stencil.weight))
    return _collect(stencil, field, _groups(stencil, field))


def _is_plain(*tensors: Tensor) -> bool:
    """Whether no function transform and no forward mode works on ``tensors``."""
    return all(is_concrete(x) and forward_ad.unpack_dual(x).tangent is None for x in tensors)


def _wants_gradient(*tensors: Tensor) -> bool:
    """Whether reverse mode, and nothing else, will ask for derivatives of an operation on ``tensors``."""
    return torch.is_grad_enabled() and _is_plain(*tensors) and any(x.requires_grad for x in tensors)


def _groups(stencil: Stencil, columns: Tensor) -> CellGroups | None:
    """The groups of a stencil where sums of ``columns`` are faster with them."""
    if not _is_plain(columns, *stencil.weight):
        return None
    nodes, n = (stencil.order + 1) ** stencil.grid.d, stencil.particles
    # One more than the columns, because nodes and weights of the offsets cost about as much as a column.
    terms = nodes * (columns.size(1) + 1)
    many = MANY_TERMS_IN_FULL_CELLS if n >= FULL_CELL * stencil.nodes else MANY_TERMS
    pays = nodes > FEW_NODES and terms > many and terms * n >= MANY_EDGES
    return stencil.groups if pays else None


def _result(out: Any) -> Tensor:
    assert isinstance(out, Tensor)
    return out


def _spread(stencil: Stencil, values: Tensor, groups: CellGroups | None) -> Tensor:
    return _spread_by_offset(stencil, values) if groups is None else _spread_by_group(stencil, values, groups)


def _collect(stencil: Stencil, field: Tensor, groups: CellGroups | None) -> Tensor:
    return _collect_by_offset(stencil, field) if groups is None else _collect_by_group(stencil, field, groups)


def _spread_by_offset(stencil: Stencil, values: Tensor) -> Tensor:
    # Thousands of particles may share a node: float32 sums of so many terms would be biased, float64 costs little more.
    columns: list[Any] = [None] * values.size(1)
    for part, own in stencil.parts(values):
        for offset in part.offsets():
            node, weight = part.node(offset), part.node_weight(offset)
            for c, value in enumerate(own.unbind(1)):
                term = (value * weight).double()
                if columns[c] is None:
                    columns[c] = term.new_zeros(stencil.nodes)
                columns[c] = columns[c].index_add_(0, node, term)
    return torch.stack(columns, dim=1).to(values.dtype)


def _collect_by_offset(stencil: Stencil, field: Tensor) -> Tensor:
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


def _by_weights_by_offset(stencil: Stencil, field: Tensor, values: Tensor) -> tuple[Tensor, ...]:
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


def _spread_by_group(stencil: Stencil, values: Tensor, groups: CellGroups) -> Tensor:
    q = values.size(1)
    # One more, which carries nothing, for empty places.
    columns = torch.nn.functional.pad(values.T, (0, 1))
    channel = torch.arange(q, device=values.device)
    out = values.new_zeros(stencil.nodes * q, dtype=torch.float64)
    for part in _pieces(groups, _numbers(stencil, q)):
        *others, last = part.weight.double().unbind(0)
        carried = last[:, None] * columns.index_select(1, part.particle).double()
        sums = torch.bmm(part.by_group(_products(others, last)), part.by_group(carried.flatten(0, 1)).mT)
        index = _nodes(stencil, part.first)[:, :, None] * q + channel
        out.index_add_(0, index.flatten(), sums.flatten())
    return out.view(-1, q).to(values.dtype)


def _collect_by_group(stencil: Stencil, field: Tensor, groups: CellGroups) -> Tensor:
    q = field.size(1)
    # One more for empty places.
    out = field.new_empty(stencil.particles + 1, q)
    for part in _pieces(groups, _numbers(stencil, q)):
        *others, last = part.weight.unbind(0)
        rows = part.by_group(_products(others, last))
        nodes = _nodes(stencil, part.first)
        near = field.index_select(0, nodes.flatten()).view(nodes.size(0), rows.size(1), -1)
        lines = torch.bmm(near.mT, rows).unflatten(1, (-1, q))
        own = (lines * part.by_group(last)[:, :, None]).sum(1)
        out.index_copy_(0, part.particle, own.mT.reshape(-1, q))
    return out[:-1]


def _by_weights_by_group(stencil: Stencil, field: Tensor, values: Tensor, groups: CellGroups) -> tuple[Tensor, ...]:
    """:func:`_by_weights_by_offset` with groups."""
    d, p1, q = stencil.grid.d, stencil.order + 1, values.size(1)
    columns = torch.nn.functional.pad(values.T, (0, 1))
    out = [w.new_empty(p1, stencil.particles + 1) for w in stencil.weight]
    for part in _pieces(groups, p1**d + q):
        own = part.by_group(columns.index_select(1, part.particle))
        nodes = _nodes(stencil, part.first)
        near = field.index_select(0, nodes.flatten()).view(*nodes.shape, q)
        products = torch.bmm(near, own).unflatten(1, (p1,) * d)
        for axis, derivative in enumerate(out):
            rest = products
            for other in reversed(range(d)):
                if other != axis:
                    shape = [p1 if b == other else 1 for b in range(d)]
                    weight = part.by_group(part.weight[other]).unflatten(1, shape)
                    rest = (rest * weight).sum(1 + other, keepdim=True)
            derivative.index_copy_(1, part.particle, rest.flatten(1, d).transpose(0, 1).flatten(1))
    return tuple(derivative[:, :-1] for derivative in out)


def _numbers(stencil: Stencil, columns: int) -> int:
    """Numbers for each particle in a matrix product: weights of all directions but one, columns times weights of it."""
    return (stencil.order + 1) ** (stencil.grid.d - 1) + (stencil.order + 1) * columns


def _pieces(groups: CellGroups, numbers: int) -> Iterator[CellGroups]:
    return groups.pieces(max(1, (PIECE_ON_CUDA if groups.first.is_cuda else PIECE) // numbers))


def _products(weight: list[Tensor], like: Tensor) -> Tensor:
    """All products of one weight of each direction, ``((p + 1)^k, places)``."""
    out = like.new_ones(1, like.size(1))
    for own in weight:
        out = (out[:, None] * own).flatten(0, 1)
    return out


def _nodes(stencil: Stencil, particle: Tensor) -> Tensor:
    """The nodes that each of some particles meets, ``(particles, (p + 1)^d)``."""
    out = particle.new_zeros(1) if stencil.copy is None else stencil.copy.index_select(0, particle)
    out = out[:, None]
    for n, index in zip(stencil.grid.shape, stencil.index, strict=True):
        out = (out[:, :, None] * n + index.index_select(1, particle).T[:, None]).flatten(1)
    return out


class _Spread(torch.autograd.Function):
    """:func:`_spread` with a backward pass that is again a sum over the stencil, and nothing saved for each edge."""

    @staticmethod
    def forward(ctx: Any, stencil: Stencil, values: Tensor, *weight: Tensor) -> Tensor:
        ctx.save_for_backward(values, *stencil.index, *weight)
        ctx.of = (stencil.grid, stencil.order, stencil.copy, stencil.copies)
        ctx.groups = _groups(stencil, values)
        return _spread(stencil, values, ctx.groups)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        (gradient,) = gradients
        values, stencil, groups = _restore(ctx)
        by_values = _collect(stencil, gradient, groups) if ctx.needs_input_grad[1] else None
        by_weights = _by_weights(ctx, stencil, gradient, values, groups)
        return None, by_values, *by_weights


class _Collect(torch.autograd.Function):
    """:func:`_collect` with a backward pass that is again a sum over the stencil, and nothing saved for each edge."""

    @staticmethod
    def forward(ctx: Any, stencil: Stencil, field: Tensor, *weight: Tensor) -> Tensor:
        ctx.save_for_backward(field, *stencil.index, *weight)
        ctx.of = (stencil.grid, stencil.order, stencil.copy, stencil.copies)
        ctx.groups = _groups(stencil, field)
        return _collect(stencil, field, ctx.groups)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        (gradient,) = gradients
        field, stencil, groups = _restore(ctx)
        by_field = _spread(stencil, gradient, groups) if ctx.needs_input_grad[1] else None
        by_weights = _by_weights(ctx, stencil, field, gradient, groups)
        return None, by_field, *by_weights


def _restore(ctx: Any) -> tuple[Tensor, Stencil, CellGroups | None]:
    grid, order, copy, copies = ctx.of
    first, *rest = ctx.saved_tensors
    # Sums by group have no derivatives of their own, which a backward pass with a graph has to have.
    groups = None if torch.is_grad_enabled() else ctx.groups
    return first, Stencil(grid, order, tuple(rest[: grid.d]), tuple(rest[grid.d :]), copy, copies), groups


def _by_weights(ctx: Any, stencil: Stencil, field: Tensor, values: Tensor, groups: CellGroups | None) -> Any:
    if not any(ctx.needs_input_grad[2:]):
        return (None,) * stencil.grid.d
    if groups is None:
        return _by_weights_by_offset(stencil, field, values)
    return _by_weights_by_group(stencil, field, values, groups)
