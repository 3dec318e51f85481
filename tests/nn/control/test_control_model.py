"""Jacobians of controls, the embedding, the perceptron and the adapter for networks."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from graphlandau.nn import (
    AffineControl,
    ControlModel,
    FeatureControl,
    MLPControl,
    PhaseEmbedding,
    as_control_model,
)
from graphlandau.objectives import ControlObjective

DIMENSIONS = [(1, 1), (1, 3), (2, 3), (3, 3)]


def particles(n: int, d_x: int, d: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = 3 * torch.rand(n, d_x, generator=generator, dtype=torch.float64)
    return x, torch.randn(n, d, generator=generator, dtype=torch.float64)


def controls(d_x: int, d: int) -> list[ControlModel]:
    """One of each class, the span ones with weights of a solve plus random ones."""
    periodic = PhaseEmbedding(d_x, d, lengths=3.0, harmonics=2)
    unbounded = PhaseEmbedding(d_x, d, wavelengths=[2.0] + [None] * (d_x - 1))
    x, v = particles(300, d_x, d, seed=1)
    spans = [AffineControl(unbounded), *(FeatureControl(e, num_features=10, ridge=0.1) for e in (periodic, unbounded))]
    generator = torch.Generator().manual_seed(0)
    for control in spans:
        control.solve(ControlObjective.split(v, dt=0.1, epsilon=1.0), x, v)
        control.coefficients += 0.1 * torch.randn(control.coefficients.shape, generator=generator, dtype=torch.float64)
    mlps = [
        MLPControl(e, width=9, depth=n, activation=a).double()
        for e, n, a in ((periodic, 2, "tanh"), (unbounded, 1, "silu"), (periodic, 3, "softsign"))
    ]
    return [*spans, *mlps]


@pytest.mark.parametrize("shear", [0.0, 0.7])
@pytest.mark.parametrize(("d_x", "d"), DIMENSIONS)
def test_jacobians_are_exact(d_x, d, shear):
    x, v = particles(7, d_x, d)
    for control in controls(d_x, d):
        u, jacobian = control.value_and_jacobian(x, v, shear)
        torch.testing.assert_close(u, control(x, v), rtol=1e-12, atol=1e-12)
        # The definition by reverse-mode differentiation, another path than formulas or forward mode.
        by_v = torch.autograd.functional.jacobian(lambda w, c=control: c(x, w).sum(0), v).transpose(0, 1)
        by_x = torch.autograd.functional.jacobian(lambda y, c=control: c(y, v).sum(0), x).transpose(0, 1)
        expected = by_v + shear * torch.nn.functional.pad(by_x, (0, d - d_x))
        torch.testing.assert_close(jacobian, expected, rtol=1e-10, atol=1e-10)
        # And the default of the base class.
        torch.testing.assert_close(
            ControlModel.value_and_jacobian(control, x, v, shear)[1], expected, rtol=1e-10, atol=1e-10
        )


def test_the_shear_derivative_is_that_of_finite_differences():
    x, v = particles(7, 2, 3)
    h, shear = 1e-5, 0.7
    for control in controls(2, 3):
        jacobian = control.value_and_jacobian(x, v, shear)[1]
        for b in range(3):
            to_v = h * torch.eye(3, dtype=torch.float64)[b]
            to_x = shear * to_v[:2]
            difference = (control(x + to_x, v + to_v) - control(x - to_x, v - to_v)) / (2 * h)
            # Second order: h^2 times third derivatives, which are of the order of 1e2, and rounding over h.
            torch.testing.assert_close(jacobian[:, :, b], difference, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("d_x", "d"), DIMENSIONS)
def test_controls_of_a_periodic_embedding_are_periodic(d_x, d):
    x, v = particles(20, d_x, d)
    shift = 3.0 * torch.arange(1, d_x + 1, dtype=torch.float64)
    for control in controls(d_x, d):
        if control.embedding.lengths[0] is not None:
            torch.testing.assert_close(control(x + shift, v), control(x, v), rtol=1e-10, atol=1e-10)


def test_jacobians_can_be_trained_through():
    x, v = particles(5, 1, 2)
    control = MLPControl(PhaseEmbedding(1, 2), width=4).double()
    weight = control.hidden[0].weight

    def loss() -> torch.Tensor:
        u, jacobian = control.value_and_jacobian(x, v, 0.3)
        return ControlObjective.split(v, dt=0.2, epsilon=1.0)(u, jacobian).mean()

    (slope,) = torch.autograd.grad(loss(), weight)
    h, expected = 1e-6, torch.zeros_like(weight)
    with torch.no_grad():
        for index in range(weight.numel()):
            for sign in (1, -1):
                weight.view(-1)[index] += sign * h
                expected.view(-1)[index] += sign * loss() / (2 * h)
                weight.view(-1)[index] -= sign * h
    # Central differences: rounding 1e-16 / h and truncation h^2.
    torch.testing.assert_close(slope, expected, rtol=1e-7, atol=1e-9)


def test_embedding_columns():
    x, v = torch.tensor([[0.25, 0.5]]), torch.tensor([[7.0, 8.0]])
    mixed = PhaseEmbedding(2, 2, lengths=[1.0, None], wavelengths=[None, 4.0], harmonics=2)
    angles = [math.pi / 2, math.pi, math.pi / 4, math.pi / 2]
    waves = [f(angle) for angle in angles for f in (math.cos, math.sin)]
    expected = torch.tensor([[*waves[:4], 0.5, *waves[4:], 7.0, 8.0]])
    torch.testing.assert_close(mixed(x, v), expected)
    assert (mixed.position_width, mixed.width) == (9, 11)


class Field(nn.Module):
    def forward(self, x, v):
        return torch.sin(x).sum(1, keepdim=True) * v**2


def test_any_network_becomes_a_control():
    x, v = particles(6, 2, 3)
    control = as_control_model(Field(), 2, 3)
    jacobian = control.value_and_jacobian(x, v, 0.5)[1]
    expected = torch.diag_embed(2 * torch.sin(x).sum(1, keepdim=True) * v)
    expected[:, :, :2] += 0.5 * torch.cos(x)[:, None] * v[:, :, None] ** 2
    torch.testing.assert_close(jacobian, expected, rtol=1e-12, atol=1e-12)
    assert as_control_model(control, 2, 3) is control


class Coupled(nn.Module):
    def forward(self, x, v):
        return v - v.mean(0)


class Noisy(nn.Module):
    def forward(self, x, v):
        return torch.randn_like(v)


class Broken(nn.Module):
    def forward(self, x, v):
        return v / 0


@pytest.mark.bad_input
def test_refuses_what_is_no_control():
    cases = [
        (3, r"'control' must be a torch.nn.Module \(got int\)"),
        (nn.Linear(2, 2), r"'control' must map \(N, 1\), \(N, 2\) to \(N, 2\) \(got a Linear that failed on"),
        (nn.Bilinear(1, 2, 3), r"Bilinear that returned \(8, 3\) float32 for .*float32"),
        (
            Coupled(),
            r"'control' must act on each particle alone \(got a Coupled that changes others when one is moved\)",
        ),
        (Noisy(), r"'control' must be a function of its arguments \(got a Noisy with two answers"),
        (Broken(), r"'control' must return finite values \(got a Broken that did not"),
        (
            MLPControl(PhaseEmbedding(1, 1)),
            r"'control' must have d_x = 1 and d = 2 \(got a MLPControl with d_x = 1",
        ),
    ]
    for module, message in cases:
        with pytest.raises(ValueError, match=message):
            as_control_model(module, 1, 2)


@pytest.mark.bad_input
def test_refuses_bad_arguments():
    cases = [
        (lambda: PhaseEmbedding(2, 1), r"'d_x' must be at most d = 1 \(got 2\)"),
        (lambda: PhaseEmbedding(0, 1), r"'d_x' must be an integer >= 1 \(got 0\)"),
        (lambda: PhaseEmbedding(2, 2, lengths=(1.0,)), r"'lengths' must have one entry per position direction, 2"),
        (lambda: PhaseEmbedding(1, 1, lengths=-1.0), r"'lengths' must be positive \(got -1.0\)"),
        (lambda: PhaseEmbedding(1, 1, lengths=1.0, wavelengths=2.0), r"'wavelengths' must be None in a periodic"),
        (lambda: PhaseEmbedding(1, 1, harmonics=0), r"'harmonics' must be an integer >= 1 \(got 0\)"),
        (lambda: MLPControl(PhaseEmbedding(1, 1), width=0), r"'width' must be an integer >= 1 \(got 0\)"),
        (
            lambda: MLPControl(PhaseEmbedding(1, 1), activation="relu"),
            r"'activation' must be one of silu, soft",
        ),
        (lambda: FeatureControl(PhaseEmbedding(1, 1), num_features=0), r"'num_features' must be an integer >= 1"),
        (lambda: FeatureControl(PhaseEmbedding(1, 1), ridge=0.0), r"'ridge' must be positive \(got 0.0\)"),
    ]
    for call, message in cases:
        with pytest.raises(ValueError, match=message):
            call()
