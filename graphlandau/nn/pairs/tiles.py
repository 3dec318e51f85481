r"""Sums over pairs of particles, tile by tile, differentiable to any order in bounded memory.

A *tile* is a function of arrays that live on the receivers' axis ``i`` or the senders' axis ``j`` and returns what
its pairs contribute to arrays on either axis; the sum over all tiles is the result. Tiles are closed under
differentiation: the vector-Jacobian and Jacobian-vector products of a sum over tiles are again sums over tiles,
of :class:`Vjp` and :class:`Jvp`. So no derivative of any order stores one number per pair.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from graphlandau.base.vectors import Components
from graphlandau.nn.pairs.compiled import plan

__all__ = ["Group", "PairFormula", "PairTile", "Tile", "tile_sum"]

# What a pair contributes: vectors of the receiver and of the sender (the last one its weight) to a vector.
PairFormula = Callable[[Sequence[Any], Sequence[Any]], Any]

# Pairs per tile. Eager tiles materialise some ten arrays of that size and want them in cache;
# compiled tiles are fused into one loop, where only the senders' components must fit in the first-level cache.
EAGER_TILE = 512
COMPILED_TILE = (16384, 2048)


class Tile(Protocol):
    """A differentiable contribution of a tile of pairs; ``axes`` say where inputs and outputs live."""

    @property
    def in_axes(self) -> str:
        """Axis of each input, one letter each."""
        ...

    @property
    def out_axes(self) -> str:
        """Axis of each output."""
        ...

    def __call__(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Contribution of the pairs of one tile."""
        ...


