"""The evaluation protocols: what they measure, on methods for which it is known."""

from __future__ import annotations

import pytest
import torch

from graphlandau.methods import Blob
from graphlandau.nn import FlowMap, TimeField
from graphlandau.problems import BKW, BiMaxwellian
from graphlandau.run.observers.density_errors import ExactTransport
from graphlandau.run.protocols import density_protocol, transport_protocol


class Exact(ExactTransport):
    """Particles along the drift of the exact score."""

    def __init__(self, problem):
        super().__init__(problem, Blob())


class Radial(TimeField):
    """The exact characteristics of BKW as a field: (v_t - v_0) / share of the time."""

    d = 2

    def __init__(self, problem):
        super().__init__()
        self.problem = problem
        self.like = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))

    def forward(self, v, t):
        v = v.expand(*torch.broadcast_shapes(v.shape[:-1], t.shape), 2)
        moved = torch.zeros_like(v)
        for share in t.unique().tolist():
            if share:
                at = self.problem.t_start + (self.problem.t_end - self.problem.t_start) * share
                here = (t == share).expand(v.shape[:-1])
                moved[here] = (self.problem.characteristics(v[here], at) - v[here]) / share
        return moved


def test_transport_error_of_the_exact_score_is_that_of_the_sample():
    """Fourfold particles, a fourth of the squared error: the drift is a mean over particles."""
    problem = BKW(d=2)
    errors = {}
    for n in (250, 4000):
        runs = [
            transport_protocol(problem, Exact(problem), particles=n, seed=seed, dt=0.05, t_end=2.0, snapshots=3)[-1]
            for seed in range(6)
        ]
        errors[n] = sum(row["rel_trajectory_error"] for row in runs) / len(runs)
        # Rounding of single precision, squared.
        assert all(row["rel_fisher_divergence"] < 1e-12 for row in runs)
    # 16 in the mean; the mean of six squared errors scatters by some half.
    assert 5 < errors[250] / errors[4000] < 50


def test_all_methods_move_the_same_particles():
    """The first row is the same for all: energy of the same particles, nothing moved yet."""
    problem = BKW(d=2)
    first = [
        transport_protocol(problem, method, particles=300, dt=0.1, t_end=0.2, snapshots=2)[0]
        for method in (Blob(), Exact(problem))
    ]
    assert first[0]["energy"] == first[1]["energy"]
    assert first[0]["rel_trajectory_error"] < 1e-30


def test_density_of_the_exact_flow_is_at_the_floor():
    """Exact characteristics make exact samples: both errors are those of kernel and sample."""
    problem = BKW(d=2)
    flow = FlowMap(Radial(problem), 2, problem.t_start, problem.t_end)
    rows = density_protocol(problem, flow, [1.0, 5.0], samples=20_000)
    for row in rows:
        # Two samples of 20,000: the errors, mostly smoothing, differ by a few per cent.
        assert row["rel_l2_density"] == pytest.approx(row["rel_l2_density_fresh"], rel=0.15)
    still = FlowMap(Radial(problem), 2, problem.t_start, problem.t_end)
    still.network.forward = lambda v, t: torch.zeros_like(v)
    wrong = density_protocol(problem, still, [5.0], samples=20_000)[0]
    assert wrong["rel_l2_density"] > 2 * wrong["rel_l2_density_fresh"]


def test_density_protocol_refuses_an_unknown_density():
    """There is nothing to compare with."""
    problem = BKW(d=2)
    flow = FlowMap(Radial(problem), 2, problem.t_start, problem.t_end)
    with pytest.raises(ValueError, match="'problem' must have a known density and a grid"):
        density_protocol(BiMaxwellian(), flow, [1.0])
    with pytest.raises(ValueError, match=r"'t' must be in \[0, 5\]"):
        density_protocol(problem, flow, [5.5], samples=100)
