"""Which of the fields that move particles alike is shown as their score."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from graphlandau.diagnostics import average

__all__ = ["score_gauge"]


def score_gauge(
    v: Float[Tensor, "N d"], u: Float[Tensor, "N d"], weight: Float[Tensor, " N"] | None = None
) -> tuple[Float[Tensor, " d"], Float[Tensor, ""]]:
    r"""Return ``a`` and ``b`` in float64, so that ``s = u + a + b v`` has the moments of a score.

    :math:`\langle s \rangle = 0` and :math:`\langle v \cdot s \rangle = -d`, as of :math:`\nabla \log f` by partial
    integration. The Landau drift of ``s`` is that of ``u``.
    """
    x, y, w = v.double(), u.double(), None if weight is None else weight.double()
    mean_x, mean_y = average(x, w), average(y, w)
    x, y = x - mean_x, y - mean_y
    slope = -(v.size(1) + average((x * y).sum(1), w)) / average((x * x).sum(1), w)
    return -mean_y - slope * mean_x, slope
