"""Errors of particles followed one by one."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from graphlandau.base.errors import InvalidArgument
from graphlandau.physics.moments import average, inner

__all__ = ["relative_trajectory_error"]


def relative_trajectory_error(
    v: Float[Tensor, "N d"], reference: Float[Tensor, "N d"], weight: Float[Tensor, " N"] | None = None
) -> Float[Tensor, ""]:
    r"""Squared relative distance :math:`\sum_i w_i |\hat v_i - v_i|^2 / \sum_i w_i |v_i|^2` from reference particles.

    Raises:
        ValueError: If ``v`` and ``reference`` differ in shape.

    Reference: arXiv:2603.10874, Section 5.1, protocol P1.
    """
    if v.dim() != 2 or v.shape != reference.shape:
        want = tuple(reference.shape)
        raise InvalidArgument("v", f"must have the shape (N, d) of reference, {want}", tuple(v.shape))
    error = v - reference
    return average(inner(error, error), weight) / average(inner(reference, reference), weight)