# The vectors that one input of a tile holds side by side, as (position among all, width).
Group = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class PairTile:
    r"""Sum of ``formula`` over the senders of a tile: :math:`(B, k, n), \dots, (B, l, m), \dots \to (B, q, n)`.

    Receivers and senders come in one input each, or in several: derivatives are taken by whole inputs, so that what
    needs none is better apart.

    Args:
        formula: What a pair contributes.
        receivers: Vectors in each input that lives on the receivers' axis.
        senders: Vectors in each input on the senders' axis.
    """

    formula: PairFormula
    receivers: tuple[Group, ...]
    senders: tuple[Group, ...]
    out_axes: str = "i"

    @property
    def in_axes(self) -> str:
        """Receivers first."""
        return "i" * len(self.receivers) + "j" * len(self.senders)

    def __call__(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Sum over the senders of the tile."""
        count = len(self.receivers)
        x, y = _vectors(tensors[:count], self.receivers, -1), _vectors(tensors[count:], self.senders, -2)
        return (torch.stack([c.sum(-1) for c in self.formula(x, y).parts], dim=-2),)


def _vectors(tensors: Sequence[Tensor], groups: tuple[Group, ...], missing: int) -> list[Components]:
    """The vectors in their order, with room for the other axis at ``missing``."""
    found: dict[int, Components] = {}
    for tensor, group in zip(tensors, groups, strict=True):
        components = [c.unsqueeze(missing) for c in tensor.unbind(-2)]
        ends = itertools.accumulate(width for _, width in group)
        for end, (position, width) in zip(ends, group, strict=True):
            found[position] = Components(tuple(components[end - width : end]))
    return [found[position] for position in sorted(found)]


@dataclass(frozen=True)
class Vjp:
    """The vector-Jacobian product of ``tile`` for input ``wrt``: inputs and cotangents to one gradient.

    One input at a time, because a sum along one axis compiles to a single loop and sums along both do not.
    """

    tile: Tile
    wrt: int

    @property
    def in_axes(self) -> str:
        return self.tile.in_axes + self.tile.out_axes

    @property
    def out_axes(self) -> str:
        return self.tile.in_axes[self.wrt]

    def __call__(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        k = len(self.tile.in_axes)
        inputs, cotangents = tensors[:k], tensors[k:]

        def of_one(x: Tensor) -> tuple[Tensor, ...]:
            return self.tile(*inputs[: self.wrt], x, *inputs[self.wrt + 1 :])

        pullback = torch.func.vjp(of_one, inputs[self.wrt])[1]
        return pullback(tuple(cotangents))


@dataclass(frozen=True)
class Jvp:
    """The Jacobian-vector product of ``tile``: inputs and tangents to tangents of the outputs.

    Taken as the transpose of the pullback, because torch does not nest forward mode and a caller may be in it.
    """

    tile: Tile

    @property
    def in_axes(self) -> str:
        return self.tile.in_axes * 2

    @property
    def out_axes(self) -> str:
        return self.tile.out_axes

    def __call__(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        k = len(self.tile.in_axes)
        outputs, pullback = torch.func.vjp(self.tile, *tensors[:k])[:2]
        transpose = torch.func.vjp(pullback, tuple(torch.zeros_like(o) for o in outputs))[1]
        return transpose(tuple(tensors[k:]))[0]


def tile_sum(tile: Tile, *tensors: Tensor) -> tuple[Tensor, ...]:
    """Sum ``tile`` over all tiles of pairs; ``tensors`` are ``(B, channels, n)`` or ``(B, channels, m)``."""
    return _TileSum.apply(tile, *tensors)


class _TileSum(torch.autograd.Function):
    @staticmethod
    def forward(tile: Tile, *tensors: Tensor) -> tuple[Tensor, ...]:
        return _evaluate(tile, tensors)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.tile = inputs[0]
        ctx.set_materialize_grads(True)
        ctx.save_for_backward(*inputs[1:])
        ctx.save_for_forward(*inputs[1:])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors
        needed = ctx.needs_input_grad[1:]
        return None, *(tile_sum(Vjp(ctx.tile, k), *saved, *grads)[0] if need else None for k, need in enumerate(needed))

    @staticmethod
    def jvp(ctx: Any, _: None, *tangents: Tensor | None) -> tuple[Tensor, ...]:
        saved = ctx.saved_tensors
        full = [torch.zeros_like(x) if t is None else t for x, t in zip(saved, tangents, strict=True)]
        return tile_sum(Jvp(ctx.tile), *saved, *full)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], tile: Tile, *tensors: Tensor) -> tuple[Any, Any]:
        # A mapped dimension is folded into the batch of blocks B.
        folded = [
            (x.unsqueeze(0).expand(info.batch_size, *x.shape) if dim is None else x.movedim(dim, 0)).flatten(0, 1)
            for x, dim in zip(tensors, in_dims[1:], strict=True)
        ]
        outputs = tile_sum(tile, *folded)
        return tuple(o.unflatten(0, (info.batch_size, -1)) for o in outputs), (0,) * len(outputs)


def _evaluate(tile: Tile, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    size = {axis: x.size(-1) for axis, x in zip(tile.in_axes, tensors, strict=True)}
    blocks = tensors[0].size(0)
    pairs = blocks * size["i"] * size["j"]
    chosen = plan(tile, pairs, tensors[0])
    if chosen.is_guess and pairs > 10 * EAGER_TILE**2:
        few = [x[:1, :, :EAGER_TILE].contiguous() for x in tensors]
        chosen.try_on(few, min(EAGER_TILE, size["i"]) * min(EAGER_TILE, size["j"]))
        chosen = plan(tile, pairs, tensors[0])
    rows, columns = COMPILED_TILE if chosen.is_compiled else (EAGER_TILE, EAGER_TILE)
    step = {"i": min(rows, size["i"]), "j": min(columns, size["j"])}
    # Small blocks are taken many at a time, large ones one by one, so that a tile never outgrows its budget.
    together = max(1, rows * columns // (step["i"] * step["j"]))
    outputs = [_evaluate_blocks(tile, chosen.function, chunk, step) for chunk in _chunks(tensors, together, blocks)]
    chosen.done()
    return tuple(torch.cat(parts) for parts in zip(*outputs, strict=True))


def _chunks(tensors: Sequence[Tensor], together: int, blocks: int) -> list[list[Tensor]]:
    return [[x[b : b + together] for x in tensors] for b in range(0, blocks, together)]


def _evaluate_blocks(
    tile: Tile, call: Callable[..., tuple[Tensor, ...]], tensors: Sequence[Tensor], step: dict[str, int]
) -> tuple[Tensor, ...]:
    split = [
        [part.contiguous() for part in x.split(step[axis], -1)] for axis, x in zip(tile.in_axes, tensors, strict=True)
    ]
    count = {axis: len(parts) for axis, parts in zip(tile.in_axes, split, strict=True)}
    sums: list[list[Any]] = [[None] * count[axis] for axis in tile.out_axes]
    for i in range(count["i"]):
        for j in range(count["j"]):
            at = {"i": i, "j": j}
            parts = call(*(x[at[axis]] for axis, x in zip(tile.in_axes, split, strict=True)))
            for total, axis, part in zip(sums, tile.out_axes, parts, strict=True):
                total[at[axis]] = part if total[at[axis]] is None else total[at[axis]] + part
    return tuple(torch.cat(total, -1) for total in sums)
