"""What a particle method is: it moves a state of particles one time step, and says how."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from graphlandau.nn.score import as_score_model
from graphlandau.problems import Problem

__all__ = ["Frame", "Method"]


@dataclass
class Frame:
    r"""What a method computed at the state it was shown.

    Attributes:
        s: Score of the particles, :math:`(N, d)`.
        drift: Their drift :math:`U`, :math:`(N, d)`.
        jac_s: Jacobian of the score, :math:`(N, d, d)`, if the log-density is carried along.
        batch: Block of each particle, if the drift is a sum over random batches.
    """

    s: Tensor
    drift: Tensor
    jac_s: Tensor | None = None
    batch: Tensor | None = None


class Method(ABC):
    """A transport scheme: ``initialise`` once, then ``evaluate`` and ``advance`` in turn.

    Attributes:
        default_score: Name of the score model that a method with a ``score`` takes unless one is given.
    """

    default_score: ClassVar[str] = "closed_form"

    @property
    def in_steps(self) -> bool:
        """Whether particles are moved by time steps, so that a smaller ``dt`` is more exact."""
        return True

    @staticmethod
    def as_score(module: nn.Module, d: int) -> nn.Module:
        """Give a ``score`` the convention of this method; ``ValueError`` if it does not fit."""
        return as_score_model(module, d)

    def foresee(self, t_end: float, workspace: Path | None) -> None:  # noqa: B027
        """Told first of all where the run ends, and a folder for files of its own; by default of no interest."""

    @abstractmethod
    def initialise(self, state: Data, problem: Problem) -> Data:
        """Prepare for ``problem`` from its initial particles (fit the initial score); return the state."""

    @abstractmethod
    def evaluate(self, state: Data, dt: float | None = None) -> Frame:
        """Score and drift at ``state``; a learned score is fitted here.

        ``dt`` is the step that will follow, for methods whose field depends on it.
        """

    @abstractmethod
    def advance(self, state: Data, frame: Frame, dt: float) -> Data:
        """The state after one step of ``dt``, from the ``frame`` that ``evaluate`` gave for it."""

    @abstractmethod
    def state_dict(self) -> dict[str, Tensor]:
        """Everything that a run continued from here needs, bit for bit: weights, optimiser, random state."""

    @abstractmethod
    def load_state_dict(self, tensors: dict[str, Tensor]) -> None:
        """Restore what ``state_dict`` gave, after ``prepare``."""

    @abstractmethod
    def prepare(self, state: Data, problem: Problem) -> None:
        """Set up for ``problem`` without fitting anything: what a resumed run calls instead of ``initialise``."""

    def record(self) -> dict[str, float]:
        """Numbers of its own that a method adds to every row of the metrics, under the same keys."""
        return {}

    @torch.no_grad()
    def entropy(self, state: Data) -> float | None:
        r"""Entropy :math:`\langle \log f \rangle` where the method has an estimate of its own, else ``None``."""
        return None
