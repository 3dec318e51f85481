"""Waves on a periodic box: which wavenumbers fit."""

from __future__ import annotations

import math

from graphlandau.base.errors import InvalidArgument
from graphlandau.base.validation import require_positive

__all__ = ["require_fitting"]

# A wavenumber that a person types has a few digits: 0.7853982 is meant to be pi / 4.
_TOLERANCE = 1e-6


def require_fitting(name: str, k: float, length: float) -> int:
    r"""Return the mode :math:`m \ge 1` of a wavenumber :math:`k = 2 \pi m / L` on a box of length :math:`L`.

    Raises:
        ValueError: If ``k`` is not a positive multiple of :math:`2 \pi / L` to a millionth of it, naming the nearest.

    Example:
        >>> require_fitting("k", 0.5, 8 * math.pi)
        2
    """
    fundamental = 2 * math.pi / require_positive("length", length)
    modes = require_positive(name, k) / fundamental
    mode = max(1, round(modes))
    if abs(modes - mode) > _TOLERANCE:
        nearest = f"the nearest is {mode * fundamental:.7g}"
        raise InvalidArgument(name, f"must be a multiple of 2 pi / length = {fundamental:.7g}", f"{k:g}; {nearest}")
    return mode
