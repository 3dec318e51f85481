"""The flow map: where particles start, how fast they move, how it maps volume, and in which units."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from graphlandau.nn import FlowMap, TimeField, TimeMLP

INITIALS = pytest.mark.parametrize("initial", ["exact", "penalty"])


def some_velocities(n=40, d=2, dtype=torch.float64):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(dtype)


def some_flow(d=2, t_start=1.5, t_end=4.0, initial="exact", size=1.0):
    """A flow with weights that bend it by about ``size``."""
    network = TimeMLP(d, 6, 1, 4, 1, 8, 2).double()
    with torch.no_grad():
        for p in network.parameters():
            p.copy_(size * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel()), dtype=p.dtype))
    return FlowMap(network, d, t_start, t_end, initial=initial)


class Field(TimeField):
    """A field from a formula."""

    def __init__(self, function, d=2):
        super().__init__()
        self.d, self.function = d, function

    def forward(self, v, t):
        return self.function(v, t)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    size=st.floats(0.01, 100.0),
    t_start=st.floats(-20.0, 20.0),
    length=st.floats(0.01, 50.0),
    temperature=st.floats(1e-3, 1e3),
    d=st.integers(2, 4),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_particles_start_where_they_start(seed, size, t_start, length, temperature, d, dtype):
    """To the last bit, whatever the weights, the interval and the units; there the Jacobian is the identity."""
    torch.manual_seed(seed)
    network = TimeMLP(d, 4, 1, 4, 1, 4, 1)
    for p in network.parameters():
        p.data.normal_(0.0, size)
    flow = FlowMap(network, d, t_start, t_start + length).to(dtype)
    flow.condition(torch.randn(d), temperature)
    v0 = temperature**0.5 * torch.randn(9, d, dtype=dtype)
    assert torch.equal(flow.at(v0, t_start), v0)
    moments = torch.full((9,), t_start, dtype=dtype)
    assert torch.equal(flow(v0, moments), v0)
    assert torch.equal(flow.value_and_rate(v0, moments)[0], v0)
    value, jacobian = flow.value_and_jacobian(v0, moments)
    assert torch.equal(value, v0)
    assert torch.equal(jacobian, torch.eye(d, dtype=dtype).expand(9, d, d))
    assert torch.equal(flow.at_with_log_det(v0, t_start)[1], torch.zeros(9, dtype=dtype))


def test_with_a_penalty_the_start_is_the_networks():
    flow, v0 = some_flow(initial="penalty"), some_velocities()
    mean = torch.tensor([0.5, -1.0], dtype=torch.float64)
    flow.condition(mean, 4.0)
    expected = mean + 2.0 * flow.network((v0 - mean) / 2.0, torch.zeros(40, dtype=torch.float64))
    torch.testing.assert_close(flow.at(v0, 1.5), expected)
    assert not torch.allclose(flow.at(v0, 1.5), v0, atol=0.1)


@INITIALS
def test_the_map_is_the_formula(initial):
    """tau runs from 0 to 1 over the interval, velocities are in thermal speeds about the mean."""
    flow = FlowMap(Field(lambda x, tau: x**2 * tau[..., None] + 1), 2, 2.0, 6.0, initial=initial)
    mean = torch.tensor([1.0, -2.0], dtype=torch.float64)
    flow.condition(mean, 9.0)
    v0 = some_velocities()
    g = ((v0 - mean) / 3) ** 2 * 0.75 + 1
    expected = v0 + 0.75 * 3 * g if initial == "exact" else mean + 3 * g
    torch.testing.assert_close(flow.at(v0, 5.0), expected)


@INITIALS
@pytest.mark.parametrize("times", [(), (40,), (3, 1)])
def test_the_rate_is_the_time_derivative(initial, times):
    """Central differences: truncation h^2 = 1e-10, rounding 1e-16 / h = 1e-11, of rates of order 1 to 10."""
    flow, v0, h = some_flow(initial=initial), some_velocities(), 1e-5
    t = 1.6 + 2.3 * torch.rand(times, dtype=torch.float64)
    value, rate = flow.value_and_rate(v0, t)
    torch.testing.assert_close(value, flow(v0, t))
    difference = (flow(v0, t + h) - flow(v0, t - h)) / (2 * h)
    assert float(rate.detach().abs().max()) > 0.5
    torch.testing.assert_close(rate, difference, atol=1e-7, rtol=1e-7)


@INITIALS
@pytest.mark.parametrize("times", [(), (40,), (3, 1)])
def test_the_jacobian_is_that_of_one_particle(initial, times):
    flow, v0 = some_flow(initial=initial), some_velocities()
    flow.condition(torch.tensor([0.3, 0.1], dtype=torch.float64), 2.0)
    t = 1.5 + 2.5 * torch.rand(times, dtype=torch.float64)
    batch = torch.broadcast_shapes((40,), t.shape)
    rows, moments = v0.expand(*batch, 2).reshape(-1, 2), t.expand(batch).reshape(-1)
    value, jacobian = flow.value_and_jacobian(v0, t)
    expected = torch.func.vmap(torch.func.jacrev(flow))(rows, moments).reshape(*batch, 2, 2)
    torch.testing.assert_close(value, flow(v0, t))
    torch.testing.assert_close(jacobian, expected)


@INITIALS
@pytest.mark.parametrize("d", [2, 3])
def test_volume_is_the_determinant_of_the_jacobian(initial, d):
    flow, v0 = some_flow(d, initial=initial, size=0.3), some_velocities(d=d)
    v, log_det = flow.at_with_log_det(v0, 3.3)
    t = torch.tensor(3.3, dtype=torch.float64)
    jacobian = torch.func.vmap(torch.func.jacrev(lambda x: flow(x, t)))(v0)
    sign, expected = torch.linalg.slogdet(jacobian)
    torch.testing.assert_close(v, flow.at(v0, 3.3))
    torch.testing.assert_close(log_det[sign > 0], expected[sign > 0])
    assert bool(torch.isnan(log_det[sign < 0]).all())
    if initial == "exact":  # a small bend of the identity folds nowhere
        assert bool((sign > 0).all())
        assert float(log_det.abs().max()) > 1e-3


def test_only_the_folded_particles_have_no_volume():
    """v1 - tau v1^2 is folded where 2 tau v1 > 1, else its determinant is 1 - 2 tau v1."""
    flow = FlowMap(
        Field(lambda x, tau: -(x**2) * torch.tensor([1.0, 0.0], dtype=x.dtype) + 0 * tau[..., None]), 2, 0.0, 1.0
    )
    v0 = some_velocities()
    for tau in (0.25, 1.0):
        log_det = flow.at_with_log_det(v0, tau)[1]
        determinant = 1 - 2 * tau * v0[:, 0]
        assert bool((determinant < 0).any())
        assert torch.equal(torch.isnan(log_det), determinant < 0)
        torch.testing.assert_close(log_det.nan_to_num(0.0).exp(), determinant.where(determinant > 0, 1.0))


def test_particles_pass_in_chunks(monkeypatch):
    """One by one, in sevens or at once: matrix products of other sizes differ by rounding only."""
    flow, v0 = some_flow(size=0.5), some_velocities(40)
    at_once, with_volume = flow.at(v0, 2.2), flow.at_with_log_det(v0, 2.2)
    for chunk in (1, 7, 40):
        monkeypatch.setattr("graphlandau.nn.flow.CHUNK", chunk)
        torch.testing.assert_close(flow.at(v0, 2.2), at_once, atol=1e-14, rtol=1e-14)
        for part, whole in zip(flow.at_with_log_det(v0, 2.2), with_volume, strict=True):
            torch.testing.assert_close(part, whole, atol=1e-13, rtol=1e-13, equal_nan=True)
    assert not flow.at(v0, 2.2).requires_grad


@INITIALS
@pytest.mark.parametrize("d", [2, 3])
def test_the_map_does_not_know_its_units(initial, d):
    """Seen from a frame at -m, in velocities sigma times larger and other times: the same motion, Jacobian, volume."""
    flow, x = some_flow(d, initial=initial, size=0.5), some_velocities(d=d)
    mean = torch.linspace(-3.0, 5.0, d, dtype=torch.float64)
    moved = FlowMap(flow.network, d, 10.0, 10.0 + 4 * 2.5, initial=initial)
    moved.condition(mean, 49.0)
    t, later = torch.tensor(2.1, dtype=torch.float64), torch.tensor(10 + 4 * 0.6, dtype=torch.float64)
    v0 = mean + 7 * x
    torch.testing.assert_close(moved(v0, later), mean + 7 * flow(x, t))
    torch.testing.assert_close(moved.value_and_jacobian(v0, later)[1], flow.value_and_jacobian(x, t)[1])
    times = t.expand(40)
    torch.testing.assert_close(moved.value_and_rate(v0, later.expand(40))[1], 7 / 4 * flow.value_and_rate(x, times)[1])
    torch.testing.assert_close(
        moved.at_with_log_det(v0, float(later))[1], flow.at_with_log_det(x, float(t))[1], equal_nan=True
    )


def test_mean_and_temperature_are_saved_with_the_weights():
    flow = some_flow()
    flow.condition(torch.tensor([0.3, 0.1], dtype=torch.float64), 2.0)
    again = some_flow(size=2.0)
    again.load_state_dict(flow.state_dict())
    v0 = some_velocities()
    assert torch.equal(again.at(v0, 3.0), flow.at(v0, 3.0))


def test_a_last_time_missed_by_rounding_is_the_last_time():
    """Ten thousand steps of 0.1 are not 1000 to the last bit."""
    flow, v0 = some_flow(t_start=0.0, t_end=1000.0), some_velocities()
    summed = sum([0.1] * 10_000)
    assert summed > 1000
    torch.testing.assert_close(flow.at(v0, summed), flow.at(v0, 1000.0))


@pytest.mark.parametrize("t", [1.4, 4.1, -1.0, 1e9])
def test_refuses_times_outside(t):
    for query in (some_flow().at, some_flow().at_with_log_det):
        with pytest.raises(ValueError, match=r"'t' must be in \[1.5, 4\], the times the flow was built for"):
            query(some_velocities(), t)


def test_refuses_what_is_no_time_or_no_velocity():
    flow = some_flow()
    for t in (float("nan"), float("inf"), "2"):
        with pytest.raises(ValueError, match="'t' must be a finite number"):
            flow.at(some_velocities(), t)
    for v0 in (some_velocities(d=3), some_velocities()[0], some_velocities()[None]):
        with pytest.raises(ValueError, match=r"'v0' must have shape \(N, "):
            flow.at(v0, 2.0)
    with pytest.raises(ValueError, match="'v0' must be finite"):
        flow.at(some_velocities() / 0, 2.0)
    with pytest.raises(ValueError, match=r"'v0' must be float32 or float64 \(got torch.int64\)"):
        flow.at(torch.ones(3, 2, dtype=torch.int64), 2.0)


def test_answers_in_the_precision_of_the_question():
    """Samples of a problem are double, networks mostly single."""
    flow, v0 = some_flow().float(), some_velocities()
    for query in (flow.at, lambda v, t: flow.at_with_log_det(v, t)[1]):
        answer = query(v0, 2.0)
        assert answer.dtype == torch.float64
        torch.testing.assert_close(answer.float(), query(v0.float(), 2.0))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"d": 1}, "'d' must be an integer >= 2"),
        ({"t_end": 0.0}, r"'t_end' must be after t_start = 0 \(got 0\)"),
        ({"t_start": float("nan")}, "'t_start' must be a finite number"),
        ({"initial": "soft"}, "'initial' must be one of exact, penalty"),
        ({"network": TimeMLP(3)}, "'flow' must have d = 2"),
        ({"network": nn.Linear(2, 2)}, "'flow' must map velocities"),
    ],
)
def test_refuses_options(options, message):
    with pytest.raises(ValueError, match=message):
        FlowMap(**{"network": TimeMLP(2), "d": 2, "t_start": 0.0, "t_end": 1.0} | options)


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
def test_refuses_temperatures(temperature):
    with pytest.raises(ValueError, match="'temperature' must be positive"):
        some_flow().condition(torch.zeros(2), temperature)
