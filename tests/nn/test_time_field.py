"""Fields of velocity and time: their derivatives, and what a network of the user's must be."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from graphlandau.nn import MLPScore, TimeField, TimeMLP, as_time_field

# Velocities and times that broadcast against each other: (*, d) and (*).
SHAPES = [
    ((3, 5, 2), (3, 1)),
    ((3, 5, 2), (5,)),
    ((3, 5, 2), ()),
    ((5, 2), (5,)),
    ((5, 2), (1,)),
    ((5, 2), ()),
    ((5, 2), (3, 1)),
    ((5, 2), (2, 1)),  # as many times as dimensions
    ((2,), ()),
]
MIXING = torch.tensor([[0.8, -0.3], [0.5, 0.6]], dtype=torch.float64)


def inputs(shape, times):
    generator = torch.Generator().manual_seed(0)
    v = torch.randn(shape, generator=generator, dtype=torch.float64)
    return v, torch.rand(times, generator=generator, dtype=torch.float64)


class Wave(TimeField):
    """tanh(M v) cos t + t^2 v, whose derivatives are known."""

    d = 2

    def forward(self, v, t):
        return torch.tanh(v @ MIXING.T) * torch.cos(t)[..., None] + t[..., None] ** 2 * v


class Perceptron(nn.Module):
    """A user's own network: velocities (N, 2) and times (N,), nothing else."""

    def __init__(self, d=2, width=6):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(d + 1, width), nn.Tanh(), nn.Linear(width, d))

    def forward(self, v, t):
        assert v.dim() == 2
        assert t.shape == v.shape[:1]
        return self.net(torch.cat([v, t[:, None]], dim=1))


@pytest.mark.parametrize(("shape", "times"), SHAPES)
def test_derivatives_of_a_field_that_is_only_a_formula(shape, times):
    v, t = inputs(shape, times)
    slope = 1 - torch.tanh(v @ MIXING.T) ** 2
    cos, sin, square = torch.cos(t)[..., None, None], torch.sin(t)[..., None], (t**2)[..., None, None]
    value, jacobian = Wave().value_and_jacobian(v, t)
    torch.testing.assert_close(value, Wave()(v, t))
    expected = slope[..., :, None] * MIXING * cos + square * torch.eye(2, dtype=v.dtype)
    torch.testing.assert_close(jacobian, expected)
    value, rate = Wave().value_and_rate(v, t)
    torch.testing.assert_close(value, Wave()(v, t))
    torch.testing.assert_close(rate, -torch.tanh(v @ MIXING.T) * sin + 2 * t[..., None] * v)


@pytest.mark.parametrize(("shape", "times"), SHAPES)
def test_a_plain_network_is_a_field(shape, times):
    """It is called with rows of velocities and times only, and its derivatives are those of single rows."""
    network = Perceptron().double()
    field = as_time_field(network, 2, "flow")
    v, t = inputs(shape, times)
    batch = torch.broadcast_shapes(v.shape[:-1], t.shape)
    rows, moments = v.expand(*batch, 2).reshape(-1, 2), t.expand(batch).reshape(-1)

    def single(x, at):
        return network(x[None], at[None])[0]

    torch.testing.assert_close(field(v, t), network(rows, moments).reshape(*batch, 2))
    value, jacobian = field.value_and_jacobian(v, t)
    torch.testing.assert_close(value, network(rows, moments).reshape(*batch, 2))
    expected = torch.func.vmap(torch.func.jacrev(single))(rows, moments)
    torch.testing.assert_close(jacobian, expected.reshape(*batch, 2, 2))
    value, rate = field.value_and_rate(v, t)
    torch.testing.assert_close(value, network(rows, moments).reshape(*batch, 2))
    expected = torch.func.vmap(torch.func.jacrev(single, argnums=1))(rows, moments)
    torch.testing.assert_close(rate, expected.reshape(*batch, 2))


