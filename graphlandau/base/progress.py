"""A bar for those who wait at a terminal."""

from __future__ import annotations

import sys

from tqdm import tqdm

from graphlandau.base import distributed

__all__ = ["progress_bar"]


def progress_bar(total: int, initial: int = 0, unit: str = "it", description: str | None = None) -> tqdm:
    """Return a bar on stderr with the time left: of the first process, on a terminal only.

    Example:
        >>> with progress_bar(10, unit="step") as bar:
        ...     bar.n
        0
    """
    unseen = sys.stderr is None or distributed.rank() > 0
    return tqdm(
        total=total,
        initial=initial,
        desc=description,
        file=sys.stderr,
        unit=unit,
        disable=True if unseen else None,
        dynamic_ncols=True,
    )
