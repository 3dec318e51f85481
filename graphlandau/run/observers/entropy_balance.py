"""A cross-check that every run has for nothing: the change of the carried entropy against its dissipation."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping

import torch
from torch import Tensor

from graphlandau.methods import Method
from graphlandau.methods.transport import LandauTransport
from graphlandau.physics.moments import average, inner
from graphlandau.run.observers.observer import Observer, Run

__all__ = ["EntropyBalance"]

# Standard errors of the balance that are noise.
NOISE = 4.0
# The share of the dissipated entropy that the score may be off by, before it is said.
SHARE = 0.25


class EntropyBalance(Observer):
    r"""Follows what the entropy has changed by beside what was dissipated; a warning where they part.

    .. math::
        B(t) = \langle \log f(v(t), t) - \log f(v(0), 0) \rangle - \int_0^t \langle s \cdot U \rangle \, dt

    is zero for the exact score, many particles and small steps: :math:`\log f` changes by :math:`-\nabla \cdot U` along
    a particle, and the mean of that is :math:`\langle s \cdot U \rangle` by parts. Column ``entropy_balance``. The
    integral is taken by the trapezoidal rule over all steps. The balance may be off by its noise (four standard errors,
    from the spread of the same difference over the particles), by the order of the steps (the difference between the
    trapezoidal rule and left end points, twice) and by the score (a quarter of what was dissipated). Beyond that a
    warning names it, once. Dimensionless.
    """

    def __init__(self) -> None:
        self.tensors: dict[str, Tensor] = {}
        self.warned = False

    @classmethod
    def of(cls, method: Method) -> list[EntropyBalance]:
        """Return one for a method that carries the log-density along a collision drift, none for another."""
        carried = isinstance(method, LandauTransport) and method.log_det != "none" and method.in_steps
        return [cls()] if carried else []

    def begin(self, run: Run) -> None:
        """Start at the initial log-density, or where the checkpoint left off."""
        if self.tensors:
            self.tensors = {key: x.to(run.device) for key, x in self.tensors.items()}
            return
        log_f = run.state.log_f.double()
        self.tensors = {"first": log_f, "integral": torch.zeros_like(log_f), "left": torch.zeros_like(log_f[:1])}

    @torch.no_grad()
    def after_evaluate(self, run: Run) -> None:
        """Add the dissipation of the step; compare where a row is due."""
        now = self.tensors
        weight = run.state.weight.double() if "weight" in run.state else None
        rate = inner(run.frame.s.double(), run.frame.drift.double())
        if "rate" in now:
            now["integral"] = now["integral"] + 0.5 * run.dt * (now["rate"] + rate)
            now["left"] = now["left"] + run.dt * average(now["rate"], weight)
        now["rate"] = rate
        if not run.row_due:
            return
        difference = run.state.log_f.double() - now["first"] - now["integral"]
        balance, dissipated = float(average(difference, weight)), float(average(now["integral"], weight))
        run.row["entropy_balance"] = balance
        if not self.warned:
            share = torch.full_like(rate, 1 / len(rate)) if weight is None else weight / weight.sum()
            noise = math.sqrt(float((share * (difference - balance)).square().sum()))
            order = 2 * abs(float(now["left"]) - dissipated)
            rounding = 100 * torch.finfo(run.dtype).eps * (1 + float(average(run.state.log_f.double().abs(), weight)))
            allowed = NOISE * noise + order + SHARE * abs(dissipated) + rounding
            if abs(balance) > allowed:
                self.warned = True
                warnings.warn(
                    f"the carried entropy has changed by {balance + dissipated:.3g} until t = {run.t:g}, where "
                    f"{dissipated:.3g} was dissipated: they part by more than noise, time step and score explain "
                    f"({allowed:.2g}); a smaller dt or a better score may help",
                    stacklevel=2,
                )

    def state_dict(self) -> dict[str, Tensor]:
        """The integrals so far, and whether a warning was given."""
        return self.tensors | {"warned": torch.tensor(self.warned)}

    def load_state_dict(self, tensors: Mapping[str, Tensor]) -> None:
        """Take them back."""
        self.tensors = {key: x for key, x in tensors.items() if key != "warned"}
        self.warned = bool(tensors.get("warned", False))
