"""Metrics and summary of a run: the same columns at every row, equilibrium from the particles themselves."""

from __future__ import annotations

import math

import pytest
import torch
from short_runs import short_run

from graphlandau.diagnostics import covariance, energy
from graphlandau.methods import Blob
from graphlandau.problems import BKW, Anisotropic, Gaussian, Problem, Rosenbluth, Truncated
from graphlandau.run.simulation import Simulation

PROBLEMS = {
    "bkw": BKW(d=2),
    "coulomb": Anisotropic(d=3, gamma=-3.0),
    "rosenbluth": Rosenbluth(),
    "normalised": Rosenbluth(time="normalised"),
    "truncated": Truncated(),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_equilibrium_in_rows_and_summary(name):
    problem = PROBLEMS[name]
    n = 60
    result = Simulation(
        problem, Blob(), particles=n, t_end=problem.t_start + 3 * problem.dt, baselines=False, dtype=torch.float64
    ).run()
    assert len(result.metrics) == 4
    assert len({tuple(row) for row in result.metrics}) == 1
    sigma, d = covariance(result.state.v), problem.d
    T = float(sigma.trace()) / d
    last, summary = result.metrics[-1], result.summary
    assert last["temperature"] == pytest.approx(T, rel=1e-12)
    assert last["equilibrium_distance"] == pytest.approx(
        float((sigma - T * torch.eye(d, dtype=torch.float64)).norm()), rel=1e-12
    )
    assert {key: summary[key] for key in ("temperature", "equilibrium_distance")} == {
        key: last[key] for key in ("temperature", "equilibrium_distance")
    }
    assert summary["equilibrium_distance_mc"] == pytest.approx(T * math.sqrt((d * d + d - 2) / n), rel=1e-12)
    assert summary["entropy_equilibrium"] == pytest.approx(-d / 2 * math.log(2 * math.pi * math.e * T), rel=1e-12)
    assert (summary["density_mass"], summary["time"]) == (problem.mass, problem.time)
    assert (summary["density_mass"] != 1) == isinstance(problem, Rosenbluth)


def test_metrics_measure_what_they_say():
    result = short_run(Blob(), dtype=torch.float64, particles=200).run()
    first, last = result.metrics[0], result.metrics[-1]
    assert first["energy_rel_drift"] == first["momentum_abs_drift"] == first["cov_sample_error"] == 0
    assert last["energy"] == pytest.approx(float(energy(result.state.v)), rel=1e-15)
    # Forward Euler adds dt^2 <|U|^2> / 2 of energy at every step, and nothing else.
    assert 0 < last["energy_rel_drift"] == pytest.approx(last["energy"] / first["energy"] - 1, rel=1e-9)
    assert last["momentum_abs_drift"] < 1e-15
    # log f starts at the exact density, so the first KL is rounding; the exact entropy falls.
    assert abs(first["kl"]) < 1e-15
    assert last["entropy_exact"] < first["entropy_exact"]
    assert all(row["entropy_dissipation"] < 0 for row in result.metrics)
    # The formula for the covariance holds for the particles' own to O(dt), not for the exact one, off by N^-1/2.
    assert last["cov_sample_error"] < 0.02 * last["cov_frobenius_error"]


def test_unknown_truth_leaves_its_columns_out():
    class Beam(Problem):
        def __init__(self):
            thermal = Gaussian(mean=[1.0, 0.0], covariance=[[0.2, 0.0], [0.0, 1.0]])
            super().__init__(thermal, gamma=-3.0, strength=0.1, t_end=0.2, dt=0.1, particles=30)

    result = Simulation(Beam(), Blob()).run()
    assert result.summary["problem"] == "beam"
    assert result.summary["backend"] == "dense"
    for key in ("kl", "rel_fisher_divergence", "rel_l2_density", "cov_frobenius_error", "cov_sample_error"):
        assert key not in result.metrics[0]
    assert result.summary["entropy"] is not None


def test_known_covariance_alone_is_reported():
    result = Simulation(Anisotropic(d=5), Blob(), particles=50, dt=0.01, t_end=0.02).run()
    assert "kl" not in result.metrics[0]
    assert result.summary["cov_sample_error"] < result.summary["cov_frobenius_error"]
    # In high dimension only the diagonal has columns.
    assert [key for key in result.metrics[0] if key.startswith("cov_1_")] == ["cov_1_1"]
