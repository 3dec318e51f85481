"""The score at all times: its Maxwellian, its derivatives, its units, and the score model of one time."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from graphlandau.nn import ScoreModel, TimeField, TimeMLP, TimeScore, as_score_model
from graphlandau.problems import Gaussian

BASES = pytest.mark.parametrize("base", ["maxwellian", "none"])


def some_velocities(n=30, d=2):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def some_score(d=2, t_start=1.5, t_end=4.0, base="maxwellian"):
    """A score with weights away from the Maxwellian's."""
    network = TimeMLP(d, 6, 1, 4, 1, 8, 2, "tanh").double()
    nn.init.normal_(network.last.weight)
    return TimeScore(network, d, t_start, t_end, base=base)


class Zero(TimeField):
    """No departure from the base."""

    def __init__(self, d):
        super().__init__()
        self.d = d

    def forward(self, v, t):
        return torch.zeros_like(v) + 0 * t[..., None]


@pytest.mark.parametrize("d", [2, 3])
def test_a_network_of_zero_is_the_maxwellian_of_the_plasma(d):
    mean, temperature = torch.linspace(-1.0, 2.0, d, dtype=torch.float64), 2.5
    maxwellian = Gaussian(mean, temperature * torch.eye(d, dtype=torch.float64))
    score = TimeScore(Zero(d), d, 0.0, 3.0)
    score.condition(mean, temperature)
    v = mean + 3 * some_velocities(d=d)
    for t in (0.0, 1.7, 3.0):
        model = score.at(t)
        torch.testing.assert_close(model(v), maxwellian.score(v))
        torch.testing.assert_close(model.divergence(v), torch.full((30,), -d / temperature, dtype=v.dtype))
    without = TimeScore(Zero(d), d, 0.0, 3.0, base="none")
    without.condition(mean, temperature)
    assert float(without.at(1.0)(v).abs().max()) == 0


@BASES
def test_the_score_is_the_formula(base):
    """x = (v - m) / sigma and tau from 0 to 1: (g(x, tau) - x) / sigma, without -x in the paper's form."""
    score = some_score(base=base)
    mean = torch.tensor([1.0, -2.0], dtype=torch.float64)
    score.condition(mean, 4.0)
    v, t = some_velocities(), torch.linspace(1.5, 4.0, 30, dtype=torch.float64)
    x = (v - mean) / 2
    g = score.network(x, (t - 1.5) / 2.5)
    torch.testing.assert_close(score(v, t), (g - x if base == "maxwellian" else g) / 2)


@BASES
@pytest.mark.parametrize("times", [(), (30,), (3, 1)])
def test_derivatives_are_those_of_single_particles(base, times):
    score, v = some_score(base=base), some_velocities()
    score.condition(torch.tensor([0.3, 0.1], dtype=torch.float64), 2.0)
    t = 1.5 + 2.5 * torch.rand(times, dtype=torch.float64)
    batch = torch.broadcast_shapes((30,), t.shape)
    rows, moments = v.expand(*batch, 2).reshape(-1, 2), t.expand(batch).reshape(-1)
    expected = torch.func.vmap(torch.func.jacrev(score))(rows, moments).reshape(*batch, 2, 2)
    s, jacobian = score.value_and_jacobian(v, t)
    torch.testing.assert_close(s, score(v, t))
    torch.testing.assert_close(jacobian, expected)
    s, divergence = score.value_and_divergence(v, t)
    torch.testing.assert_close(s, score(v, t))
    torch.testing.assert_close(divergence, expected[..., 0, 0] + expected[..., 1, 1])


@BASES
def test_the_score_model_of_one_time_is_the_field(base):
    score, v = some_score(base=base), some_velocities()
    for t in (1.5, 2.75, 4.0):
        model, at = score.at(t), torch.full((30,), t, dtype=torch.float64)
        assert isinstance(model, ScoreModel)
        assert (model.d, model.pointwise) == (2, True)
        assert as_score_model(model, 2) is model
        torch.testing.assert_close(model(v), score(v, at))
        torch.testing.assert_close(model.value_and_jacobian(v), score.value_and_jacobian(v, at))
        torch.testing.assert_close(model.divergence(v), score.value_and_divergence(v, at)[1])
        # What a score model without a formula of its own would do.
        torch.testing.assert_close(ScoreModel.value_and_jacobian(model, v), score.value_and_jacobian(v, at))


def test_the_score_model_of_one_time_shares_the_weights():
    score, v = some_score(), some_velocities()
    model = score.at(2.0)
    before = model(v)
    with torch.no_grad():
        score.network.last.bias += 1.0
    torch.testing.assert_close(model(v), before + 1.0)


@BASES
@pytest.mark.parametrize("d", [2, 3])
def test_the_score_does_not_know_its_units(base, d):
    """A score is one over a velocity: at m + sigma x it is 1 / sigma of that at x, its Jacobian 1 / sigma^2."""
    score, x = some_score(d, base=base), some_velocities(d=d)
    mean = torch.linspace(-3.0, 5.0, d, dtype=torch.float64)
    moved = TimeScore(score.network, d, 10.0, 10.0 + 4 * 2.5, base=base)
    moved.condition(mean, 49.0)
    t, later = torch.full((30,), 2.1, dtype=torch.float64), torch.full((30,), 10 + 4 * 0.6, dtype=torch.float64)
    torch.testing.assert_close(moved(mean + 7 * x, later), score(x, t) / 7)
    (s, divergence), (_, before) = moved.value_and_divergence(mean + 7 * x, later), score.value_and_divergence(x, t)
    torch.testing.assert_close(s, score(x, t) / 7)
    torch.testing.assert_close(divergence, before / 49)


@pytest.mark.parametrize("t", [1.4, 4.1, -1.0])
def test_refuses_times_outside(t):
    with pytest.raises(ValueError, match=r"'t' must be in \[1.5, 4\], the times the score was built for"):
        some_score().at(t)


def test_refuses_what_is_no_time():
    with pytest.raises(ValueError, match="'t' must be a finite number"):
        some_score().at(float("nan"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"d": 1}, "'d' must be an integer >= 2"),
        ({"t_end": -1.0}, r"'t_end' must be after t_start = 0 \(got -1\)"),
        ({"base": "gaussian"}, "'base' must be one of maxwellian, none"),
        ({"network": TimeMLP(3)}, "'score' must have d = 2"),
        ({"network": nn.Linear(2, 2)}, "'score' must map velocities"),
    ],
)
def test_refuses_options(options, message):
    with pytest.raises(ValueError, match=message):
        TimeScore(**{"network": TimeMLP(2), "d": 2, "t_start": 0.0, "t_end": 1.0} | options)


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("inf")])
def test_refuses_temperatures(temperature):
    with pytest.raises(ValueError, match="'temperature' must be positive"):
        some_score().condition(torch.zeros(2), temperature)
