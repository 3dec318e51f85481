"""Objectives of a control: the free energy behind them, and refusals."""

from __future__ import annotations

import math

import pytest
import torch

from graphlandau.fields import RippledWell
from graphlandau.objectives import ControlObjective, log_determinant

POTENTIAL = RippledWell(stiffness=1.3, amplitude=0.4, wavenumber=2.0, phase=0.3)


def particles(n: int, d_x: int, d: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = ((n, d_x), (n, d), (n, d), (n, d, d))
    x, v, u, jacobian = (torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes)
    return x, v, u, jacobian


@pytest.mark.parametrize("log_det", ["exact", "trace"])
@pytest.mark.parametrize("d", [1, 3])
def test_split_is_the_free_energy_up_to_a_constant(d, log_det):
    _, v, u, jacobian = particles(30, 1, d)
    dt, epsilon, temperature = 0.1, 2.0, 0.7
    objective = ControlObjective.split(v, dt=dt, epsilon=epsilon, temperature=temperature, log_det=log_det)
    step = torch.eye(d, dtype=torch.float64) + dt * jacobian
    log = torch.linalg.slogdet(step).logabsdet if log_det == "exact" else dt * jacobian.diagonal(dim1=1, dim2=2).sum(1)

    def free_energy(u: torch.Tensor, log: torch.Tensor) -> torch.Tensor:
        return 0.5 * u.square().sum(1) + epsilon / dt * (0.5 * (v + dt * u).square().sum(1) - temperature * log)

    expected = free_energy(u, log) - free_energy(torch.zeros_like(u), torch.zeros_like(log))
    torch.testing.assert_close(objective(u, jacobian), expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(("d_x", "d"), [(1, 1), (1, 3), (2, 2)])
def test_joint_is_the_free_energy_after_the_whole_step(d_x, d):
    x, v, u, jacobian = particles(30, d_x, d)
    dt, epsilon, temperature = 0.1, 2.0, 0.7
    objective = ControlObjective.joint(x, v, POTENTIAL, dt=dt, epsilon=epsilon, temperature=temperature)

    def free_energy(u: torch.Tensor) -> torch.Tensor:
        new_v = v + dt * u
        new_v[:, :d_x] -= dt * POTENTIAL.gradient(x)
        phi = POTENTIAL.value(x + dt * new_v[:, :d_x])
        return 0.5 * u.square().sum(1) + epsilon / dt * (0.5 * new_v.square().sum(1) + phi)

    log = log_determinant(jacobian, dt)
    # The constant that is left out is the kinetic energy without the control.
    rest = v.clone()
    rest[:, :d_x] -= dt * POTENTIAL.gradient(x)
    expected = free_energy(u) - epsilon * temperature / dt * log - epsilon / dt * 0.5 * rest.square().sum(1)
    torch.testing.assert_close(objective(u, jacobian), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("d", [1, 3])
def test_slope_is_the_gradient_in_the_control(d):
    x, v, u, _ = particles(10, 1, d)
    objective = ControlObjective.joint(x, v, POTENTIAL, dt=0.3, epsilon=2.0)
    u.requires_grad_()
    (slope,) = torch.autograd.grad(objective(u, torch.zeros(10, d, d, dtype=torch.float64)).sum(), u)
    torch.testing.assert_close(objective.slope(u.detach()), slope, rtol=1e-10, atol=1e-10)


def test_the_mean_slope_of_the_exact_determinant_tends_to_that_of_the_trace():
    # The difference is tau/2 tr J^2 + O(tau^2): halving tau halves it.
    _, v, u, jacobian = particles(30, 1, 3)
    trace = ControlObjective(1.0, v, 1.0)(u, jacobian)
    gaps = [float((ControlObjective(1.0, v, 1.0, tau=tau)(u, jacobian) - trace).abs().max()) for tau in (2e-4, 1e-4)]
    assert math.log2(gaps[0] / gaps[1]) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("index", [slice(2, 9, 3), torch.tensor([4, 1])])
def test_a_subset_gives_the_losses_of_these_particles(index):
    x, v, u, jacobian = particles(10, 1, 2)
    objective = ControlObjective.joint(x, v, POTENTIAL, dt=0.1, epsilon=1.0)
    torch.testing.assert_close(objective.subset(index)(u[index], jacobian[index]), objective(u, jacobian)[index])
    torch.testing.assert_close(objective.subset(index).slope(u[index]), objective.slope(u)[index])


@pytest.mark.bad_input
def test_refuses_bad_arguments():
    v = torch.zeros(3, 2)
    cases = [
        (lambda: ControlObjective(0.0, v, 1.0), r"'c' must be positive \(got 0.0\)"),
        (lambda: ControlObjective(1.0, v * math.nan, 1.0), r"'g' must be finite \(got 6 non-finite of 6 entries\)"),
        (lambda: ControlObjective(1.0, v, -1.0, tau=0.1), r"'kappa' must be at least 0 with an exact .* \(got -1.0\)"),
        (lambda: ControlObjective(1.0, v, math.inf), r"'kappa' must be a finite number \(got inf\)"),
        (lambda: ControlObjective.split(v, dt=0.0, epsilon=1.0), r"'dt' must be positive \(got 0.0\)"),
        (lambda: ControlObjective.split(v, dt=0.1, epsilon=-1.0), r"'epsilon' must be at least 0 \(got -1.0\)"),
        (lambda: ControlObjective.split(v, dt=0.1, epsilon=1.0, temperature=0), r"'temperature' must be positive"),
        (
            lambda: ControlObjective.split(v, dt=0.1, epsilon=1.0, log_det="no"),
            r"'log_det' must be one of exact",
        ),
        (
            lambda: ControlObjective.joint(torch.zeros(2, 1), v, POTENTIAL, dt=0.1, epsilon=1.0),
            r"'x' must have shape \(3, d_x\) with d_x <= 2 \(got \(2, 1\)\)",
        ),
    ]
    for call, message in cases:
        with pytest.raises(ValueError, match=message) as caught:
            call()
        assert "\n" not in str(caught.value)
