"""MLPScore, ResidualScore, GaussianScore and the wrapper of a user's own module."""

from __future__ import annotations

import pytest
import torch

from graphlandau.nn import GaussianScore, MLPScore, ResidualScore, as_score_model

DTYPES = [(torch.float32, 1e-4), (torch.float64, 1e-10)]


def disturbed(model: torch.nn.Module) -> torch.nn.Module:
    generator = torch.Generator().manual_seed(3)
    for p in model.parameters():
        p.data += 0.3 * torch.randn(p.shape, generator=generator, dtype=p.dtype)
    return model


@pytest.mark.parametrize(("dtype", "tolerance"), DTYPES)
@pytest.mark.parametrize("d", [1, 2, 3, 10])
@pytest.mark.parametrize("activation", ["silu", "softsign", "tanh"])
@pytest.mark.parametrize("kind", [MLPScore, ResidualScore])
def test_jacobian_is_the_derivative(kind, activation, d, dtype, tolerance):
    model = disturbed(kind(d, 8, 2, activation)).to(dtype)
    v = torch.randn(20, d, dtype=dtype)
    model.condition(v * torch.linspace(0.5, 2, d, dtype=dtype))
    s, jacobian = model.value_and_jacobian(v)
    expected = torch.func.vmap(torch.func.jacrev(lambda x: model(x[None])[0]))(v)
    scale = float(expected.abs().max())
    torch.testing.assert_close(jacobian, expected, atol=tolerance * scale, rtol=tolerance)
    torch.testing.assert_close(s, model(v), atol=tolerance * scale, rtol=tolerance)


def test_training_sees_the_divergence():
    # The gradient of <div s> in the weights, against finite differences in one weight.
    model = disturbed(MLPScore(2, 6, 2, "tanh")).double()
    v = torch.randn(30, 2, dtype=torch.float64)
    weight = model.network.hidden[0].weight
    (gradient,) = torch.autograd.grad(model.divergence(v).mean(), weight)
    h = 1e-6
    with torch.no_grad():
        weight[1, 0] += h
        up = model.divergence(v).mean()
        weight[1, 0] -= 2 * h
        down = model.divergence(v).mean()
    # Central differences: truncation h^2 and rounding 1e-16/h are both below 1e-9.
    assert float(gradient[1, 0]) == pytest.approx(float((up - down) / (2 * h)), abs=1e-8)


def test_untrained_residual_is_the_gaussian_of_the_particles():
    v = torch.randn(500, 3, dtype=torch.float64) @ torch.randn(3, 3, dtype=torch.float64) + 5
    residual, gaussian = ResidualScore(3).double(), GaussianScore(3)
    residual.condition(v)
    gaussian.condition(v)
    centred = v - v.mean(0)
    exact = -centred @ torch.linalg.inv(centred.T @ centred / len(v))
    torch.testing.assert_close(residual(v), exact)
    torch.testing.assert_close(gaussian(v), exact)
    torch.testing.assert_close(gaussian.jacobian(v)[0], -torch.linalg.inv(centred.T @ centred / len(v)))


def test_residual_turns_with_the_particles():
    # Whitening by the symmetric root: a network that is isotropic in whitened velocities gives an isotropic score.
    model = ResidualScore(2).double()
    v = torch.randn(400, 2, dtype=torch.float64) * torch.tensor([2.0, 0.5], dtype=torch.float64)
    angle = torch.tensor(0.7, dtype=torch.float64)
    turn = torch.stack([torch.stack([angle.cos(), -angle.sin()]), torch.stack([angle.sin(), angle.cos()])])
    model.condition(v)
    s = model(v)
    model.condition(v @ turn.T)
    torch.testing.assert_close(model(v @ turn.T), s @ turn.T)


def test_weights_count():
    v = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [2.0, 2.0], [-1.0, 1.0]], dtype=torch.float64)
    weight = torch.tensor([1.0, 2.0, 3.0, 1.0, 1.0], dtype=torch.float64)
    repeated = torch.repeat_interleave(v, weight.long(), dim=0)
    weighted, plain = GaussianScore(2), GaussianScore(2)
    weighted.condition(v, weight)
    plain.condition(repeated)
    torch.testing.assert_close(weighted(v), plain(v))


class Coupled(torch.nn.Module):
    def forward(self, v: torch.Tensor) -> torch.Tensor:
        return v.mean(0) - v


def test_a_module_that_couples_particles_is_found_out():
    assert as_score_model(torch.nn.Linear(3, 3), 3).pointwise
    model = as_score_model(Coupled(), 3)
    assert not model.pointwise
    # s_i = mean - v_i has the own block (1/N - 1) I.
    torch.testing.assert_close(model.divergence(torch.randn(5, 3)), torch.full((5,), 3 * (1 / 5 - 1)))
    with pytest.raises(ValueError, match="objective='hutchinson'"):
        model.divergence(torch.randn(600, 3))


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (torch.nn.Linear(2, 3), r"that returned \(8, 3\) float32"),
        (torch.nn.Linear(3, 3), "that failed on"),
        (MLPScore(3), "must have d = 2"),
        (torch.nn.LSTM(2, 2), "that returned tuple"),
    ],
)
def test_what_is_no_score_model_is_refused(module, message):
    with pytest.raises(ValueError, match=message):
        as_score_model(module, 2)


def test_unknown_activation_is_named():
    with pytest.raises(ValueError, match="'activation' must be one of silu, softsign, tanh"):
        MLPScore(2, activation="relu")
