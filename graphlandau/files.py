"""Files that are either the old one or the new one, whenever the process dies."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["replace_durably", "write_atomically"]


def write_atomically(path: Path, content: bytes) -> None:
    """Replace ``path`` by ``content``: written beside it, flushed to the disk, then renamed."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_bytes(content)
    replace_durably(temporary, path)


def replace_durably(temporary: Path, path: Path) -> None:
    """Flush ``temporary`` to the disk and let it take the place of ``path``."""
    with open(temporary, "rb+") as file:
        os.fsync(file.fileno())
    os.replace(temporary, path)
