"""Matplotlib without a window: figures are drawn by Agg, whatever the backend for windows is called."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

__all__: list[str] = []


def _import_matplotlib() -> None:
    """Import it for the first time, and then name the backend of ``MPLBACKEND`` if it exists here.

    A notebook passes ``MPLBACKEND`` on to the commands that it starts, where the import fails if that backend is not
    installed.
    """
    backend = os.environ.pop("MPLBACKEND", None)
    try:
        import matplotlib
    finally:
        if backend is not None:
            os.environ["MPLBACKEND"] = backend
    if backend:
        with suppress(ValueError):
            matplotlib.rcParams["backend"] = backend


if "matplotlib" not in sys.modules:
    _import_matplotlib()