def test_derivatives_can_be_trained_through():
    """The gradient of a mean squared divergence and rate in one weight, against central differences."""
    network = Perceptron().double()
    field = as_time_field(network, 2)
    v, t = inputs((4, 6, 2), (4, 1))
    weight = network.net[0].weight

    def loss():
        divergence = field.value_and_jacobian(v, t)[1].diagonal(dim1=-2, dim2=-1).sum(-1)
        return divergence.square().mean() + field.value_and_rate(v, t)[1].square().mean()

    (gradient,) = torch.autograd.grad(loss(), weight)
    h = 1e-6
    with torch.no_grad():
        weight[1, 2] += h
        up = loss()
        weight[1, 2] -= 2 * h
        down = loss()
    # Truncation h^2 and rounding 1e-16 / h are both below 1e-9.
    assert float(gradient[1, 2]) == pytest.approx(float((up - down) / (2 * h)), abs=1e-8)
    assert abs(float(gradient[1, 2])) > 1e-4


def test_a_field_is_taken_as_it_is():
    field = TimeMLP(3, width=4, depth=1)
    assert as_time_field(field, 3) is field


def test_trying_a_network_leaves_no_trace():
    class Remembers(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm1d(2)
            self.calls = 0

        def forward(self, v, t):
            self.calls += 1
            return self.norm(v) * t[:, None]

    network, state = Remembers(), torch.get_rng_state()
    as_time_field(network, 2)
    assert network.calls == 0
    assert network.training
    assert float(network.norm.running_mean.abs().max()) == 0
    assert torch.equal(torch.get_rng_state(), state)


class Of(nn.Module):
    """A network from a function."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, v, t):
        return self.function(v, t)


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (lambda v, t: v, r"'flow' must be a torch.nn.Module \(got function\)"),
        (TimeMLP(3), r"'flow' must have d = 2 \(got a TimeMLP with d = 3\)"),
        (
            MLPScore(2),
            r"'flow' must map velocities \(N, 2\) and times \(N,\) to \(N, 2\) \(got a MLPScore that failed on .*: ",
        ),
        (nn.Linear(2, 2), r"'flow' must map .*Linear that failed on"),
        (
            Of(lambda v, t: v[:, :1]),
            r"'flow' must map .*Of that failed on .*: it returned \(24, 1\) for velocities \(24, 2\)\)",
        ),
        (
            Of(lambda v, t: (v, t)),
            r"'flow' must map .*Of that failed on .*: it returned tuple for velocities \(24, 2\)\)",
        ),
        (Of(lambda v, t: v / 0), r"'flow' must return finite values"),
        (Of(lambda v, t: v + torch.rand_like(v)), "'flow' must be a function of its arguments .*is it random"),
        (Of(lambda v, t: v - v.mean(0)), r"'flow' must act on each particle alone \(got a Of that changes"),
    ],
    ids=lambda x: "" if isinstance(x, str) else None,
)
def test_refuses_what_is_no_field(module, message):
    with pytest.raises(ValueError, match=message) as caught:
        as_time_field(module, 2, "flow")
    assert "\n" not in str(caught.value)


class OwnField(TimeField):
    """A field of one's own, given as a function."""

    d = 2

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, v, t):
        return self.function(v, t)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (
            lambda v, t: v[..., :1] + t[..., None],
            r"to \(3, 8, 2\) \(got a OwnField that returned \(3, 8, 1\) float32 for ",
        ),
        (
            lambda v, t: v * t.expand(v.shape[:-1])[..., None],
            r"times \(3, 1\) to \(3, 8, 2\) \(got a OwnField that failed on .*: ",
        ),
        (lambda v, t: v - v.mean(-2, keepdim=True) + t[..., None], "'score' must act on each particle alone"),
    ],
)
def test_fields_of_ones_own_are_tried_too(function, message):
    with pytest.raises(ValueError, match=message):
        as_time_field(OwnField(function), 2)
    held = OwnField(lambda v, t: v * torch.exp(-t)[..., None])
    assert as_time_field(held, 2) is held
