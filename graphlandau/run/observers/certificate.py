"""The certificate of a run: how far its score is from that of its own density, and what this says about its error."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor
from torch_geometric.data import Data

from graphlandau.base.errors import InvalidArgument
from graphlandau.diagnostics import relative_fisher_divergence
from graphlandau.diagnostics.certificates import (
    bound_for,
    covariance_gap,
    covariance_term,
    pair_loss,
    push_score,
    score_matching_loss,
)
from graphlandau.methods import Method, Scored
from graphlandau.nn.conv import LandauDrift
from graphlandau.problems import Problem
from graphlandau.run.observers.observer import Observer, Run

log = logging.getLogger(__name__)

__all__ = ["Certifiable", "Certificate"]


@runtime_checkable
class Certifiable(Protocol):
    """A method whose step is a smooth map of each particle, with the others held fixed."""

    def require_score_field(self) -> None:
        """Raise ``ValueError`` if the step is no such map after all."""
        ...

    def step_jacobian(self, state: Data, frame: Scored, dt: float) -> Callable[[Tensor], Tensor]:
        """Return the Jacobian of the step as a differentiable function of the velocities, float64."""
        ...


class Certificate(Observer):
    r"""Follows the score :math:`\sigma` of the density that the particles really have, and bounds their error by it.

    The density of the run is the initial one pushed forward by the steps, each of which is a known map: its score needs
    no exact solution. Columns of the metrics, all in float64:

    - ``tracked_fisher``: :math:`\sum|s - \sigma|^2 / \sum|\sigma|^2`, the relative Fisher divergence from it;
    - ``score_loss``: :math:`L`, see :func:`~graphlandau.diagnostics.certificates.score_matching_loss`;
    - ``score_loss_integral``: its integral since the start, with the value at the beginning of each step, where the
      score is chosen that the step keeps;
    - ``kl_bound``, for Maxwell molecules from a radial density: twice that integral, and ``kl_bound_pairs``: half that
      of :func:`~graphlandau.diagnostics.certificates.pair_loss`, the sharper one. The summary says which theorem it is,
      and what that assumes, under ``certificate``, see :func:`~graphlandau.diagnostics.certificates.bound_for`;
    - ``kl_bound_any_score``, for Maxwell molecules with a known solution: the integral of Proposition 4.1, which does
      not ask for a radial score;
    - ``covariance_gap``, for Maxwell molecules from any other density: the smallest so far.

    The bounds hold for ``dt`` to 0 and many particles. They see the error of the score, not that of the time steps,
    and the integral by left end points is itself of first order: both count once the score is almost exact.

    Costs the second derivatives of every step: for all pairs :math:`O(N^2)` some ten times the drift. Dimensionless.

    Args:
        problem: What is solved.
        method: How.

    Raises:
        ValueError: If the initial density has no pointwise score, or the steps of the method are no maps that can be
            differentiated.
    """

    def __init__(self, problem: Problem, method: Method) -> None:
        _require_certifiable(problem, method)
        self.problem = problem
        self.bound = bound_for(problem)
        self.drift = LandauDrift(problem.gamma, problem.strength)
        self.known = problem.gamma == 0 and problem.density(problem.t_end) is not None
        self.tensors: dict[str, Tensor] = {}
        self._restored = False

    def begin(self, run: Run) -> None:
        """Start with the score of the initial density, or where the checkpoint left off."""
        _require_certifiable(self.problem, run.method)
        run.labels["certificate"] = f"{self.bound.name}: {self.bound.statement}"
        if self._restored:
            self.tensors = {key: x.to(run.device) for key, x in self.tensors.items()}
            self._restored = False
            return
        log.info("certificate by %s: %s", self.bound.name, self.bound.statement)
        zero = torch.zeros((), dtype=torch.float64, device=run.device)
        self.tensors = {
            "sigma": self.problem.score(run.state.v.double()),
            "loss_integral": zero,
            "pair_integral": zero,
            "covariance_integral": zero,
            "gap": zero + torch.inf,
        }

    @torch.no_grad()
    def after_evaluate(self, run: Run) -> None:
        """Compare the score with that of the density; move the latter along with the particles."""
        now, v, s = self.tensors, run.state.v.double(), run.frame.s.double()
        weight = run.state.weight.double() if "weight" in run.state else None
        loss = score_matching_loss(v, s, now["sigma"], self.drift, weight)
        gap = torch.minimum(now["gap"], covariance_gap(v, weight))
        if run.row_due:
            run.row["tracked_fisher"] = float(relative_fisher_divergence(s, now["sigma"], weight))
            run.row["score_loss"] = float(loss)
            run.row["score_loss_integral"] = float(now["loss_integral"])
            if self.bound.explicit:
                run.row["kl_bound"] = 2 * float(now["loss_integral"])
                run.row["kl_bound_pairs"] = 0.5 * float(now["pair_integral"])
            elif run.problem.gamma == 0:
                run.row["covariance_gap"] = float(gap)
            if self.known:
                run.row["kl_bound_any_score"] = float(2 * now["loss_integral"] + now["covariance_integral"])
        if run.step == run.steps:
            return
        pairs, extra = torch.zeros_like(loss), torch.zeros_like(loss)
        if self.bound.explicit:
            pairs = pair_loss(v, s, now["sigma"], self.drift, weight)
        exact = self.problem.density(run.t) if self.known else None
        if exact is not None:
            extra = covariance_term(v, now["sigma"], exact, self.problem.strength, weight)
        assert isinstance(run.method, Certifiable)
        jacobian = run.method.step_jacobian(run.state, run.frame, run.dt)
        self.tensors = {
            "sigma": push_score(jacobian, v, now["sigma"])[0],
            "loss_integral": now["loss_integral"] + run.dt * loss,
            "pair_integral": now["pair_integral"] + run.dt * pairs,
            "covariance_integral": now["covariance_integral"] + run.dt * extra,
            "gap": gap,
        }

    def state_dict(self) -> dict[str, Tensor]:
        """The score of the density, and the integrals so far."""
        return self.tensors

    def load_state_dict(self, tensors: Mapping[str, Tensor]) -> None:
        """Take them back."""
        self.tensors, self._restored = dict(tensors), True


def _require_certifiable(problem: Problem, method: Method) -> None:
    if problem.density(problem.t_start) is None:
        raise InvalidArgument(
            "certificate", "needs an initial density that is known", f"{problem.name}, given as particles"
        )
    if not problem.initial.smooth:
        raise InvalidArgument(
            "certificate", "needs an initial density with a pointwise score", f"{problem.name}, which has jumps"
        )
    if not isinstance(method, Certifiable):
        raise InvalidArgument(
            "certificate", "needs a method whose steps are maps of each particle", type(method).__name__
        )
    method.require_score_field()
