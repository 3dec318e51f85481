"""What a run leaves in ``summary.json``."""

from __future__ import annotations

import json
import math

import pytest
import torch
from short_runs import short_run

from graphlandau.methods import SBTM, Blob, KineticJKO
from graphlandau.nn import AffineControl, PhaseEmbedding
from graphlandau.nn.score import ClosedFormScore
from graphlandau.problems import VFPGaussian
from graphlandau.run.folder import RunFolder
from graphlandau.run.observers import Observer
from graphlandau.run.simulation import Simulation
from graphlandau.run.summary import left_out

pytestmark = pytest.mark.usefixtures("small_and_quick")


def test_summary_has_the_numbers_of_the_last_row(tmp_path):
    folder = RunFolder.create(tmp_path, "")
    result = short_run(SBTM(ClosedFormScore(d=2)), folder=folder, seed=5).run()
    wanted = """problem method score particles d gamma strength dt t steps seed device dtype backend wall_seconds
        seconds_per_step energy_rel_drift momentum_abs_drift entropy entropy_dissipation covariance rel_l2_density
        rel_fisher_divergence cov_frobenius_error kl rel_l2_density_exact_score rel_l2_density_fresh"""
    assert set(wanted.split()) <= result.summary.keys()
    assert json.loads(folder.summary.read_text()) == result.summary
    assert result.summary["t"] == 0.2
    assert (result.summary["steps"], result.summary["seed"]) == (10, 5)
    assert (result.summary["gamma"], result.summary["strength"], result.summary["d"]) == (0.0, 1 / 16, 2)
    assert (result.summary["backend"], result.summary["dtype"]) == ("moments", "float32")
    assert result.summary["kl"] == result.metrics[-1]["kl"]
    sigma = torch.cov(result.state.v.double().T, correction=0)
    # float64 sums of 60 terms in two orders.
    torch.testing.assert_close(
        torch.tensor(result.summary["covariance"], dtype=torch.float64), sigma, atol=1e-14, rtol=0
    )


def test_models_are_named_by_what_they_are():
    labels = short_run(SBTM(ClosedFormScore(d=2))).labels
    assert labels == {"problem": "bkw_2d", "method": "sbtm", "score": "ClosedFormScore"}
    assert short_run(Blob()).labels["score"] is None
    problem = VFPGaussian()
    labels = Simulation(problem, KineticJKO(AffineControl(PhaseEmbedding(problem.d_x, problem.d))), particles=10).labels
    assert (labels["score"], labels["control"]) == (None, "AffineControl")
    given = short_run(Blob(), labels={"method": "mine", "score": "none"}).labels
    assert given == {"problem": "bkw_2d", "method": "mine", "score": "none"}


def test_infinite_numbers_have_no_place_in_json():
    class Bounds(Observer):
        def summary(self, run):
            return {"bound": math.inf, "nothing": math.nan, "finite": 2.0}

    summary = short_run(Blob(), t_end=0.02, observers=[Bounds()]).run().summary
    assert (summary["bound"], summary["nothing"], summary["finite"]) == (None, None, 2.0)


def test_what_a_summary_leaves_out():
    columns = ["step", "t", "kl", "cov_1_1", "cov_2_10", "cov_trace", "cov_frobenius_error", "wall_seconds"]
    assert left_out(columns) == {"step", "t", "cov_1_1", "cov_2_10", "cov_trace", "wall_seconds"}
