"""Moments against plain loops and against exact values."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from graphlandau.diagnostics import average, covariance, energy, fourth_moment, kinetic_energy, mass, momentum

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12}


@settings(max_examples=20, deadline=None)
@given(
    d=st.integers(1, 6),
    n=st.integers(1, 40),
    seed=st.integers(0, 1000),
    uniform=st.booleans(),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_moments_are_weighted_sums(d, n, seed, uniform, dtype):
    g = torch.Generator().manual_seed(seed)
    v = 1 + torch.randn(n, d, generator=g, dtype=torch.float64).to(dtype)
    weight = None if uniform else torch.rand(n, generator=g, dtype=torch.float64).to(dtype) + 0.1
    w = [1 / n] * n if weight is None else (weight / weight.sum()).tolist()
    m = sum(p * x for p, x in zip(w, v, strict=True))
    expected = {
        momentum: m,
        energy: sum(p * 0.5 * x @ x for p, x in zip(w, v, strict=True)),
        covariance: sum(p * torch.outer(x - m, x - m) for p, x in zip(w, v, strict=True)),
        fourth_moment: sum(p * ((x - m) @ (x - m)) ** 2 for p, x in zip(w, v, strict=True)),
    }
    for moment, value in expected.items():
        got = moment(v, weight)
        assert got.dtype == dtype
        assert torch.allclose(got, value, rtol=10 * TOLERANCE[dtype], atol=10 * TOLERANCE[dtype]), moment.__name__


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_scale_of_the_weights_and_translation(dtype):
    """Weights are normalised; covariance and fourth moment are about the mean."""
    g = torch.Generator().manual_seed(0)
    v = torch.randn(50, 3, generator=g, dtype=torch.float64).to(dtype)
    weight = torch.rand(50, generator=g, dtype=torch.float64).to(dtype)
    for moment in (momentum, energy, covariance, fourth_moment):
        assert torch.allclose(moment(v, 7 * weight), moment(v, weight), rtol=TOLERANCE[dtype])
    for moment in (covariance, fourth_moment):
        # A shift of 10 loses one digit.
        assert torch.allclose(moment(v + 10, weight), moment(v, weight), rtol=1e2 * TOLERANCE[dtype])


def test_mass():
    assert mass(None, 5) == 1.0
    assert mass(torch.tensor([0.25, 0.5]), 2) == 0.75
    with pytest.raises(ValueError, match=r"'weight' must have shape \(3,\) \(got \(2,\)\)"):
        mass(torch.ones(2), 3)


def test_average_keeps_the_shape():
    x = torch.arange(12.0).reshape(3, 2, 2)
    assert torch.equal(average(x), x.mean(0))
    assert torch.equal(average(x, torch.tensor([0.0, 0.0, 2.0])), x[2])


def test_bad_weights_are_refused():
    v = torch.randn(4, 2, generator=torch.Generator().manual_seed(0))
    for weight, message in [
        (torch.ones(3), r"'weight' must have shape \(4,\)"),
        (torch.ones(4, dtype=torch.float64), r"'weight' must have shape \(4,\) and dtype torch.float32"),
        (torch.tensor([1.0, 1.0, 1.0, -1.0]), "'weight' must be non-negative"),
        (torch.zeros(4), "'weight' must be non-negative with a positive sum"),
    ]:
        for moment in (momentum, energy, covariance, fourth_moment):
            with pytest.raises(ValueError, match=message):
                moment(v, weight)
    with pytest.raises(ValueError, match="'v' must be finite"):
        energy(torch.full((3, 2), torch.nan))


def test_kinetic_energy_counts_mass_and_every_component():
    v = torch.tensor([[1.0, 2.0], [0.0, -1.0]])
    assert kinetic_energy(v) == 0.5 * (5 + 1) / 2
    assert kinetic_energy(v, 3.0) == 3 * kinetic_energy(v)


def test_kinetic_energy_is_summed_in_double_precision():
    # 1e6 equal numbers in single precision would be off in the fifth digit.
    v = torch.full((1_000_000, 1), 0.1)
    assert kinetic_energy(v) == pytest.approx(0.5 * float(torch.tensor(0.1).double()) ** 2, rel=1e-12)


@pytest.mark.parametrize("weighted", [False, True])
def test_central_moments_lose_nothing_to_a_bulk_velocity(weighted):
    """In float32 at 1e5 thermal speeds: what float64 makes of the same input; sums of 2,000 terms round to 1e-6."""
    generator = torch.Generator().manual_seed(0)
    v = (torch.randn(2000, 3, generator=generator) + torch.tensor([1e5, -4e4, 0.0])).float()
    weight = torch.rand(2000, generator=generator) if weighted else None
    double = None if weight is None else weight.double()
    torch.testing.assert_close(covariance(v, weight).double(), covariance(v.double(), double), rtol=3e-6, atol=3e-6)
    assert float(fourth_moment(v, weight)) == pytest.approx(float(fourth_moment(v.double(), double)), rel=3e-6)
