"""The perceptron of velocity and time: what it computes, and its derivatives in one pass."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from graphlandau.nn import TimeField, TimeMLP

# Velocities and times that broadcast against each other: (*, d) and (*).
SHAPES = [
    ((3, 5), (3, 1)),
    ((3, 5), (5,)),
    ((3, 5), ()),
    ((5,), (5,)),
    ((5,), (1,)),
    ((5,), ()),
    ((5,), (4, 1)),
    ((5,), (3, 1)),  # with d = 3: as many times as dimensions
    ((), ()),
]
ACTIVATIONS = {"silu": nn.SiLU(), "softsign": nn.Softsign(), "tanh": nn.Tanh()}


def inputs(shape, times, d):
    generator = torch.Generator().manual_seed(0)
    v = torch.randn(*shape, d, generator=generator, dtype=torch.float64)
    return v, torch.rand(times, generator=generator, dtype=torch.float64)


def network(d=2, activation="silu", **sizes):
    """Small, and away from its untrained state, in which it is zero."""
    small = {"velocity_width": 5, "velocity_depth": 2, "time_width": 4, "time_depth": 2, "width": 6, "depth": 3}
    net = TimeMLP(d, **small | sizes, activation=activation).double()
    nn.init.normal_(net.last.weight)
    nn.init.normal_(net.last.bias)
    return net


@pytest.mark.parametrize("d", [2, 3])
def test_an_untrained_network_is_zero(d):
    """A flow at rest and a Maxwellian score, to the last bit; but it can be trained: its last layer has a gradient."""
    net, (v, t) = TimeMLP(d), inputs((4, 50), (4, 1), d)
    assert float(net(v.float(), t.float()).detach().abs().max()) == 0
    value, jacobian = net.double().value_and_jacobian(v, t)
    assert float(jacobian.detach().abs().max()) == 0
    (slope,) = torch.autograd.grad((value - v).square().mean(), net.last.weight)
    assert float(slope.norm()) > 1e-3


@pytest.mark.parametrize("activation", list(ACTIVATIONS))
def test_it_is_two_embeddings_joined(activation):
    """The perceptron written out, with one first matrix for the joined embeddings."""
    net, act = network(3, activation), ACTIVATIONS[activation]
    v, t = inputs((7,), (7,), 3)

    def layers(modules, x):
        for layer in modules:
            x = act(layer(x))
        return x

    joined = torch.cat([layers(net.velocity, v), layers(net.time, t[:, None])], dim=1)
    matrix = torch.cat([net.from_velocity.weight, net.from_time.weight], dim=1)
    expected = net.last(layers(net.hidden, act(joined @ matrix.T + net.from_velocity.bias)))
    torch.testing.assert_close(net(v, t), expected)


@pytest.mark.parametrize(("velocity_depth", "time_depth", "depth"), [(2, 1, 4), (1, 1, 1), (2, 3, 2)])
def test_the_sizes_are_those_asked_for(velocity_depth, time_depth, depth):
    """Number of weights: of each embedding, of the first layer on both, of depth - 1 more, of the output."""
    net = TimeMLP(2, 7, velocity_depth, 5, time_depth, 11, depth)
    velocity = (2 * 7 + 7) + (velocity_depth - 1) * (7 * 7 + 7)
    time = (1 * 5 + 5) + (time_depth - 1) * (5 * 5 + 5)
    hidden = ((7 + 5) * 11 + 11) + (depth - 1) * (11 * 11 + 11)
    assert sum(p.numel() for p in net.parameters()) == velocity + time + hidden + (11 * 2 + 2)
    again = TimeMLP(**net.arguments)
    again.load_state_dict(net.state_dict())
    v, t = torch.ones(3, 2), torch.ones(3)
    assert torch.equal(again(v, t), net(v, t))


@pytest.mark.parametrize(("shape", "times"), SHAPES)
@pytest.mark.parametrize("activation", list(ACTIVATIONS))
@pytest.mark.parametrize("d", [2, 3])
def test_derivatives_are_those_of_single_particles(d, activation, shape, times):
    """Reverse mode of one velocity and one time at a time: rounding of some thirty operations, 1e-13."""
    net = network(d, activation)
    v, t = inputs(shape, times, d)
    batch = torch.broadcast_shapes(v.shape[:-1], t.shape)
    rows, moments = v.expand(*batch, d).reshape(-1, d), t.expand(batch).reshape(-1)

    def both(argument, *trailing):
        expected = torch.func.vmap(torch.func.jacrev(net, argnums=argument))(rows, moments)
        return net(v, t), expected.reshape(*batch, *trailing)

    jacobian, rate = both(0, d, d), both(1, d)
    torch.testing.assert_close(net.value_and_jacobian(v, t), jacobian, atol=1e-13, rtol=1e-13)
    torch.testing.assert_close(net.value_and_rate(v, t), rate, atol=1e-13, rtol=1e-13)
    # And what every field without a formula of its own does.
    torch.testing.assert_close(TimeField.value_and_jacobian(net, v, t), jacobian, atol=1e-13, rtol=1e-13)
    torch.testing.assert_close(TimeField.value_and_rate(net, v, t), rate, atol=1e-13, rtol=1e-13)


@pytest.mark.parametrize("activation", list(ACTIVATIONS))
def test_losses_of_derivatives_can_be_trained(activation):
    """The gradient of a divergence and of a rate in all weights, against finite differences."""
    net = network(2, activation, velocity_width=3, velocity_depth=1, time_width=2, time_depth=1, width=3, depth=2)
    v, t = inputs((2, 3), (2, 1), 2)
    names, weights = zip(*net.named_parameters(), strict=True)

    class Loss(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net

        def forward(self):
            divergence = self.net.value_and_jacobian(v, t)[1].diagonal(dim1=-2, dim2=-1).sum(-1)
            return divergence.mean(), self.net.value_and_rate(v, t)[1].square().mean()

    def loss(*values):
        return torch.func.functional_call(Loss(), dict(zip((f"net.{n}" for n in names), values, strict=True)), ())

    assert torch.autograd.gradcheck(loss, weights)


def test_the_divergence_can_be_differentiated_in_the_velocity():
    """What moves the flow where its particles feel the loss of the score; against finite differences."""
    net = network(2, "tanh")
    v, t = inputs((2, 3), (2, 1), 2)
    assert torch.autograd.gradcheck(lambda x: net.value_and_jacobian(x, t)[1], v.requires_grad_())


@pytest.mark.parametrize(
    ("name", "value"),
    [("d", 0), ("velocity_width", 0), ("velocity_depth", 0), ("time_width", -1), ("time_depth", 0), ("width", 0.5),
     ("depth", True), ("activation", "relu")],
)  # fmt: skip
def test_refuses_sizes(name, value):
    with pytest.raises(ValueError, match=f"'{name}' must be"):
        TimeMLP(**{"d": 2, name: value})
