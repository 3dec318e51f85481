"""The folder of a run: what a figure, a resume or a rerun needs, readable after ``kill -9`` at any moment."""

from __future__ import annotations

import csv
import functools
import json
import os
import shlex
import shutil
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Concatenate, ParamSpec

import h5py
from torch import Tensor

import graphlandau
from graphlandau.base import distributed
from graphlandau.base.errors import InvalidArgument
from graphlandau.base.files import replacing, write_atomically
from graphlandau.base.staged_file import StagedFile

try:
    import fcntl
except ImportError:  # not a POSIX system: two processes in one folder go unnoticed
    fcntl = None

__all__ = ["RunFolder"]

P = ParamSpec("P")


def _first_only(method: Callable[Concatenate[RunFolder, P], None]) -> Callable[Concatenate[RunFolder, P], None]:
    """A method that writes: of several processes the first one calls it."""

    @functools.wraps(method)
    def write(folder: RunFolder, *args: P.args, **kwargs: P.kwargs) -> None:
        if distributed.rank() == 0:
            method(folder, *args, **kwargs)

    return write


class RunFolder:
    """``config.yaml``, ``metrics.csv``, ``summary.json``, ``snapshots.h5``, ``checkpoint/`` and ``figures/``.

    A method that is trained before the run keeps its files in ``training/``.

    A process that is killed leaves every file complete: whole files are written beside and renamed, rows
    of ``metrics.csv`` are appended by one write each. What was written after the last checkpoint is taken
    back by :meth:`rewind`. Use :meth:`create` or :meth:`open`; both lock the folder for this process, or warn that the
    file system has no locks. Of several processes only the first one writes; what it meets in :meth:`create` and
    :meth:`open` all get.
    """

    def __init__(self, path: Path) -> None:
        """Name the files of the folder ``path``; touches nothing."""
        self.path = path
        self.config = path / "config.yaml"
        self.metrics = path / "metrics.csv"
        self.summary = path / "summary.json"
        self.snapshots = path / "snapshots.h5"
        self.checkpoint = path / "checkpoint" / "latest.safetensors"
        self.training = path / "training"
        # What has written an earlier run, as the first line of its config.yaml says it.
        self.written_by = f"graphlandau {graphlandau.__version__}"
        self._created: list[Path] = []
        self._lock: int | None = None

    @classmethod
    def create(cls, path: str | Path, config: str) -> RunFolder:
        """Claim a new or empty folder for a run described by ``config`` (the text of ``config.yaml``).

        Raises:
            ValueError: If it holds anything already, or cannot be written.
        """
        folder = cls(Path(path))
        distributed.by_first(lambda: folder._claim(config))
        return folder

    def _claim(self, config: str) -> None:
        try:
            if self.config.exists():
                raise InvalidArgument(
                    "out",
                    "must be a new or empty folder",
                    f"{self.path}, which holds another run; to continue that one: {self.command('run', '--resume')}",
                )
            if self.path.is_dir() and any(not entry.name.endswith(".tmp") for entry in self.path.iterdir()):
                raise InvalidArgument("out", "must be a new or empty folder", f"{self.path}, which is not empty")
            for missing in reversed([p for p in (self.path, *self.path.parents) if not p.exists()]):
                missing.mkdir()
                self._created.append(missing)
            self._acquire()
            write_atomically(self.config, config.encode())
        except OSError as error:
            self.discard()
            raise InvalidArgument("out", "must be a writable folder", f"{self.path}: {error.strerror}") from error

    @classmethod
    def open(cls, path: str | Path) -> RunFolder:
        """Open the folder of an earlier run.

        Raises:
            ValueError: If it is no run folder, cannot be written, or another process is running it.
        """
        folder = cls(Path(path))
        folder.written_by = distributed.by_first(folder._take_up)
        return folder

    def _take_up(self) -> str:
        """Claim the folder of an earlier run; returns what has written it."""
        if not self.config.is_file():
            raise InvalidArgument("resume", "must be the folder of a run", f"{self.path}, which has no config.yaml")
        if not os.access(self.path, os.W_OK):
            raise InvalidArgument("resume", "must be a writable folder", self.path)
        try:
            self._acquire()
            first = self.config.read_text(encoding="utf-8").partition("\n")[0]
        except OSError as error:
            raise InvalidArgument("resume", "must be a folder that can be read", f"{self.path}: {error}") from error
        return first.removeprefix("# ") if first.startswith("# graphlandau") else "an unknown version"

    def command(self, *words: str) -> str:
        """Return a command of ``graphlandau`` on this folder as it is typed: quoted for the shell.

        Example:
            >>> RunFolder(Path("my runs/a")).command("run", "--resume")
            "graphlandau run --resume 'my runs/a'"
        """
        name = str(self.path)
        return shlex.join(["graphlandau", *words, f"./{name}" if name.startswith("-") else name])

    @property
    def of_this_version(self) -> bool:
        """Whether it was written by the version of the package that runs."""
        return f"{self.written_by},".startswith(f"graphlandau {graphlandau.__version__},")

    @_first_only
    def reopen(self, config: str) -> None:
        """Describe the run anew, to a later end than before; it is not finished any more."""
        write_atomically(self.config, config.encode())
        self.summary.unlink(missing_ok=True)

    def close(self) -> None:
        """Release the lock (the end of the process does so too)."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    @_first_only
    def discard(self) -> None:
        """Take back what was written since :meth:`create`, for a run refused before its first step."""
        self.close()
        if self.path.is_dir():
            for entry in (self.config, self.metrics, self.summary, self.snapshots, self.checkpoint):
                entry.unlink(missing_ok=True)
                entry.with_name(f".{entry.name}.tmp").unlink(missing_ok=True)
            if self.checkpoint.parent.is_dir():
                self.checkpoint.parent.rmdir()
        for folder in reversed(self._created):
            with suppress(OSError):  # not empty: something else lives there by now
                folder.rmdir()

    def _acquire(self) -> None:
        if fcntl is None:
            return
        self._lock = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            raise ValueError(f"{self.path} is being written by another process: wait for it, or end it") from None
        except OSError as error:  # NFS, Lustre, FUSE, ... without locks
            self.close()
            what = f"the file system of {self.path} has no locks ({error.strerror})"
            warnings.warn(f"{what}: see to it that no second process writes there", stacklevel=2)

    @_first_only
    def write_row(self, row: dict[str, Any]) -> None:
        """Append one row to ``metrics.csv``; the first row fixes the columns, ``None`` is an empty cell.

        Raises:
            ValueError: If the row has other columns than the file.
        """
        new = not self.metrics.exists()
        if not new:
            with open(self.metrics, encoding="utf-8") as file:
                columns = file.readline().rstrip("\n").split(",")
            if columns != list(row):
                other = sorted(set(columns) ^ set(row)) or ["their order"]
                differ = f"has other columns than graphlandau {graphlandau.__version__} writes"
                what = f"{self.metrics}, of {self.written_by}, {differ} ({', '.join(other)})"
                raise ValueError(f"{what}: start a new run")
        with open(self.metrics, "a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, fieldnames=list(row), lineterminator="\n")
            if new:
                writer.writeheader()
            writer.writerow(row)

    def _complete_lines(self) -> list[str]:
        """Return the lines of ``metrics.csv`` (header first) without a last one cut short by a kill."""
        text = self.metrics.read_text(encoding="utf-8") if self.metrics.exists() else ""
        return text[: text.rfind("\n") + 1].splitlines(keepends=True)

    def read_rows(self) -> list[dict[str, Any]]:
        """Return the rows of ``metrics.csv`` as floats; an empty cell is ``None``, ``step`` an ``int``."""
        rows: list[dict[str, Any]] = []
        for cells in csv.DictReader(self._complete_lines()):
            row: dict[str, Any] = {key: float(cell) if cell else None for key, cell in cells.items()}
            rows.append({**row, "step": int(cells["step"])})
        return rows

    @_first_only
    def write_snapshot(
        self, step: int, t: float, tensors: dict[str, Tensor], *, problem: str, weight: Tensor | None = None
    ) -> None:
        """Add the group ``%08d`` of ``step`` with the datasets ``tensors`` to ``snapshots.h5``."""
        with self._edit_snapshots() as file:
            if "problem" not in file.attrs:
                file.attrs.update(problem=problem, d=tensors["v"].size(1), graphlandau_version=graphlandau.__version__)
                if weight is not None:
                    file.create_dataset("weight", data=weight.detach().cpu().numpy())
            name = f"{step:08d}"
            if name in file:
                del file[name]
            group = file.create_group(name)
            group.attrs.update(t=t, step=step)
            for key, tensor in tensors.items():
                group.create_dataset(key, data=tensor.detach().cpu().numpy())

    @contextmanager
    def _edit_snapshots(self) -> Iterator[h5py.File]:
        """Edit a copy of ``snapshots.h5``; it takes the place of the file only when the edit is complete."""
        new = not self.snapshots.exists()
        with replacing(self.snapshots) as temporary:
            if not new:
                shutil.copyfile(self.snapshots, temporary)
            with open(temporary, "wb+" if new else "rb+") as file:
                staged = StagedFile(file)  # a full disk is met by Python, not by HDF5
                with h5py.File(staged, "w" if new else "r+") as edited:
                    yield edited
                staged.commit()

    def snapshot_steps(self) -> list[int]:
        """Return the steps of the snapshots present."""
        if not self.snapshots.exists():
            return []
        with h5py.File(self.snapshots, "r", locking=False) as file:
            return sorted(_step_groups(file).values())

    @_first_only
    def rewind(self, step: int) -> None:
        """Drop the rows at or after ``step``, and the snapshots after it (one at ``step`` is overwritten)."""
        header, *lines = self._complete_lines() or [""]
        kept = [line for line in lines if int(line.split(",", 1)[0]) < step]
        if kept:
            write_atomically(self.metrics, "".join([header, *kept]).encode())
        else:
            self.metrics.unlink(missing_ok=True)
        if any(later > step for later in self.snapshot_steps()):
            with self._edit_snapshots() as file:
                for name, later in _step_groups(file).items():
                    if later > step:
                        del file[name]

    @_first_only
    def write_summary(self, summary: dict[str, Any]) -> None:
        """Write ``summary.json``: its presence says that the run reached its end."""
        write_atomically(self.summary, (json.dumps(summary, indent=2) + "\n").encode())

    def read_summary(self) -> dict[str, Any] | None:
        """Return the summary, ``None`` while the run has not reached its end."""
        return json.loads(self.summary.read_text(encoding="utf-8")) if self.summary.exists() else None


def _step_groups(file: h5py.File) -> dict[str, int]:
    """Return the step of each snapshot by the name of its group."""
    return {name: int(name) for name in map(str, file) if name.isdigit()}
