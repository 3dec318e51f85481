"""A stranger's network has its derivatives, in whichever mode its operations know."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.autograd.function import once_differentiable

from graphlandau import objectives
from graphlandau.base.errors import InvalidArgument
from graphlandau.base.state import particle_state
from graphlandau.nn.control import as_control_model
from graphlandau.nn.field import require_derivatives
from graphlandau.nn.score import ScoreModel, as_score_model


class Components(nn.Module):
    """Attention between the components of each velocity, by the layers of torch."""

    def __init__(self, layer):
        super().__init__()
        self.up, self.layer, self.down = nn.Linear(1, 8), layer, nn.Linear(8, 1)

    def forward(self, v):
        x = self.up(v[..., None])
        x = self.layer(x, x, x)[0] if isinstance(self.layer, nn.MultiheadAttention) else self.layer(x)
        return self.down(x)[..., 0]


class Particles(nn.Module):
    """Attention between the particles."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 9)

    def forward(self, v):
        q, k, x = self.layer(v).split(3, -1)
        return nn.functional.scaled_dot_product_attention(q[None, None], k[None, None], x[None, None])[0, 0]


class Cube(torch.autograd.Function):
    """Without forward mode."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, gradient):
        return 3 * ctx.saved_tensors[0] ** 2 * gradient


class Once(Cube):
    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        return 3 * ctx.saved_tensors[0] ** 2 * gradient


class Custom(nn.Module):
    def __init__(self, function=Cube, couples=False):
        super().__init__()
        self.layer, self.function, self.couples = nn.Linear(3, 3), function, couples

    def forward(self, v):
        s = self.function.apply(self.layer(v).tanh())
        return s - s.mean(0) if self.couples else s


MODULES = {
    "attention": lambda: Components(nn.MultiheadAttention(8, 2, batch_first=True)),
    "layer norm": lambda: Components(nn.LayerNorm(8)),
    "gated": lambda: Components(nn.Sequential(nn.Linear(8, 16), nn.GLU())),
    "encoder": lambda: Components(nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)),
    "attention of particles": Particles,
    "no forward mode": Custom,
    "no forward mode, coupled": lambda: Custom(couples=True),
}


def by_differences(model, v):
    """Each particle's own derivatives, by central differences."""
    h, blocks = 1e-6, torch.empty(*v.shape, v.size(1), dtype=v.dtype)
    for i in range(v.size(0)):
        for b in range(v.size(1)):
            step = torch.zeros_like(v)
            step[i, b] = h
            blocks[i, :, b] = (model(v + step) - model(v - step))[i] / (2 * h)
    return blocks


@pytest.mark.parametrize("name", MODULES)
def test_derivatives_of_a_stranger(name):
    model = as_score_model(MODULES[name]().double(), 3).eval()
    assert model.pointwise == ("particles" not in name and "coupled" not in name)
    v = torch.randn(11, 3, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(model.jacobian(v), by_differences(model, v), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize("objective", [objectives.implicit, objectives.hutchinson])
def test_the_objectives_of_a_stranger_can_be_trained(name, objective):
    model = as_score_model(MODULES[name]().double(), 3).train()
    state = particle_state(torch.randn(30, 3, dtype=torch.float64), t=0.0)

    def loss():
        more = {} if objective is objectives.implicit else {"generator": torch.Generator().manual_seed(2)}
        return objective(model, state, **more)

    loss().backward()
    parameter = next(p for p in model.parameters() if p.grad is not None and p.dim() > 1)
    slope, h = float(parameter.grad[0, 0]), 1e-6
    values = []
    for step in (h, -2 * h):
        with torch.no_grad():
            parameter[0, 0] += step
        values.append(float(loss()))
    assert slope == pytest.approx((values[0] - values[1]) / (2 * h), rel=1e-4, abs=1e-7)


def test_a_score_of_ones_own_with_layer_norm_is_trained_by_the_right_gradient():
    """Also where no method has tried it before."""

    class Normed(ScoreModel):
        d = 3

        def __init__(self):
            super().__init__()
            self.layers = nn.Sequential(nn.Linear(3, 8), nn.LayerNorm(8), nn.Tanh(), nn.Linear(8, 3))

        def forward(self, v):
            return self.layers(v)

    model, v = Normed().double(), torch.randn(20, 3, dtype=torch.float64)

    def loss():
        return objectives.implicit(model, particle_state(v, t=0.0))

    loss().backward()
    weight, h, values = model.layers[0].weight, 1e-6, []
    slope = float(weight.grad[2, 1])
    for step in (h, -2 * h):
        with torch.no_grad():
            weight[2, 1] += step
            values.append(float(loss()))
    assert slope == pytest.approx((values[0] - values[1]) / (2 * h), rel=1e-5)


def test_a_random_divergence_in_reverse_mode_has_the_same_mean():
    model = as_score_model(Custom(couples=True), 3)
    state = particle_state(torch.randn(40, 3), t=0.0)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        drawn = torch.stack([objectives.hutchinson(model, state, generator=generator) for _ in range(2000)])
        error = float(drawn.std()) / 2000**0.5
        assert float(drawn.mean() - objectives.implicit(model, state)) == pytest.approx(0.0, abs=4 * error)


def test_many_particles_are_trained_in_reverse_mode(monkeypatch):
    """A few at a time, each chunk computed twice."""
    monkeypatch.setattr("graphlandau.base.chunks.TRAINING_ROWS", 16)
    state = particle_state(torch.randn(50, 3, dtype=torch.float64), t=0.0)
    found = []
    for rows in (16, 1000):
        monkeypatch.setattr("graphlandau.base.chunks.TRAINING_ROWS", rows)
        torch.manual_seed(3)
        model = as_score_model(Custom().double(), 3)
        objectives.implicit(model, state).backward()
        found.append([p.grad for p in model.parameters()])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b)


def test_dropout_is_the_same_for_all_tangents():
    torch.manual_seed(1)
    network = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Dropout(0.5))
    model = as_score_model(network, 3).train()
    value, jacobian = model.value_and_jacobian(torch.ones(20, 3))
    # Linear in v: what is dropped is dropped from the value and from all of its derivatives.
    torch.testing.assert_close(value, jacobian.sum(-1))


def test_a_control_without_forward_mode():
    class Kick(nn.Module):
        def forward(self, x, v):
            return Cube.apply(v + x)

    control = as_control_model(Kick(), 1, 2)
    x, v = torch.randn(4, 1), torch.randn(4, 2)
    square = 3 * (v + x).square()
    wanted = torch.diag_embed(square)
    wanted[:, :, 0] += 0.5 * square
    torch.testing.assert_close(control.value_and_jacobian(x, v, 0.5)[1], wanted)


def test_refuses_derivatives_that_cannot_be_trained_through():
    model, v = as_score_model(Custom(Once), 3), torch.randn(5, 3)
    told = r"'score' must have derivatives in the velocities, in forward or in reverse mode \(got a Custom that failed"
    with pytest.raises(InvalidArgument, match=told + r".*\); take another"):
        require_derivatives(model, (v,), "score", hint="; take another")


def test_a_module_that_was_called_before_is_tried():
    with pytest.warns(FutureWarning):
        network = nn.utils.weight_norm(nn.Linear(3, 3))
    network(torch.ones(1, 3)).sum().backward()
    assert as_score_model(network, 3).pointwise
