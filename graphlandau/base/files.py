"""Files that are either the old one or the new one, whenever the process dies; tensors with a JSON record."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

__all__ = ["read_tensors", "replace_durably", "replacing", "write_atomically", "write_tensors"]

# What file systems answer that do not know how to flush a single file.
_NO_FLUSH = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)


def write_atomically(path: Path, content: bytes) -> None:
    """Replace ``path`` by ``content``: written beside it, flushed to the disk, then renamed."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Write the file that is yielded; it takes the place of ``path`` at the end, or vanishes by an exception."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        yield temporary
        replace_durably(temporary, path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def replace_durably(temporary: Path, path: Path) -> None:
    """Flush ``temporary`` to the disk, where the file system can, and let it take the place of ``path``."""
    with open(temporary, "rb+") as file:
        try:
            os.fsync(file.fileno())
        except OSError as error:
            if error.errno not in _NO_FLUSH:
                raise
    os.replace(temporary, path)


def write_tensors(path: Path, tensors: Mapping[str, Tensor], record: Mapping[str, Any]) -> None:
    """Write a safetensors file atomically, with ``record`` as JSON in its header."""
    # The format knows complex64, but not complex128: those are written as pairs of real numbers, and named.
    pairs = [key for key, x in tensors.items() if x.dtype == torch.complex128]
    real = {key: torch.view_as_real(x).contiguous() if key in pairs else x for key, x in tensors.items()}
    header = {"record": json.dumps(record)} | ({"complex128": json.dumps(pairs)} if pairs else {})
    write_atomically(path, save(real, metadata=header))


def read_tensors(path: str | Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read the record and the tensors of a file of :func:`write_tensors`.

    Raises:
        ValueError: If it is none; the message is the reason alone.
    """
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            record, pairs = json.loads(header["record"]), json.loads(header.get("complex128", "[]"))
            # The file is mapped at any byte offset; a fresh allocation has the alignment of the first run,
            # on which the summation order of some BLAS kernels depends.
            tensors = {key: torch.clone(file.get_tensor(key)) for key in file.keys()}  # noqa: SIM118
            return record, tensors | {key: torch.view_as_complex(tensors[key]) for key in pairs}
    except (OSError, SafetensorError, KeyError, json.JSONDecodeError) as error:
        raise ValueError(str(error)) from error
