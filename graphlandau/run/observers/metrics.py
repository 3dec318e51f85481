"""The row of numbers measured at a step: invariants, entropy, and errors wherever the truth is known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch_geometric.data import Data

from graphlandau.base.state import start_of
from graphlandau.diagnostics import (
    covariance,
    covariance_error,
    effective_particles,
    energy,
    entropy,
    entropy_dissipation,
    equilibrium_distance,
    equilibrium_distance_mc,
    equilibrium_entropy,
    fourth_moment,
    kl_divergence,
    mass,
    momentum,
    relative_fisher_divergence,
    standard_error,
    temperature,
)
from graphlandau.methods import Method, Scored
from graphlandau.problems import Problem
from graphlandau.run.observers.observer import Observer, Run

__all__ = ["Metrics"]


class Metrics(Observer):
    r"""Fills ``run.row`` when a row is due; sums are taken in float64, what is not known is ``None``.

    ``energy_rel_drift`` is :math:`|E - E_0| / E_0` and ``momentum_abs_drift`` :math:`|p - p_0|`, with
    :math:`E_0` and :math:`p_0` of the particles at the start; ``cov_sample_error`` compares with the exact
    evolution of *their* covariance, and so leaves out the noise of the sample. ``equilibrium_distance`` is
    :math:`\|\Sigma - T I\|_F`, with ``temperature`` :math:`T = \operatorname{tr} \Sigma / d`. Dimensionless.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.initial: dict[str, Tensor] = {}

    def begin(self, run: Run) -> None:
        """Remember the invariants of the first particles, unless a checkpoint has brought them back."""
        if not self.initial:
            v, weight = start_of(run.state).double(), _velocities(run.state)[1]
            self.initial = {
                "energy": energy(v, weight),
                "momentum": momentum(v, weight),
                "covariance": covariance(v, weight),
            }

    def after_evaluate(self, run: Run) -> None:
        """Measure."""
        if not run.row_due:
            return
        v, weight = _velocities(run.state)
        run.row |= self.invariants(v, weight)
        run.row |= run.method.record()
        run.row |= _entropies(self.problem, run.state, run.frame, run.method, weight)
        run.row |= _higher_moments(v, weight)
        run.row |= self.covariance_errors(run.t, v, weight)
        # A density that is known at the start only would fill a column with a single value.
        if self.problem.density(self.problem.t_end) is not None:
            run.row |= _density_errors(self.problem, run.state, run.frame, v, weight)

    def invariants(self, v: Tensor, weight: Tensor | None) -> dict[str, float]:
        """Mass, energy, and how far energy and momentum have drifted."""
        start, now = float(self.initial["energy"]), float(energy(v, weight))
        drift = momentum(v, weight) - self.initial["momentum"].to(v)
        return {
            "mass": mass(weight, v.size(0)),
            "energy": now,
            "energy_rel_drift": abs(now - start) / start,
            "momentum_abs_drift": float(drift.norm()),
        }

    def covariance_errors(self, t: float, v: Tensor, weight: Tensor | None) -> dict[str, float]:
        """Errors against the exact covariance, and against the exact evolution of the first particles' own."""
        truths = {
            "cov_frobenius_error": self.problem.covariance(t),
            "cov_sample_error": self.problem.covariance(t, self.initial["covariance"].to(v)),
        }
        return {key: float(covariance_error(v, x, weight)) for key, x in truths.items() if x is not None}

    def summary(self, run: Run) -> dict[str, Any]:
        """The covariance, and how far from a Maxwellian as many independent samples of it would be.

        ``equilibrium_distance_mc`` is what these would have as ``equilibrium_distance``, ``entropy_equilibrium`` the
        entropy of that Maxwellian.
        """
        v, weight = _velocities(run.state)
        effective = effective_particles(run.particles, weight)
        return {
            "equilibrium_distance_mc": equilibrium_distance_mc(float(temperature(v, weight)), effective, v.size(1)),
            "entropy_equilibrium": equilibrium_entropy(v, weight),
            "covariance": covariance(v, weight).tolist(),
        }

    def state_dict(self) -> dict[str, Tensor]:
        """The invariants of the first particles."""
        return self.initial

    def load_state_dict(self, tensors: Mapping[str, Tensor]) -> None:
        """Take them back."""
        self.initial = dict(tensors)


def _velocities(state: Data) -> tuple[Tensor, Tensor | None]:
    weight = state.weight.double() if "weight" in state else None
    return state.v.double(), weight


def _entropies(
    problem: Problem, state: Data, frame: Scored, method: Method, weight: Tensor | None
) -> dict[str, float | None]:
    row: dict[str, float | None] = {}
    if "log_f" in state:
        row["entropy"] = float(entropy(state.log_f.double(), weight))
    elif problem.log_density_known:
        row["entropy"] = method.entropy(state)
    dissipation = float(entropy_dissipation(frame.s.double(), frame.drift.double(), weight))
    return row | {"entropy_dissipation": dissipation}


def _higher_moments(v: Tensor, weight: Tensor | None) -> dict[str, float]:
    sigma, d = covariance(v, weight), v.size(1)
    # The upper triangle; in high dimension the diagonal says enough and 55 columns say too much.
    entries = [(a, b) for a in range(d) for b in range(a, d) if a == b or d <= 3]
    row = {"fourth_moment": float(fourth_moment(v, weight))}
    row |= {f"cov_{a + 1}_{b + 1}": float(sigma[a, b]) for a, b in entries}
    return row | {
        "cov_trace": float(sigma.trace()),
        "temperature": float(temperature(v, weight)),
        "equilibrium_distance": float(equilibrium_distance(v, weight)),
    }


def _density_errors(problem: Problem, state: Data, frame: Scored, v: Tensor, weight: Tensor | None) -> dict[str, Any]:
    density = problem.density(state.t)
    if density is None:
        return dict.fromkeys(("rel_fisher_divergence", "kl", "kl_stderr", "entropy_exact"))
    log_f = state.log_f.double() if "log_f" in state else None
    return {
        "rel_fisher_divergence": float(relative_fisher_divergence(frame.s.double(), density.score(v), weight)),
        "kl": None if log_f is None else float(kl_divergence(log_f, density.log_prob(v), weight)),
        "kl_stderr": None if log_f is None else float(standard_error(log_f - density.log_prob(v), weight)),
        "entropy_exact": density.entropy(),
    }
