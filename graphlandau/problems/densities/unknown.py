"""The density of particles of which nothing is known but themselves."""

from __future__ import annotations

from typing import NoReturn

import torch
from jaxtyping import Float
from torch import Tensor

from graphlandau.base.errors import InvalidArgument
from graphlandau.problems.densities.density import Density
from graphlandau.problems.densities.phase_density import PhaseDensity

__all__ = ["UnknownDensity", "UnknownPhaseDensity"]


def _refuse() -> NoReturn:
    raise InvalidArgument("initial", "must be a known density", "that of samples, which is not known")


class UnknownDensity(Density):
    r"""A density that is known by samples alone: it has no log-density, score, moments or entropy.

    A score is fitted to the particles (``smooth`` is false), never to that of a stand-in.

    Args:
        d: Dimension of velocity space.
    """

    smooth = False

    def __init__(self, d: int) -> None:
        self.d = d

    def sample(self, n: int, *, generator: torch.Generator) -> Float[Tensor, "n d"]:
        """Refused: there are no others than those that are given."""
        _refuse()

    def log_prob(self, v: Float[Tensor, "N d"]) -> Float[Tensor, " N"]:
        """Refused: it is not known."""
        _refuse()


class UnknownPhaseDensity(PhaseDensity):
    r"""A density on phase space that is known by samples alone.

    Args:
        d_x: Dimension of position space.
        d: Dimension of velocity space.
        periods: Per position its period, ``None`` on the line.
    """

    def __init__(self, d_x: int, d: int, periods: tuple[float | None, ...]) -> None:
        self.d_x, self.d, self._periods = d_x, d, periods

    @property
    def periods(self) -> tuple[float | None, ...]:
        """Per position its period."""
        return self._periods

    def from_uniform(self, u: Float[Tensor, "N coordinates"]) -> tuple[Float[Tensor, "N d_x"], Float[Tensor, "N d"]]:
        """Refused: there are no others than those that are given."""
        _refuse()

    def log_prob(self, x: Float[Tensor, "N d_x"], v: Float[Tensor, "N d"]) -> Float[Tensor, " N"]:
        """Refused: it is not known."""
        _refuse()
