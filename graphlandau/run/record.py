"""What a run folder holds: configuration, problem, metrics, snapshots, summary; the one reader of it."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
import yaml
from jsonargparse import ArgumentParser
from torch import Tensor

from graphlandau.base.configuration import read_value
from graphlandau.base.errors import InvalidArgument
from graphlandau.base.state import particle_state
from graphlandau.problems import InitialValueProblem, KineticProblem

__all__ = ["RunRecord", "Snapshot"]

# What a title says of the configuration.
_NUMBERS = {"dt": "dt", "seed": "seed"}


@dataclass(frozen=True)
class Snapshot:
    """Particles at one time: velocities ``v`` and scores ``s`` of shape (N, d), float64; dimensionless.

    ``log_f`` (N,) is the log-density carried along, ``None`` if it was not.
    """

    t: float
    step: int
    v: Tensor
    s: Tensor
    log_f: Tensor | None = None


class RunRecord:
    """A run folder, read only, of a run that is finished, going on or stopped.

    Reads ``config.yaml``, ``metrics.csv``, ``snapshots.h5`` and, where there is one, ``summary.json``.

    Raises:
        ValueError: If ``path`` lacks one of the first three; on use, if one of them is empty or the problem
            cannot be built.
    """

    def __init__(self, path: Path) -> None:
        """Look for the files in ``path``; they are read when they are needed."""
        self.path = Path(path)
        missing = [n for n in ("config.yaml", "metrics.csv", "snapshots.h5") if not (self.path / n).is_file()]
        if missing:
            raise ValueError(f"'run_dir' must be a run folder ({self.path} has no {', '.join(missing)})")

    @cached_property
    def config(self) -> dict[str, Any]:
        """The resolved configuration of the run."""
        file = self.path / "config.yaml"
        try:
            return read_value(file.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise InvalidArgument(
                "config", "must be a YAML file", f"{str(file)!r}: {' '.join(str(error).split())}"
            ) from error

    @cached_property
    def summary(self) -> dict[str, Any]:
        """``summary.json``; empty for a run that has not finished."""
        file = self.path / "summary.json"
        try:
            return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        except ValueError as error:
            raise ValueError(f"'run_dir' must hold a readable summary.json ({file}: {error})") from error

    @cached_property
    def problem(self) -> Any:
        """The problem of the run, of whatever kind, rebuilt from its ``class_path`` and ``init_args``.

        One that starts from a file which is not there any more starts from the first snapshot.
        """
        parser = ArgumentParser(exit_on_error=False)
        parser.add_argument("--problem", type=InitialValueProblem)
        try:
            parsed = parser.parse_object({"problem": self._with_particles(self.config["problem"])})
            return parser.instantiate(parsed)["problem"]
        except Exception as error:
            reason = str(error).strip().splitlines()[-1]
            raise ValueError(f"'problem' in {self.path / 'config.yaml'} must name a problem ({reason})") from error

    def _with_particles(self, problem: dict[str, Any]) -> dict[str, Any]:
        arguments = problem.get("init_args") or {}
        path = arguments.get("path")
        if path is None or Path(path).exists():
            return problem
        tensors = self.tensors(0)[2]
        state = particle_state(tensors["v"], pos=tensors.get("pos"), log_f=tensors.get("log_f"), weight=self.weight)
        return problem | {"init_args": arguments | {"path": None, "state": state}}

    @cached_property
    def metrics(self) -> dict[str, np.ndarray]:
        """Columns of ``metrics.csv`` by name; an empty field is nan, a line cut short is left out."""
        text = (self.path / "metrics.csv").read_text(encoding="utf-8")
        rows = list(csv.reader(text[: text.rfind("\n") + 1].splitlines()))
        if len(rows) < 2:
            raise InvalidArgument("run_dir", "must hold at least one row of metrics", f"none in {self.path}")
        columns = np.array([[float(field or "nan") for field in row] for row in rows[1:]]).T
        return dict(zip(rows[0], columns, strict=True))

    @property
    def has_positions(self) -> bool:
        """Whether the particles have positions."""
        return isinstance(self.problem, KineticProblem)

    @property
    def time_span(self) -> tuple[float, float]:
        """Times of the first and last row of the metrics."""
        t = self.metrics["t"]
        return float(t[0]), float(t[-1])

    def series(self, name: str) -> tuple[np.ndarray, np.ndarray] | None:
        """Return times and finite values of one metric, or None if the run did not record it."""
        values = self.metrics.get(name)
        if values is None or not np.isfinite(values).any():
            return None
        known = np.isfinite(values)
        return self.metrics["t"][known], values[known]

    def _open(self) -> Any:
        # The file is replaced, never changed: nothing to lock, and some file systems cannot.
        return h5py.File(self.path / "snapshots.h5", "r", locking=False)

    @cached_property
    def _groups(self) -> list[str]:
        with self._open() as file:
            groups = sorted(name for name in file if isinstance(file[name], h5py.Group))
        if not groups:
            raise InvalidArgument("run_dir", "must hold at least one snapshot", f"none in {self.path}")
        return groups

    @cached_property
    def weight(self) -> Tensor | None:
        """Particle weights (N,), None when uniform."""
        with self._open() as file:
            return _float64(file["weight"]) if "weight" in file else None

    @cached_property
    def times(self) -> np.ndarray:
        """Times of all snapshots, ascending."""
        with self._open() as file:
            return np.array([file[name].attrs["t"] for name in self._groups], dtype=float)

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        """The floating-point type the run computed in."""
        with self._open() as file:
            return file[self._groups[0]]["v"].dtype

    def snapshot(self, index: int) -> Snapshot:
        """Read the snapshot of that place in time order (negative from the end)."""
        t, step, tensors = self.tensors(index)
        return Snapshot(t, step, tensors["v"], tensors["s"], tensors.get("log_f"))

    def tensors(self, index: int) -> tuple[float, int, dict[str, Tensor]]:
        """Read time, step and all tensors of the snapshot of that place, float64."""
        with self._open() as file:
            group = file[self._groups[index]]
            tensors = {str(key): _float64(group[key]) for key in group}
            return float(group.attrs["t"]), int(group.attrs["step"]), tensors

    def snapshots(self, count: int) -> list[Snapshot]:
        """Read the snapshots at :meth:`places`."""
        return [self.snapshot(index) for index in self.places(count)]

    def places(self, count: int) -> list[int]:
        """Return places of at most ``count`` snapshots: first, last, and those nearest to equal steps between."""
        wanted = np.linspace(self.times[0], self.times[-1], count)
        return sorted({int(np.abs(self.times - t).argmin()) for t in wanted})

    @cached_property
    def half_width(self) -> float:
        """Half width of a cube that holds the particles: the problem's grid, else 4 standard deviations."""
        if self.problem.grid is not None:
            return float(self.problem.grid[0])
        v = self.snapshot(0).v
        return float((v.mean(dim=0).abs() + 4 * v.std(dim=0)).max())

    @cached_property
    def views(self) -> list[tuple[float, float]]:
        """Interval of each velocity component to draw: a tenth more than what holds the particles of all times.

        A share of 5e-4 of them on either side may be out of view.
        """
        ends = [np.quantile(v.numpy(), [5e-4, 1 - 5e-4], axis=0) for v in self._velocities(4)]
        low, high = np.min([end[0] for end in ends], axis=0), np.max([end[1] for end in ends], axis=0)
        margin = 0.1 * (high - low) + 1e-12 * np.abs(high)
        return [(float(a), float(b)) for a, b in zip(low - margin, high + margin, strict=True)]

    def _velocities(self, count: int) -> list[Tensor]:
        return [self.tensors(place)[2]["v"] for place in self.places(count)]

    @cached_property
    def title(self) -> str:
        """What was run, in one line: problem, method, models, particles, dimension, gamma, time step and seed."""
        named = [self.summary.get(key) for key in ("problem", "method", "score", "control")]
        with self._open() as file:
            named[0] = named[0] or str(file.attrs.get("problem", type(self.problem).__name__))
            n, d = file[self._groups[0]]["v"].shape
        dimensions = f"{self.problem.d_x}D{d}V" if self.has_positions else f"$d = {d}$"
        gamma = [] if self.has_positions else [rf"$\gamma = {self.problem.gamma:g}$"]
        numbers = [
            f"{name} = {self.config[key]:g}" for key, name in _NUMBERS.items() if self.config.get(key) is not None
        ]
        return " · ".join([*(str(name) for name in named if name), f"{n:,} particles", dimensions, *gamma, *numbers])


def _float64(dataset: Any) -> Tensor:
    return torch.from_numpy(np.asarray(dataset[()], dtype=np.float64))
