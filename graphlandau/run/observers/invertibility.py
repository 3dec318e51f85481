"""Particles that lose their density because the map of a step is not invertible."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from graphlandau.methods import Method
from graphlandau.methods.transport import LandauTransport
from graphlandau.run.observers.observer import Observer, Run

__all__ = ["Invertibility"]


class Invertibility(Observer):
    r"""Warns at the first step whose map is not invertible for some particle, and counts all of them for the summary.

    ``not_invertible`` of the summary is the number of particles and steps together, ``dt_invertible`` the largest time
    step that would have passed at every step, ``None`` where all did.

    Args:
        method: What moves the particles and counts.
    """

    def __init__(self, method: LandauTransport) -> None:
        self.method = method
        self.total, self.passing = 0, math.inf

    @classmethod
    def of(cls, method: Method) -> list[Invertibility]:
        """Return one for a method that counts, none for another."""
        if isinstance(method, LandauTransport) and method.in_steps and "not_invertible" in method.record():
            return [cls(method)]
        return []

    def after_evaluate(self, run: Run) -> None:
        """Look at the step that led here."""
        method, lost = self.method, self.method.not_invertible
        if lost and not self.total:
            known = f"a dt below {method.passing:.2g} would have passed"
            cure = known if method.passing < run.dt else "take a smaller dt"
            warnings.warn(
                f"the map of a step was not invertible for {lost:,} of {run.particles:,} particles "
                f"({lost / run.particles:.2%}) at t = {run.t:g}: they have no density, and entropy and kl are off by "
                f"them; {cure} (got {run.dt:g})",
                stacklevel=2,
            )
        self.total += lost
        self.passing = min(self.passing, method.passing)

    def summary(self, run: Run) -> dict[str, Any]:
        """All of them, and the step that would have passed."""
        return {"not_invertible": self.total, "dt_invertible": self.passing if self.passing < math.inf else None}

    def state_dict(self) -> dict[str, Tensor]:
        """What was counted before this step."""
        return {"counted": torch.tensor([self.total, self.passing], dtype=torch.float64)}

    def load_state_dict(self, tensors: Mapping[str, Tensor]) -> None:
        """Take it back."""
        if "counted" in tensors:
            total, self.passing = tensors["counted"].tolist()
            self.total = int(total)
