"""Errors of the entropies that a run reports, and a warning where one is below what is possible."""

from __future__ import annotations

import math
import warnings
from typing import Any

import torch
from torch import Tensor

from graphlandau.diagnostics import Gap, carried_error, maxwellian_gap, standard_error
from graphlandau.methods import Method
from graphlandau.methods.controlled import ControlledTransport
from graphlandau.methods.transport import LandauTransport
from graphlandau.problems import KineticProblem
from graphlandau.problems.initial_value import InitialValueProblem
from graphlandau.run.observers.observer import Observer, Run

__all__ = ["EntropyErrors"]


class EntropyErrors(Observer):
    r"""Fills ``entropy_error``, ``kl_error`` and ``entropy_deficit`` beside the entropies of a row.

    The errors are those of :func:`~graphlandau.diagnostics.entropy_error.carried_error`: of the sample, and of the fit
    by the column ``entropy_balance`` where the run has one. ``entropy_deficit`` is how far the carried entropy is below
    the least one that is possible: that of the Maxwellian of equal mass, momentum and energy, evenly spread over a box
    where there is one; in a potential, how far ``kl`` is below zero. Beyond four standard errors it is no chance:
    a warning says so once, and the summary has it as ``entropy_impossible``. It comes after all that fills the row.

    Args:
        problem: What is run.
    """

    def __init__(self, problem: InitialValueProblem) -> None:
        self.problem = problem
        self.warned = False
        self.impossible = False

    @classmethod
    def of(cls, problem: InitialValueProblem, method: Method) -> list[EntropyErrors]:
        """Return one for a method whose collisions change a log-density that is known, else none."""
        collides = isinstance(method, LandauTransport | ControlledTransport)
        return [cls(problem)] if collides and problem.log_density_known else []

    @torch.no_grad()
    def after_evaluate(self, run: Run) -> None:
        """Measure."""
        if not run.row_due:
            return
        keys = ["entropy_error", "entropy_deficit", *(["kl_error"] if "kl" in run.row else [])]
        run.row |= dict.fromkeys(keys)
        self.impossible = False
        if "log_f" not in run.state:
            return
        weight: Tensor | None = run.state.weight.double() if "weight" in run.state else None
        log_f, mass = run.state.log_f.double(), self._mass
        balance, gap = run.row.get("entropy_balance") or 0.0, self._gap(run, log_f, weight)
        stderr = mass * float(standard_error(log_f, weight))
        run.row["entropy_error"] = carried_error(stderr, balance, gap.deficit)
        run.row["entropy_deficit"] = gap.deficit
        kl = run.row.get("kl")
        if kl is not None:
            run.row["kl_error"] = carried_error(run.row["kl_stderr"], balance, max(0.0, -kl))
        self.impossible = gap.impossible
        if gap.impossible and not self.warned:
            self.warned = True
            warnings.warn(
                f"the entropy at t = {run.t:g} is {gap.deficit:.3g} below the least possible one (standard error "
                f"{gap.stderr:.2g}): the log-density that is carried is wrong, and so are entropy, free energy and KL; "
                "more particles, a stronger ridge or a smaller dt may help",
                stacklevel=2,
            )

    @property
    def _mass(self) -> float:
        """Mass by which means over the particles are multiplied: 1 for the Landau equation."""
        return self.problem.mass if isinstance(self.problem, KineticProblem) else 1.0

    def _gap(self, run: Run, log_f: Tensor, weight: Tensor | None) -> Gap:
        """How far the entropy is above the least possible one; infinitely far where that is not known."""
        problem, row = self.problem, run.row
        if not isinstance(problem, KineticProblem):
            return maxwellian_gap(log_f, run.state.v.double(), weight)
        if problem.potential is not None or problem.volume is None:
            known = row.get("kl") is not None
            return Gap(row["kl"], row["kl_stderr"]) if known else Gap(math.inf, 0.0)
        gap = maxwellian_gap(log_f - math.log(problem.mass / problem.volume), run.state.v.double(), weight)
        return Gap(*(problem.mass * x for x in gap))

    def summary(self, run: Run) -> dict[str, Any]:
        """Whether the entropy at the end is below what is possible."""
        return {"entropy_impossible": self.impossible}
