"""Metrics and summary of a run: the same columns at every row, equilibrium from the particles themselves."""

from __future__ import annotations

import math

import pytest
import torch

from graphlandau.diagnostics import covariance
from graphlandau.methods import Blob
from graphlandau.problems import BKW, Anisotropic, Rosenbluth, Truncated
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
        problem, Blob(), particles=n, t_end=problem.t_start + 3 * problem.dt, floors=False, dtype=torch.float64
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
