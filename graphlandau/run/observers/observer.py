"""What watches a run: it sees every step, may add columns to the metrics, and may keep tensors across a resume."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor
from torch_geometric.data import Data

from graphlandau.run.folder import RunFolder

__all__ = ["Observer", "Run"]


class Run(Protocol):
    """What an observer sees of a run; only ``row`` and ``labels`` are its to write into.

    Attributes:
        problem: What is solved.
        method: How.
        particles: Number of particles.
        seed: Seed of the initial particles.
        device: Where the tensors live.
        dtype: Their type.
        dt: Time step.
        steps: Number of steps, of a resumed run those before it included.
        step: Number of steps done.
        state: The particles at this step.
        frame: What moves them: score and drift, or the field.
        row: Numbers of this step by the column of the metrics; empty unless :attr:`row_due`.
        snapshot_steps: Steps with a snapshot.
        folder: Run folder, ``None`` if everything stays in memory.
        labels: What the summary says of problem, method and models.
        wall_seconds: Time that the run has taken by the clock.
        setup_seconds: What of it went by before the first step.
    """

    problem: Any
    method: Any
    particles: int
    seed: int
    device: torch.device
    dtype: torch.dtype
    dt: float
    steps: int
    step: int
    state: Data
    frame: Any
    row: dict[str, Any]
    snapshot_steps: set[int]
    folder: RunFolder | None
    labels: dict[str, str | None]
    wall_seconds: float
    setup_seconds: float

    @property
    def t(self) -> float:
        """Time of the current step."""
        ...

    @property
    def row_due(self) -> bool:
        """Whether the metrics of this step are recorded."""
        ...

    def save_checkpoint(self) -> None:
        """Write a checkpoint to the folder: what a continuation from this step needs."""
        ...


class Observer:
    """One task beside the time loop; override what it needs.

    Of several processes each calls it, with the same numbers: what is not to happen several times belongs under
    ``if graphlandau.base.distributed.rank() == 0``.

    The position of the run is in ``run.step``, ``run.t``, ``run.state`` and ``run.frame``. Where
    ``run.row_due``, numbers put into ``run.row`` become columns of the metrics (the same ones at every row).

    Example:
        >>> class HottestParticle(Observer):
        ...     def after_evaluate(self, run):
        ...         print(run.step, float(run.state.v.norm(dim=1).max()))
    """

    def begin(self, run: Run) -> None:
        """The run is at its first step, or at its checkpoint (then :meth:`load_state_dict` came before)."""

    def before_evaluate(self, run: Run) -> None:
        """The state is at ``run.t``; what moves it is not known yet."""

    def after_evaluate(self, run: Run) -> None:
        """What moves the state at ``run.t`` (score and drift, the field) is in ``run.frame``."""

    def end(self, run: Run) -> None:
        """The run has reached its last step."""

    def summary(self, run: Run) -> dict[str, Any]:
        """Return what ``summary.json`` gets from this one, at the last step."""
        return {}

    def close(self) -> None:
        """The run is over, also when it failed or was interrupted."""

    def state_dict(self) -> dict[str, Tensor]:
        """Return what a resume needs, as tensors."""
        return {}

    def load_state_dict(self, tensors: Mapping[str, Tensor]) -> None:
        """Take back what :meth:`state_dict` gave."""
