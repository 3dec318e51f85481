"""What a particle method is: it moves a state of particles one time step, and says how."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from graphlandau.nn.score import as_score_model
from graphlandau.problems.initial_value import InitialValueProblem

__all__ = ["Facts", "Frame", "Method", "Scored"]


@dataclass
class Frame:
    """What a method computed at the state it was shown; each kind of method has its own."""

    def computed(self) -> dict[str, Tensor]:
        """Return by name what must be finite for the run to go on."""
        return {}

    def shown(self) -> dict[str, Tensor]:
        """Return by name what a snapshot keeps beside the particles."""
        return {}


@dataclass
class Scored(Frame):
    r"""Score and collision drift of every particle, from a method for the Landau equation.

    Attributes:
        s: Score of the particles, :math:`(N, d)`.
        drift: Their drift :math:`U`, :math:`(N, d)`.
        jac_s: Jacobian of the score, :math:`(N, d, d)`, if the log-density is carried along.
        batch: Block of each particle, if the drift is a sum over pairs inside blocks.
        edge_index: Edges, if it is a sum along a graph.
    """

    s: Tensor
    drift: Tensor
    jac_s: Tensor | None = None
    batch: Tensor | None = None
    edge_index: Tensor | None = None

    def computed(self) -> dict[str, Tensor]:
        """Return score and drift."""
        return {"s": self.s, "drift": self.drift}

    def shown(self) -> dict[str, Tensor]:
        """Return the score."""
        return {"s": self.s}


@dataclass(frozen=True)
class Facts:
    """What a run says of its method, or has to know of it, whatever kind it is.

    Attributes:
        models: Class names of its models by what they are: ``{"score": "MLPScore"}``.
        backend: What sums over pairs of particles, ``None`` without such sums.
        batch_size: Particles of the random batches inside which they move each other; ``None`` without batches.
        savings: What would need less memory, as it is typed: ``"a smaller --batch_size"``.
    """

    models: Mapping[str, str] = field(default_factory=dict)
    backend: str | None = None
    batch_size: int | None = None
    savings: tuple[str, ...] = ()


ProblemT = TypeVar("ProblemT", bound=InitialValueProblem)
FrameT = TypeVar("FrameT", bound=Frame)


class Method(ABC, Generic[ProblemT, FrameT]):
    """A transport scheme: ``initialise`` once, then ``evaluate`` and ``advance`` in turn.

    It is a method for one kind of problem, and has one kind of frame: ``class Mine(Method[KineticProblem, Frame])``.

    Attributes:
        solves: The class of the problems that it is for.
        default_score: Name of the score model that a method with a ``score`` takes unless one is given.
    """

    solves: ClassVar[Any] = InitialValueProblem
    default_score: ClassVar[str] = "closed_form"

    @property
    def in_steps(self) -> bool:
        """Whether particles are moved by time steps, so that a smaller ``dt`` is more exact."""
        return True

    @property
    def energy_order(self) -> float | None:
        """Order in ``dt`` to which the steps keep the energy, infinite if to rounding; ``None`` where they do not."""
        return None

    def facts(self, problem: ProblemT, particles: int) -> Facts:
        """What there is to know of the method when it moves so many ``particles`` of ``problem``."""
        return Facts()

    @staticmethod
    def as_score(module: nn.Module, d: int) -> nn.Module:
        """Give a ``score`` the convention of this method; ``ValueError`` if it does not fit."""
        return as_score_model(module, d)

    def foresee(self, t_end: float, workspace: Path | None) -> None:
        """Told first of all where the run ends, and a folder for files of its own; by default of no interest."""

    def checkpointed(self) -> None:
        """Told that a checkpoint with its :meth:`state_dict` has been written; by default of no interest."""

    @abstractmethod
    def initialise(self, state: Data, problem: ProblemT) -> Data:
        """Prepare for ``problem`` from its initial particles (fit the initial score, solve for the field)."""

    @abstractmethod
    def evaluate(self, state: Data, dt: float | None = None) -> FrameT:
        """What moves the particles at ``state``: score and drift, or the field; a learned score is fitted here.

        ``dt`` is the step that will follow, for methods whose field depends on it.
        """

    @abstractmethod
    def advance(self, state: Data, frame: FrameT, dt: float) -> Data:
        """The state after one step of ``dt``, from the ``frame`` that ``evaluate`` gave for it."""

    @abstractmethod
    def state_dict(self) -> dict[str, Tensor]:
        """Everything that a run continued from here needs, bit for bit: weights, optimiser, random state."""

    @abstractmethod
    def load_state_dict(self, tensors: dict[str, Tensor]) -> None:
        """Restore what ``state_dict`` gave, after ``prepare``."""

    @abstractmethod
    def prepare(self, state: Data, problem: ProblemT) -> None:
        """Set up for ``problem`` without fitting anything: what a resumed run calls instead of ``initialise``."""

    def record(self) -> dict[str, float]:
        """Numbers of its own that a method adds to every row of the metrics, under the same keys."""
        return {}

    @torch.no_grad()
    def entropy(self, state: Data) -> float | None:
        r"""Entropy :math:`\langle \log f \rangle` where the method has an estimate of its own, else ``None``."""
        return None
