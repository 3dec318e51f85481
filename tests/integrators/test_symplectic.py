from __future__ import annotations

import math

import pytest
import torch

from graphlandau.integrators.symplectic import MAPS


def pendulum(x):
    return -torch.sin(x)


def walk(x, v, dt, steps, name):
    for _ in range(steps):
        x, v = MAPS[name].step(x, v, pendulum(x), lambda moved, x=x: pendulum(x + moved), dt)
    return x, v


@pytest.mark.parametrize("name", MAPS)
def test_a_step_preserves_area_in_phase_space(name):
    z = torch.tensor([0.7, -0.4], dtype=torch.float64)

    def step(z):
        x, v = walk(z[:1, None], z[1:, None], 0.3, 1, name)
        return torch.cat([x, v]).flatten()

    jacobian = torch.func.jacfwd(step)(z)
    # For one degree of freedom symplectic is the same as determinant 1; rounding of float64.
    assert float(torch.linalg.det(jacobian)) == pytest.approx(1, abs=1e-14)


@pytest.mark.parametrize("name", MAPS)
def test_the_order_of_convergence(name):
    # The pendulum released at rest from x = 1 against steps 64 times as small.
    start = torch.tensor([[1.0]], dtype=torch.float64), torch.tensor([[0.0]], dtype=torch.float64)
    exact = torch.cat(walk(*start, 1 / 1280, 2560, "verlet"))
    errors = [float((torch.cat(walk(*start, 2 / n, n, name)) - exact).norm()) for n in (20, 40)]
    # Two step sizes show the order to a few percent.
    assert math.log2(errors[0] / errors[1]) == pytest.approx(MAPS[name].order, abs=0.1)


def test_verlet_is_its_own_inverse_with_time_reversed():
    x, v = torch.randn(5, 1, dtype=torch.float64), torch.randn(5, 1, dtype=torch.float64)
    there = walk(x, v, 0.2, 10, "verlet")
    back, reversed_v = walk(there[0], -there[1], 0.2, 10, "verlet")
    torch.testing.assert_close(back, x, rtol=0, atol=1e-13)
    torch.testing.assert_close(-reversed_v, v, rtol=0, atol=1e-13)


def test_the_force_acts_on_the_first_components_only():
    x, v = torch.zeros(4, 1), torch.randn(4, 3)
    _, after = MAPS["verlet"].step(x, v, torch.ones(4, 1), lambda moved: torch.ones(4, 1), 0.5)
    torch.testing.assert_close(after[:, 0], v[:, 0] + 0.5)
    assert torch.equal(after[:, 1:], v[:, 1:])


def test_the_energy_stays_bounded_for_ten_thousand_steps():
    x, v = torch.tensor([[1.5]], dtype=torch.float64), torch.tensor([[0.0]], dtype=torch.float64)
    energies = []
    for _ in range(10_000):
        x, v = walk(x, v, 0.1, 1, "verlet")
        energies.append(float(0.5 * v.square() - torch.cos(x)))
    error = torch.tensor(energies) + math.cos(1.5)
    # The shadow energy is constant: the error oscillates at O(dt^2) and does not grow from the first period to the
    # last.
    assert float(error.abs().max()) < 2 * 0.1**2 / 8
    assert float(error[-1000:].mean() - error[:1000].mean()) == pytest.approx(0, abs=1e-5)
