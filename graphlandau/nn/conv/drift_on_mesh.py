"""The Landau drift and its derivatives by the mesh, or word that another backend has to sum them."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from torch import Tensor

from graphlandau.base.errors import InvalidArgument
from graphlandau.base.validation import require_unmapped
from graphlandau.graphs.partition import Partition
from graphlandau.nn.conv.collision_layer import reduced_field
from graphlandau.nn.mesh import FlatBlock, MeshTooLarge

__all__ = ["on_mesh", "reduced_with_targets"]

Pair = tuple[Tensor, Tensor]


def on_mesh(
    function: Callable[..., Any],
    inputs: tuple[Tensor, Tensor, Pair | None],
    weight: Tensor,
    partition: Partition,
    gamma: float,
    tolerance: float,
    asked: bool,
) -> Any:
    """What ``function`` of :mod:`graphlandau.nn.mesh` finds for strength 1, ``None`` if it has to be summed otherwise.

    Args:
        function: Of velocities, scores, weights, blocks, exponent, tolerance, and targets.
        inputs: Velocities and scores of the particles, and of targets.
        weight: Weights, of sum 1 in every block.
        partition: Blocks.
        gamma: Exponent of the kernel.
        tolerance: Relative error.
        asked: Whether the mesh was asked for by name: then there is no other way.

    Raises:
        InvalidArgument: If the mesh was asked for and is not defined here or too large.
    """
    v, s, at = inputs
    require_unmapped("backend", "must not be 'mesh' under torch.vmap, each lattice has a size of its own", v, s)
    if v.size(1) not in (2, 3):
        raise InvalidArgument("backend", "must not be 'mesh' unless d is 2 or 3", f"d = {v.size(1)}")
    try:
        return function(v, s, weight, partition, gamma, tolerance, at)
    except FlatBlock as error:
        if asked:
            raise
        reason = str(error)
    except MeshTooLarge as error:
        if asked:
            raise InvalidArgument(
                "tolerance",
                "must be larger, or the backend 'dense'",
                f"{tolerance:g} for {v.size(0):,} particles: {error}",
                "; of a run it is --mesh_tolerance",
            ) from error
        reason = str(error)
    warnings.warn(f"drifts are summed by the backend 'dense' ({reason})", stacklevel=4)
    return None


def reduced_with_targets(
    v: Tensor, s: Tensor, partition: Partition, at: Pair | None
) -> tuple[tuple[Tensor, Tensor, Pair | None], Tensor]:
    """Particles and targets with what every block has in common taken out of the scores, and the slope of it."""
    reduced, slope = reduced_field(v, s, partition)
    if at is not None:
        common = (s - reduced) + (slope * (at[0] - v)).to(s.dtype)
        at = at[0], at[1] - common
    return (v, reduced, at), slope
