"""The ingredients of a learned flow's error bound, on flows for which all of them are known."""

from __future__ import annotations

import math

import pytest
import torch

from graphlandau.diagnostics.certificates import certify_flow
from graphlandau.nn import FlowMap, LandauDrift, TimeField, TimeScore
from graphlandau.problems import BKW, Truncated


class Field(TimeField):
    """A field given as a function; the parameter fixes dtype and device."""

    def __init__(self, d, function):
        super().__init__()
        self.d, self.function = d, function
        self.like = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))

    def forward(self, v, t):
        return self.function(v, t)


def pair(problem, flow, score):
    interval = (problem.d, problem.t_start, problem.t_end)
    return FlowMap(Field(problem.d, flow), *interval), TimeScore(Field(problem.d, score), *interval, base="none")


def exact_score(problem):
    """The score of BKW as a field of velocity and share of the time, differentiable."""

    def score(v, tau):
        t = problem.t_start + (problem.t_end - problem.t_start) * tau
        K = 1 - problem._c * torch.exp(-problem._rate * t)
        d = problem.d
        P, Q = ((d + 2) * K - d) / (2 * K), (1 - K) / (2 * K**2)
        r2 = v.square().sum(-1)
        return ((2 * Q / (P + Q * r2) - 1 / K)[..., None]) * v

    return score


def test_a_flow_at_rest():
    """Phi = v0 with the score of the start: no excess, the residual is the drift, the error the distance moved."""
    problem = BKW(d=2, t_start=1.0, t_end=3.0)
    start = exact_score(problem)
    flow, score = pair(problem, lambda v, t: torch.zeros_like(v) + 0 * t[..., None], lambda v, t: start(v, 0 * t))
    found = certify_flow(flow, score, problem, particles=500, times=5)
    v0 = problem.sample(500, generator=torch.Generator().manual_seed(0))
    drift = LandauDrift(0.0, problem.strength)(v0, problem.score(v0))
    physics = float(drift.square().sum(1).mean())
    for row in found.rows:
        assert row["score_excess"] < 1e-20
        assert row["physics"] == pytest.approx(physics, rel=1e-10)
        distance = (problem.characteristics(v0, row["t"]) - v0).square().sum(1).mean()
        assert row["error"] == pytest.approx(float(distance), rel=1e-10, abs=1e-25)
        assert row["energy_drift"] == pytest.approx(0, abs=1e-12)
    assert found.physics == pytest.approx(2.0 * physics, rel=1e-10)
    assert found.error == found.rows[-1]["error"]
    assert found.sampling == 500**-0.5
    assert found.constant == pytest.approx(found.error / (found.physics + found.sampling), rel=1e-9)


def test_the_exact_flow_of_a_scaled_score():
    """Phi = (1 + a tau) v0 pushes the score to s0 / (1 + a tau): a score wrong by 1 + b has excess b^2 <|sigma|^2>."""
    problem, a, b = BKW(d=3, t_start=5.8, t_end=6.2), 0.3, 0.1
    start = exact_score(problem)

    def pushed(v, tau):
        grown = 1 + a * tau[..., None]
        return (1 + b) * start(v / grown, 0 * tau) / grown

    flow, score = pair(problem, lambda v, t: a * v + 0 * t[..., None], pushed)
    found = certify_flow(flow, score, problem, particles=300, times=3)
    v0 = problem.sample(300, generator=torch.Generator().manual_seed(0))
    for row, grown in zip(found.rows, (1.0, 1.15, 1.3), strict=True):
        assert row["tracked_fisher"] == pytest.approx(b**2, rel=1e-9)
        want = b**2 * float((problem.score(v0) / grown).square().sum(1).mean())
        assert row["score_excess"] == pytest.approx(want, rel=1e-9)
        assert row["energy_drift"] == pytest.approx(grown**2 - 1, rel=1e-9, abs=1e-12)


def test_excess_is_that_of_the_implicit_loss():
    """Hyvarinen: implicit loss = -<|sigma|^2> + excess, on a sample up to its noise."""
    problem = BKW(d=2, t_start=2.0, t_end=3.0)
    start = exact_score(problem)
    flow, score = pair(
        problem, lambda v, t: 0.2 * v * torch.exp(-v.square().sum(-1, keepdim=True)) + 0 * t[..., None], start
    )
    n = 40_000
    found = certify_flow(flow, score, problem, particles=n, times=2)
    row = found.rows[-1]
    fisher = row["score_excess"] / row["tracked_fisher"]
    # Both sides are means over n particles of terms of order ten: a few times 10 / sqrt(n).
    assert abs(row["implicit"] - (row["score_excess"] - fisher)) < 40 / math.sqrt(n)
    assert row["score_excess"] > 0.05  # a wrong sign would be seen


def test_what_is_unknown_is_none_and_what_cannot_be_is_refused():
    """No pointwise score, no exact solution: no excess, no error. A folded flow has no density."""
    problem = Truncated()
    flow, score = pair(problem, lambda v, t: 0 * v + 0 * t[..., None], lambda v, t: -v + 0 * t[..., None])
    found = certify_flow(flow, score, problem, particles=50, times=2)
    assert found.score is None
    assert found.constant is None
    assert found.error is None
    assert found.physics >= 0
    problem = BKW(d=2)
    folding, score = pair(problem, lambda v, t: v * torch.tensor([-2.0, 0.0]) + 0 * t[..., None], exact_score(problem))
    with pytest.raises(ArithmeticError, match="det J <= 0 for 50 of 50 particles"):
        certify_flow(folding, score, problem, particles=50, times=2)
    with pytest.raises(ValueError, match=r"'problem' must have d = 2, that of the flow \(got bkw_3d with 3\)"):
        certify_flow(folding, score, BKW(d=3))
    with pytest.raises(ValueError, match="'times' must be"):
        certify_flow(folding, score, problem, times=1)
