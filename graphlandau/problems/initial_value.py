"""What every benchmark is, whatever its equation: where particles start, and the times of a run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor

from graphlandau.base.errors import InvalidArgument
from graphlandau.base.validation import require_integer, require_number, require_positive

__all__ = ["InitialValueProblem"]


class InitialValueProblem(ABC):
    """An initial-value problem for particles, dimensionless: the common base of all problems.

    Subclass :class:`~graphlandau.problems.Problem` for the homogeneous Landau equation and
    :class:`~graphlandau.problems.KineticProblem` for particles with positions.

    Args:
        d: Dimension of velocity space.
        t_start: Time of the initial density.
        t_end: Default end of a run.
        dt: Default time step of a run.
        particles: Default number of particles of a run.

    Raises:
        ValueError: If a number is out of range, or ``t_end`` is not after ``t_start``.
    """

    def __init__(self, *, d: int, t_start: float, t_end: float, dt: float, particles: int) -> None:
        self.d = d
        self.t_start = require_number("t_start", t_start)
        self.t_end = require_number("t_end", t_end)
        if self.t_end <= self.t_start:
            raise InvalidArgument("t_end", f"must be after t_start = {self.t_start:g}", f"{self.t_end:g}")
        self.dt = require_positive("dt", dt)
        self.particles = require_integer("particles", particles, minimum=2)

    @property
    def name(self) -> str:
        """Short name for files and tables."""
        return type(self).__name__.lower()

    @property
    def log_density_known(self) -> bool:
        """Whether the log-density of the initial particles is known, by a formula or with the particles."""
        return True

    @abstractmethod
    def draw(self, n: int, *, generator: torch.Generator) -> dict[str, Tensor]:
        """Draw ``n`` initial particles: their tensors by the keys of a state, float64, the generator's device."""

    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """Return the constants of the problem that a summary of a run repeats."""
