"""Particles of a user's own, read from a file: npy, npz, csv or HDF5."""

from __future__ import annotations

import logging
import re
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from graphlandau.base.errors import InvalidArgument

log = logging.getLogger(__name__)

__all__ = ["read_particles"]

# Names of arrays in a file, by the key of a state that they are.
NAMES = {
    "v": ("v", "velocity", "velocities"),
    "pos": ("pos", "x", "position", "positions"),
    "weight": ("weight", "weights", "w"),
    "log_f": ("log_f",),
}
# Names of columns of a table with one for each component.
COMPONENTS = {
    "v": r"(?:v|vel|velocity|velocities)_?(\d+|[xyz])",
    "pos": r"(?:x|pos|position|positions)_?(\d+|[xyz])|([xyz])",
}


def read_particles(path: str | Path) -> dict[str, Tensor]:
    r"""Read velocities and, where the file has them, positions, weights and log-densities; all in float64.

    - ``.npy``: velocities :math:`(N, d)`.
    - ``.npz``, ``.h5``, ``.hdf5``: arrays ``v`` :math:`(N, d)`, ``pos`` :math:`(N, d_x)`, ``weight`` :math:`(N,)`,
      ``log_f`` :math:`(N,)`; of the snapshots of a run the last one.
    - ``.csv``: a row for each particle; columns ``v_1, v_2, ...`` (or ``vx, vy, vz``), ``x_1, ...`` (or ``x, y, z``),
      ``weight`` and ``log_f``; without a header all of them are velocities.

    What is there besides is named in a message and not read.

    Args:
        path: The file; its ending says what it is.

    Returns:
        The tensors by the keys of a state.

    Raises:
        ValueError: If the file cannot be read, or does not hold finite real numbers of these shapes.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "v.npy"
        >>> np.save(file, np.zeros((5, 3), dtype=np.float32))
        >>> read_particles(file)["v"].dtype, read_particles(file)["v"].shape
        (torch.float64, torch.Size([5, 3]))
    """
    path = Path(path)
    readers = {".npy": _npy, ".npz": _npz, ".csv": _csv, ".h5": _hdf5, ".hdf5": _hdf5}
    if path.suffix.lower() not in readers:
        raise InvalidArgument("path", f"must end in {', '.join(readers)}", repr(str(path)))
    try:
        found = readers[path.suffix.lower()](path)
    except InvalidArgument:
        raise
    except OSError as error:
        reason = error.strerror or " ".join(str(error).split())
        raise InvalidArgument("path", "must be a readable file", f"{str(path)!r}: {reason}") from error
    except (ValueError, EOFError, KeyError, UnicodeDecodeError, zipfile.BadZipFile) as error:
        kind = path.suffix.lower().removeprefix(".")
        raise InvalidArgument("path", f"must be a {kind} file", f"{str(path)!r}: {_one_line(error)}") from error
    if "v" not in found:
        raise InvalidArgument("path", "must hold velocities 'v'", f"{str(path)!r}, without")
    return {key: _tensor(key, x, path) for key, x in found.items()}


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _npy(path: Path) -> dict[str, np.ndarray]:
    return {"v": np.load(path, allow_pickle=False)}


def _npz(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as arrays:
        return {key: arrays[name] for key, name in _chosen(arrays.files, path).items()}


def _hdf5(path: Path) -> dict[str, np.ndarray]:
    import h5py  # not on top: only who reads such a file waits for it

    with h5py.File(path, "r") as file:
        datasets: Mapping[str, Any] = {str(name): file[name] for name in file if isinstance(file[name], h5py.Dataset)}
        steps = sorted(str(name) for name in file if str(name).isdigit() and isinstance(file[name], h5py.Group))
        if steps:  # the snapshots of a run
            last: Any = file[steps[-1]]
            datasets = {**datasets, **{key: last[key] for key in ("v", "pos", "log_f") if key in last}}
        return {key: datasets[name][()] for key, name in _chosen(datasets, path).items()}


def _chosen(names: Iterable[str], path: Path) -> dict[str, str]:
    """The name of each key that is there; what is not read is said."""
    names = list(names)
    found: dict[str, str] = {}
    for key, known in NAMES.items():
        there = [name for name in names if name in known]
        if len(there) > 1:
            raise InvalidArgument("path", f"must hold {key} once", f"{str(path)!r}, with {', '.join(there)}")
        if there:
            found[key] = there[0]
    _say_unread(path, [name for name in names if name not in found.values()])
    return found


def _say_unread(path: Path, names: Iterable[str]) -> None:
    if names := list(names):
        log.warning("%s: not read: %s", path, ", ".join(names))


def _csv(path: Path) -> dict[str, np.ndarray]:
    with path.open(encoding="utf-8-sig") as file:
        first = next((line.strip() for line in file if line.strip()), "")
    if not first:
        raise ValueError("it is empty")
    delimiter = next((mark for mark in ",;\t" if mark in first), None)
    cells = [cell.strip().strip('"') for cell in first.lstrip("#").strip().split(delimiter)]
    named = first.startswith("#") or not all(_is_number(cell) for cell in cells)
    with path.open(encoding="utf-8-sig") as file:
        if named:
            next(line for line in file if line.strip())
        table = np.loadtxt(file, delimiter=delimiter, ndmin=2, quotechar='"')
    if not named:
        return {"v": table}
    if len(cells) != table.shape[1]:
        raise ValueError(f"{len(cells)} names of columns over {table.shape[1]} columns")
    found: dict[str, dict[int, int]] = {}
    unread = []
    for column, name in enumerate(cells):
        key, component = _component(name)
        if not key:
            unread.append(name)
            continue
        if component in found.setdefault(key, {}):
            raise ValueError(f"two columns are {name!r}")
        found[key][component] = column
    _say_unread(path, unread)
    for key, columns in found.items():
        first_one = min(columns)
        if sorted(columns) != list(range(first_one, first_one + len(columns))) or first_one > 1:
            raise ValueError(f"the components of {key} are {', '.join(cells[x] for x in columns.values())}")
    return {key: table[:, [columns[a] for a in sorted(columns)]] for key, columns in found.items()}


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _component(name: str) -> tuple[str, int]:
    """The key of a state to which a column belongs, empty if to none, and which component of it."""
    for key, form in COMPONENTS.items():
        matched = re.fullmatch(form, name)
        if matched:
            which = next(group for group in matched.groups() if group)
            return key, "xyz".index(which) if which in "xyz" else int(which)
    return next((key for key, known in NAMES.items() if name in known), ""), 0


def _tensor(key: str, x: np.ndarray, path: Path) -> Tensor:
    if x.dtype.kind not in "fiu":
        raise InvalidArgument("path", "must hold real numbers", f"{key} of {str(path)!r} of dtype {x.dtype}")
    x = np.asarray(x, dtype=np.float64)
    if key in ("weight", "log_f"):
        return torch.from_numpy(np.ascontiguousarray(x[:, 0] if x.ndim == 2 and x.shape[1] == 1 else x))
    x = x[:, None] if x.ndim == 1 else x
    if x.ndim == 2 and 2 <= x.shape[0] < x.shape[1]:
        shape = f"{key} of {str(path)!r} of shape {x.shape}, which looks transposed"
        raise InvalidArgument("path", "must hold a row for each particle", shape)
    return torch.from_numpy(np.ascontiguousarray(x))
