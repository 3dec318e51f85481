"""Errors of entropies with the fit, and entropies below what is possible."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch

from graphlandau.methods import PICJKO, SBTM, Blob, KineticJKO, KineticSBTM, Langevin, Step
from graphlandau.nn import ClosedFormScore
from graphlandau.nn.control import AffineControl, FeatureControl, PhaseEmbedding
from graphlandau.problems import BKW, Anisotropic, KineticProblem, VFPDoubleWell, VFPGaussian, VPFPBeams
from graphlandau.run import Simulation
from graphlandau.run.observers import Observer


def embedding(problem: KineticProblem) -> PhaseEmbedding:
    return PhaseEmbedding(problem.d_x, problem.d, lengths=problem.lengths)


def run(problem: Any, method: Any, **options: Any) -> tuple[list[dict[str, Any]], dict[str, Any], list[str]]:
    """Rows and summary of a run, and what it warns of the entropy."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = Simulation(problem, method, baselines=False, compile="never", **options).run()
    said = [str(warning.message) for warning in caught if "least possible" in str(warning.message)]
    return result.metrics, result.summary, said


def test_a_ridge_that_is_too_weak_is_seen() -> None:
    """The distance from equilibrium falls below zero, far beyond its standard error; its error covers that."""
    problem = VFPDoubleWell(d=1)
    method = KineticJKO(FeatureControl(embedding(problem), ridge=1e-6))
    rows, summary, said = run(problem, method, particles=500, dt=0.1, t_end=4.0)
    last = rows[-1]
    assert last["kl"] < -5 * last["kl_stderr"]
    assert last["kl_error"] >= abs(last["kl"])
    # The balance alone, which needs no equilibrium, has most of it.
    assert abs(last["entropy_balance"]) > 0.5 * abs(last["kl"])
    assert last["entropy_deficit"] == -last["kl"]
    assert summary["entropy_impossible"]
    assert len(said) == 1


def test_too_large_steps_of_strong_collisions_are_seen() -> None:
    """The reference is the Maxwellian of the particles' own temperature, spread over the box."""
    problem = VPFPBeams(d=1, epsilon=10.0)
    rows, summary, said = run(problem, PICJKO(FeatureControl(embedding(problem))), particles=3000, dt=0.02, t_end=0.4)
    assert summary["entropy_impossible"]
    assert rows[-1]["entropy_error"] > rows[-1]["entropy_deficit"] > 0.1
    assert said


def test_the_blob_methods_coulomb_run_is_seen() -> None:
    rows, summary, said = run(Anisotropic(d=3, gamma=-3.0), Blob(), particles=200, dt=1.0, t_end=60.0, metrics_every=20)
    assert summary["entropy"] < summary["entropy_equilibrium"]
    assert summary["entropy_impossible"]
    assert summary["entropy_error"] > summary["entropy_equilibrium"] - summary["entropy"]
    assert len(said) == 1
    assert rows[0]["entropy_deficit"] == 0


@pytest.mark.parametrize("method", [SBTM(ClosedFormScore(2)), Blob()])
def test_a_good_run_is_not_flagged(method: Any) -> None:
    rows, summary, said = run(BKW(d=2), method, particles=800, dt=0.02, t_end=0.4)
    assert not said
    assert summary["entropy_impossible"] is False
    for row in rows:
        assert abs(row["entropy"] - row["entropy_exact"]) < 4 * row["entropy_error"]
        assert row["kl_error"] >= max(row["kl_stderr"], -row["kl"], abs(row["entropy_balance"]))
        assert row["entropy_error"] >= abs(row["entropy_balance"])


def test_an_affine_control_is_right_to_its_error() -> None:
    """The solution stays normal, which an affine control can follow: what is left is the sample and the step."""
    problem = VFPGaussian(d=1)
    rows, summary, said = run(
        problem, KineticJKO(AffineControl(embedding(problem))), particles=2000, dt=0.05, t_end=1.0
    )
    assert not said
    assert not summary["entropy_impossible"]
    for row in rows:
        t = row["t"]
        x, v = problem.density(t).sample(200_000, generator=torch.Generator().manual_seed(5))
        exact = float(problem.density(t).log_prob(x, v).mean())
        assert abs(row["entropy"] - exact) < 4 * row["entropy_error"]


@pytest.mark.parametrize("cls", [KineticJKO, KineticSBTM])
def test_the_balance_is_the_change_of_entropy_less_what_the_control_dissipates(cls: Any) -> None:
    """With the score -(v + u / epsilon) / T_0 after a JKO step, before one of score matching."""
    problem = VFPDoubleWell(d=1, epsilon=0.7)

    class Follow(Observer):
        def __init__(self) -> None:
            self.dissipated = 0.0
            self.found: list[tuple[float, float]] = []

        def after_evaluate(self, run: Any) -> None:
            if "control" in run.state:
                u = run.state.control
                v = run.state.v if cls is KineticJKO else run.state.v - run.dt * u
                self.dissipated -= run.dt * float((u * (v + u / 0.7)).sum(1).mean()) / problem.temperature
            self.found.append((run.row["entropy_balance"], run.row["entropy"] - self.dissipated))

    follow = Follow()
    run(
        problem,
        cls(AffineControl(embedding(problem))),
        particles=300,
        dt=0.1,
        t_end=0.5,
        dtype=torch.float64,
        observers=[follow],
    )
    first = follow.found[0][1]
    for balance, expected in follow.found:
        assert balance == pytest.approx(expected - first, abs=1e-12)
    assert follow.found[-1][0] != 0


def test_particles_without_a_density_have_no_errors() -> None:
    rows, summary, said = run(BKW(d=2), Blob(step=Step(log_det="none")), particles=50, dt=0.1, t_end=0.2)
    assert all(row["entropy_error"] is row["entropy_deficit"] is row["kl_error"] is None for row in rows)
    assert summary["entropy_impossible"] is False
    assert not said
    rows, summary, said = run(VFPGaussian(d=1), Langevin(), particles=50, dt=0.1, t_end=0.2)
    assert "entropy_error" not in rows[0]
