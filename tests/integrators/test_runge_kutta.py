"""Explicit Runge-Kutta steps along a drift whose scores are held fixed: momentum exact, energy to their order."""

from __future__ import annotations

import math

import pytest
import torch
from invariants import particles

from graphlandau.integrators.runge_kutta import RUNGE_KUTTA
from graphlandau.nn import LandauDrift


def energy(v, weight):
    return float((weight * (v * v).sum(1)).sum())


@pytest.mark.parametrize("gamma", [-3.0, -1.5, 0.0, 1.0])
def test_euler_gains_exactly_its_second_order_energy(gamma):
    """<|v'|^2> = <|v|^2> + dt^2 <|U|^2>, because <v.U> = 0; momentum stays."""
    v, s, weight = particles(30, 3)
    layer = LandauDrift(gamma)
    u = layer(v, s, weight=weight)
    after = RUNGE_KUTTA["euler"].step(v, lambda y: layer(y, s, weight=weight), 0.01).v
    assert float((weight[:, None] * (after - v)).sum(0).norm()) < 1e-15
    gain = energy(after, weight) - energy(v, weight)
    assert gain == pytest.approx(1e-4 * energy(u, weight), rel=1e-9)
    assert gain > 1e-6


def test_rk4_is_off_in_energy_by_the_fifth_power_of_the_step():
    """The flow of a fixed score keeps the energy: what a step of order four loses of it is O(dt^5)."""
    v, s, weight = particles(20, 2)
    layer = LandauDrift(-1.0)
    drifts = [
        abs(energy(RUNGE_KUTTA["rk4"].step(v, lambda y: layer(y, s, weight=weight), dt).v, weight) - energy(v, weight))
        for dt in (0.1, 0.05)
    ]
    assert math.log2(drifts[0] / drifts[1]) == pytest.approx(5, abs=0.4)


def test_the_first_stage_is_the_state_itself():
    """Who steps knows its drift already, and recognises it."""
    v = torch.randn(5, 2)
    for scheme in RUNGE_KUTTA.values():
        assert scheme.step(v, lambda y: -y, 0.1).at[0] is v


@pytest.mark.parametrize("name", RUNGE_KUTTA)
def test_a_tableau_is_consistent(name):
    """Weights of sum 1, and the nodes of RK4: the exponential to the order of the scheme."""
    scheme, dt = RUNGE_KUTTA[name], 0.3
    grown = float(scheme.step(torch.ones(1, 1, dtype=torch.float64), lambda y: y, dt).v)
    assert grown == pytest.approx(sum(dt**k / math.factorial(k) for k in range(scheme.order + 1)), abs=1e-14)
