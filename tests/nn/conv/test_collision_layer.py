"""The layers of the kernel are homogeneous in the unit of velocity: softening belongs to the scale of the particles."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from invariants import EXPONENTS, TOLERANCE, direct_sum, particles

from graphlandau.nn import JKOAction, LandauDrift

BATCH = torch.arange(40) % 3
# Decimal exponents of the unit; what is smaller than 1e-37 is not a normal number of float32.
UNITS = st.floats(-8, 12)


def in_unit(unit, n=40, d=3, seed=0):
    """Velocities, scores, Jacobians in float32, and weights."""
    v, s, weight = particles(n, d, seed)
    jacobian = torch.randn(n, d, d, generator=torch.Generator().manual_seed(seed + 1), dtype=torch.float64)
    return (v * unit).float(), (s / unit).float(), (jacobian / unit**2).float(), weight.float()


@settings(max_examples=40, deadline=None)
@given(gamma=st.sampled_from(EXPONENTS), exponent=UNITS, backend=st.sampled_from(["dense", "edges", "auto"]))
def test_drift_is_the_sum_in_any_unit(gamma, exponent, backend):
    unit = 10.0**exponent
    if abs((gamma + 1) * exponent) > 34:
        return
    v, s, _, weight = in_unit(unit)
    found = LandauDrift(gamma, backend=backend)(v, s, weight=weight)
    expected, magnitude = direct_sum(v, s, weight, gamma)
    assert float(((found - expected).norm(dim=1) / magnitude).max()) < TOLERANCE[torch.float32]


@settings(max_examples=30, deadline=None)
@given(gamma=st.sampled_from(EXPONENTS), k=st.integers(-26, 39), backend=st.sampled_from(["dense", "edges", "auto"]))
def test_all_sums_are_powers_of_the_unit(gamma, k, backend):
    """U goes as l^(gamma + 1), T and L as l^gamma, D and its divergence as they must, in and out of blocks."""
    if max(abs(gamma), abs(gamma + 2)) * abs(k) > 110:
        return
    phi = torch.randn(40, 3, generator=torch.Generator().manual_seed(5))
    found = []
    for unit in (1.0, 2.0**k):
        v, s, jacobian, weight = in_unit(unit)
        drift, action = LandauDrift(gamma, backend=backend), JKOAction(gamma, backend=backend)
        values = []
        for graph in ({"weight": weight}, {"weight": weight, "batch": BATCH}):
            by_v, by_s = drift.partials(v, s, **graph)
            matrix, divergence = drift.diffusion(v, **graph)
            values += [
                (drift(v, s, **graph), 1),
                (by_v, 0),
                (by_s, 2),
                (matrix, 2),
                (divergence, 1),
                (action(v, s, jacobian, **graph), 0),
                (action.gram(v, phi, **graph), 2),
            ]
        found.append([value.double() / unit ** (gamma + power) for value, power in values])
    # The same sums with the same digits, times a factor that a general exponent rounds once, before terms cancel.
    for first, second in zip(*found, strict=True):
        torch.testing.assert_close(second, first, rtol=3e-7, atol=3e-7 * float(first.abs().max()))


@pytest.mark.parametrize("unit", [2.0**-24, 2.0**33])
@pytest.mark.parametrize("gamma", [-3.0, -1.5])
def test_mesh_is_a_power_of_the_unit(gamma, unit):
    drift = LandauDrift(gamma, backend="mesh", tolerance=0.05)
    found = []
    for by in (1.0, unit):
        v, s, _, weight = in_unit(by, 3000, 2)
        error = drift.error(v, s, weight=weight, generator=torch.Generator().manual_seed(0))
        found.append([drift(v, s, weight=weight).double() / by ** (gamma + 1), error])
    torch.testing.assert_close(found[1][0], found[0][0], rtol=3e-7, atol=0)
    assert found[1][1] == pytest.approx(found[0][1], rel=1e-6)


def test_every_block_has_a_unit_of_its_own():
    """Plasmas of other units in one batch are what each is alone."""
    units = torch.tensor([1e-6, 1.0, 3e8])
    v, s, jacobian, _ = in_unit(1.0, 60)
    batch = torch.arange(60) % 3
    by = units[batch][:, None]
    v, s, jacobian = v * by, s / by, jacobian / by[:, :, None] ** 2
    drift = LandauDrift(-3.0)
    together, by_v = drift(v, s, batch=batch), drift.partials(v, s, batch=batch)[0]
    for block in range(3):
        own = batch == block
        torch.testing.assert_close(together[own], drift(v[own], s[own]), rtol=1e-6, atol=0)
        torch.testing.assert_close(by_v[own], drift.partials(v[own], s[own])[0], rtol=1e-6, atol=0)


def test_a_softening_length_of_ones_own_is_in_the_units_of_the_velocities():
    """Two particles at half of it feel what the formula says."""
    v = torch.tensor([[0.0, 0.0], [0.05, 0.0]], dtype=torch.float64)
    s = torch.tensor([[0.0, 1.0], [0.0, 0.0]], dtype=torch.float64)
    found = LandauDrift(-3.0, eps=0.1)(v, s)
    assert float(found[0, 1]) == pytest.approx(-0.5 * 0.1**-3 * 0.05**2, rel=1e-12)


def test_coincident_particles_stay_finite_in_any_unit():
    for unit in (1e-8, 1.0, 1e12):
        v, s, _, _ = in_unit(unit)
        v[1] = v[0]
        inputs = [v.requires_grad_(), s.requires_grad_()]
        out = LandauDrift(-3.0)(*inputs)
        gradient = torch.autograd.grad((out * unit**2).sum(), inputs)
        assert all(bool(x.isfinite().all()) for x in (out, *gradient))
        assert math.isfinite(float(out.sum()))
