"""Checkpoints: one safetensors file that is either the old one or the new one, whenever the process dies."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch_geometric.data import Data

from graphlandau.base.files import read_tensors, write_tensors
from graphlandau.base.state import particle_state
from graphlandau.run.summary import machine_facts

if TYPE_CHECKING:
    from graphlandau.run.simulation import Simulation

__all__ = [
    "Checkpoint",
    "load_checkpoint",
    "save_checkpoint",
    "tensors_of",
]

log = logging.getLogger(__name__)


@dataclass
class Checkpoint:
    """Everything a bit-for-bit continuation needs, as named tensors and JSON values; never code.

    Args:
        tensors: Dotted names (``state.v``, ``method.<key>``, ``rng.cpu``, ``<callback>.<key>``) to tensors.
        record: JSON values: step, wall time, initial invariants, backend, threads, versions.
    """

    tensors: dict[str, Tensor] = field(default_factory=dict)
    record: dict[str, Any] = field(default_factory=dict)

    def add(self, prefix: str, tensors: Mapping[str, Tensor]) -> None:
        """Add ``tensors`` under ``prefix``; the copies stay as they are when the run moves on."""
        for key, tensor in tensors.items():
            self.tensors[f"{prefix}.{key}"] = tensor.detach().cpu().clone().contiguous()

    @classmethod
    def of(cls, run: Simulation) -> Checkpoint:
        """Return everything that a continuation from the current step of ``run`` needs."""
        run.tick()
        seconds = {"wall_seconds": run.wall_seconds, "setup_seconds": run.setup_seconds}
        checkpoint = cls(record={"step": run.step, **seconds, **machine_facts(run)})
        checkpoint.add("state", tensors_of(run.state))
        checkpoint.add("method", run.method.state_dict())
        checkpoint.add("rng", {"cpu": torch.get_rng_state()})
        if run.device.type == "cuda":
            checkpoint.add("rng", {"cuda": torch.cuda.get_rng_state(run.device)})
        for index, callback in enumerate(run.callbacks):
            checkpoint.add(f"callback_{index}", callback.state_dict())
        return checkpoint

    def apply(self, run: Simulation) -> None:
        """Put ``run`` back to where :meth:`of` saw it; warn if it continues elsewhere than it began."""
        for key, now in machine_facts(run).items():
            before = self.record.get(key, now)  # older checkpoints know less
            if before != now:
                log.warning("%s was %s and is %s: the last digits may differ", key, before, now)
        run.step = self.record["step"]
        run.wall_seconds, run.setup_seconds = self.record["wall_seconds"], self.record["setup_seconds"]
        state = {key: tensor.to(run.device) for key, tensor in self.part("state").items()}
        run.state = particle_state(**state, t=run.t, checked=False)
        run.method.prepare(run.state, run.problem)
        run.method.load_state_dict(self.part("method"))
        for index, callback in enumerate(run.callbacks):
            callback.load_state_dict(self.part(f"callback_{index}"))
        torch.set_rng_state(self.tensors["rng.cpu"])
        if "rng.cuda" in self.tensors:
            torch.cuda.set_rng_state(self.tensors["rng.cuda"], run.device)

    def part(self, prefix: str) -> dict[str, Tensor]:
        """Return the tensors stored under ``prefix``, without it."""
        start = prefix + "."
        return {key[len(start) :]: tensor for key, tensor in self.tensors.items() if key.startswith(start)}


def tensors_of(state: Data) -> dict[str, Tensor]:
    """Return the tensors of a state by their names."""
    return {key: value for key, value in state.to_dict().items() if torch.is_tensor(value)}


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
