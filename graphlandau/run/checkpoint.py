"""Checkpoints: one safetensors file that is either the old one or the new one, whenever the process dies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor
from torch_geometric.data import Data

from graphlandau.base.files import read_tensors, write_tensors

__all__ = [
    "Checkpoint",
    "load_checkpoint",
    "save_checkpoint",
    "tensors_of",
]


@dataclass
class Checkpoint:
    """Everything a bit-for-bit continuation needs, as named tensors and JSON values; never code.

    Args:
        tensors: Dotted names (``state.v``, ``method.<key>``, ``rng.cpu``, ``observer_0.<key>``) to tensors.
        record: JSON values: step, wall time, initial invariants, backend, threads, versions.
    """

    tensors: dict[str, Tensor] = field(default_factory=dict)
    record: dict[str, Any] = field(default_factory=dict)

    def add(self, prefix: str, tensors: Mapping[str, Tensor]) -> None:
        """Add ``tensors`` under ``prefix``; the copies stay as they are when the run moves on."""
        for key, tensor in tensors.items():
            self.tensors[f"{prefix}.{key}"] = tensor.detach().cpu().clone().contiguous()

    def part(self, prefix: str) -> dict[str, Tensor]:
        """Return the tensors stored under ``prefix``, without it."""
        start = prefix + "."
        return {key[len(start) :]: tensor for key, tensor in self.tensors.items() if key.startswith(start)}


def tensors_of(state: Data) -> dict[str, Tensor]:
    """Return the tensors of a state by their names."""
    return {key: value for key, value in state.to_dict().items() if isinstance(value, Tensor)}


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write ``checkpoint`` to ``path`` atomically (the record goes into the safetensors header)."""
    write_tensors(path, checkpoint.tensors, checkpoint.record)


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        ValueError: If the file is no checkpoint of this package.
    """
    try:
        record, tensors = read_tensors(path)
    except ValueError as error:
        raise ValueError(f"{path} is no readable checkpoint ({error})") from error
    return Checkpoint(tensors, record)
