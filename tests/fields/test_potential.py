"""External potentials: the formulas of the examples, gradients, periods."""

from __future__ import annotations

import math
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from graphlandau.fields import Potential, RippledWell

numbers = st.floats(-3, 3)


@given(st.floats(0, 3), numbers, st.floats(0.1, 9), numbers, st.integers(1, 4), st.integers(0, 2**31))
@settings(max_examples=40, deadline=None)
def test_the_gradient_is_that_of_the_value(stiffness, amplitude, wavenumber, phase, d, seed):
    well = RippledWell(stiffness, amplitude, wavenumber, phase)
    x = torch.randn(5, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    torch.testing.assert_close(well.gradient(x), Potential.gradient(well, x), rtol=0, atol=1e-13)
    assert well.value(x).shape == (5,)


def test_the_double_well_of_example_2():
    x = torch.linspace(-2, 2, 9, dtype=torch.float64)[:, None]
    want = x[:, 0] ** 2 / 2 + torch.cos(2 * math.pi * x[:, 0])
    torch.testing.assert_close(RippledWell(1.0, 1.0).value(x), want)


def test_the_periodic_potential_of_example_3():
    """sin(2 pi x) / 5, of period 1."""
    x = torch.linspace(-2, 2, 9, dtype=torch.float64)[:, None]
    well = RippledWell(amplitude=0.2, phase=math.pi / 2)
    torch.testing.assert_close(well.value(x), torch.sin(2 * math.pi * x[:, 0]) / 5)
    torch.testing.assert_close(well.gradient(x + 1), well.gradient(x))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_directions_add_up(dtype):
    x = torch.randn(6, 3, generator=torch.Generator().manual_seed(0), dtype=dtype)
    well = RippledWell(1.0, 0.5, 3.0, 0.2)
    assert well.value(x).dtype == well.gradient(x).dtype == dtype
    torch.testing.assert_close(well.value(x), sum(well.value(x[:, a : a + 1]) for a in range(3)))


def test_second_derivatives():
    x = torch.tensor([[0.3], [1.1]], dtype=torch.float64, requires_grad=True)
    torch.autograd.gradcheck(RippledWell(1.0, 0.5).gradient, x)
    torch.autograd.gradcheck(lambda y: Potential.gradient(RippledWell(1.0, 0.5), y), x)


def test_repr_shows_the_arguments():
    assert repr(RippledWell(1.0, 0.5, 3.0)) == "RippledWell(stiffness=1.0, amplitude=0.5, wavenumber=3.0, phase=0.0)"


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"stiffness": -1.0}, "'stiffness' must be at least 0 (got -1.0)"),
        ({"stiffness": "stiff"}, "'stiffness' must be a finite number (got 'stiff')"),
        ({"amplitude": math.nan}, "'amplitude' must be a finite number (got nan)"),
        ({"wavenumber": 0.0}, "'wavenumber' must be positive (got 0.0)"),
        ({"phase": math.inf}, "'phase' must be a finite number (got inf)"),
    ],
)
def test_refuses_numbers_out_of_range(options, text):
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        RippledWell(**options)


def test_refuses_positions():
    for use in (RippledWell().value, RippledWell().gradient):
        with pytest.raises(ValueError, match=r"'x' must have shape \(N, d\) with N >= 1 and d >= 1 \(got \(3,\)\)"):
            use(torch.zeros(3))
