"""A warning where energy or momentum moves farther than the steps of the method allow."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping

import torch
from torch import Tensor

from graphlandau.methods import Method
from graphlandau.run.observers.observer import Observer, Run

__all__ = ["Conservation"]

# Relative drift of the energy that is no more a small error of the time step, by the order of the method.
FIRST_ORDER, HIGHER_ORDER = 0.05, 0.01
# Rounding, added up over long runs: of what is kept exactly.
ROUNDING = {torch.float32: 1e-3, torch.float64: 1e-8}


class Conservation(Observer):
    r"""Watches energy and momentum in the metrics; warns once for each that moves too far.

    Energy may drift by 5 % under a method that keeps it to first order in the time step, by 1 % under one of higher
    order, and by rounding (1e-3 in float32, 1e-8 in float64) where it is kept exactly. In a homogeneous plasma it is
    that about the mean, :math:`d T / 2`, so that a bulk velocity hides nothing. Momentum may drift by rounding,
    relative to the thermal speed :math:`\sqrt T`. More says that the step is unstable, that a graph is directed, or
    that the cells of a field have too few particles.

    Args:
        method: What moves the particles.
    """

    def __init__(self, method: Method) -> None:
        self.method = method
        self.said: set[str] = set()
        self.temperature: float | None = None

    @classmethod
    def of(cls, method: Method) -> list[Conservation]:
        """Return one for a method that says how it keeps the energy, none for another."""
        return [] if method.energy_order is None else [cls(method)]

    def after_evaluate(self, run: Run) -> None:
        """Compare, where the observers before have measured."""
        if not run.row_due:
            return
        temperature, energy = run.row.get("temperature"), run.row.get("energy_rel_drift")
        if self.temperature is None:
            self.temperature = temperature
        order, rounding = self.method.energy_order, ROUNDING[run.dtype]
        assert order is not None
        if temperature and self.temperature:
            energy = abs(temperature / self.temperature - 1)
            share = run.row["momentum_abs_drift"] / math.sqrt(temperature)
            if share > rounding:
                moved = f"the momentum has moved by {share:.1e} thermal speeds until t = {run.t:g}"
                self._say("momentum", f"{moved}: a symmetric graph and float64 keep it")
        allowed = rounding if order == math.inf else FIRST_ORDER if order < 2 else HIGHER_ORDER
        if energy is not None and energy > allowed:
            kept = "to rounding" if order == math.inf else f"to order {order:g} in dt"
            moved = f"the energy has moved by {energy:.2%} until t = {run.t:g}, which the method keeps {kept}"
            self._say("energy", f"{moved}: a smaller dt than {run.dt:g} is needed")

    def _say(self, what: str, text: str) -> None:
        if what not in self.said:
            self.said.add(what)
            warnings.warn(text, stacklevel=3)

    def state_dict(self) -> dict[str, Tensor]:
        """The first temperature, and what has been said."""
        said = [float("energy" in self.said), float("momentum" in self.said)]
        first = math.nan if self.temperature is None else self.temperature
        return {"said": torch.tensor([first, *said], dtype=torch.float64)}

    def load_state_dict(self, tensors: Mapping[str, Tensor]) -> None:
        """Take them back."""
        if "said" in tensors:
            first, energy, momentum = tensors["said"].tolist()
            self.temperature = None if math.isnan(first) else first
            self.said = {what for what, was in (("energy", energy), ("momentum", momentum)) if was}
