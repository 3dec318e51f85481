"""A warning where energy or momentum moves farther than the steps of the method allow."""

from __future__ import annotations

import math
import warnings

import torch

from graphlandau.methods import Method
from graphlandau.run.observers.observer import Observer, Run

__all__ = ["Conservation"]

# Relative drift of the energy that is no more a small error of the time step, by the order of the method.
FIRST_ORDER, HIGHER_ORDER = 0.05, 0.01
# Rounding, added up over long runs: of what is kept exactly.
ROUNDING = {torch.float32: 1e-3, torch.float64: 1e-8}


class Conservation(Observer):
    r"""Reads ``energy_rel_drift`` and ``momentum_abs_drift`` of the metrics; warns once for each that is too large.

    Energy may drift by 5 % under a method that keeps it to first order in the time step, by 1 % under one of higher
    order, and by rounding (1e-3 in float32, 1e-8 in float64) where it is kept exactly. Momentum may drift by rounding,
    relative to the root of twice the energy. More says that the step is unstable, that a graph is directed, or that the
    cells of a field have too few particles.

    Args:
        method: What moves the particles.
    """

    def __init__(self, method: Method) -> None:
        self.method = method
        self.said: set[str] = set()

    @classmethod
    def of(cls, method: Method) -> list[Conservation]:
        """Return one for a method that says how it keeps the energy, none for another."""
        return [] if method.energy_order is None else [cls(method)]

    def after_evaluate(self, run: Run) -> None:
        """Compare, where the observers before have measured."""
        order, rounding = self.method.energy_order, ROUNDING[run.dtype]
        assert order is not None
        allowed = rounding if order == math.inf else FIRST_ORDER if order < 2 else HIGHER_ORDER
        energy, momentum = run.row.get("energy_rel_drift"), run.row.get("momentum_abs_drift")
        if energy is not None and energy > allowed:
            kept = "to rounding" if order == math.inf else f"to order {order:g} in dt"
            moved = f"the energy has moved by {energy:.2%} until t = {run.t:g}"
            self._say("energy", f"{moved}, which the method keeps {kept}", run)
        if momentum is not None:
            share = momentum / math.sqrt(2 * run.row["energy"])
            if share > rounding:
                self._say("momentum", f"the momentum has moved by {share:.1e} thermal speeds until t = {run.t:g}", run)

    def _say(self, what: str, text: str, run: Run) -> None:
        if what not in self.said:
            self.said.add(what)
            cure = "a symmetric graph keeps it" if what == "momentum" else f"a smaller dt than {run.dt:g} is needed"
            warnings.warn(f"{text}: {cure}", stacklevel=3)
