"""Poisson's equation: exact for waves, no force of a particle on itself, no force on all particles together."""

from __future__ import annotations

import copy
import math
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from graphlandau.fields import Grid, Poisson, field_energy
from graphlandau.nn import Deposit, Gather


def box(d: int, cells=(12, 9, 8)) -> Grid:
    return Grid((3.0, 2.0, 5.0)[:d], cells[:d], origin=(-1.0, 0.5, 2.0)[:d])


def mesh(grid: Grid, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """Positions of the nodes, ``(*shape, d)``."""
    return torch.stack(torch.meshgrid(*grid.axes(torch.zeros(1, dtype=dtype)), indexing="ij"), dim=-1)


@given(
    st.integers(1, 3),
    st.tuples(st.integers(-4, 4), st.integers(-3, 3), st.integers(-2, 2)),
    st.floats(0, 6),
    st.sampled_from([torch.float32, torch.float64]),
)
@settings(max_examples=60, deadline=None)
def test_waves_are_exact(d, modes, phase, dtype):
    """rho = 2 + cos(k x - phase): phi = cos / k^2, E = k sin / k^2, div E = rho - 2; a constant has no field."""
    grid = box(d)
    k = 2 * math.pi * torch.tensor(modes[:d], dtype=dtype) / torch.tensor(grid.lengths, dtype=dtype)
    angle = mesh(grid, dtype) @ k - phase
    rho, k2 = 2 + torch.cos(angle), float(k.square().sum())
    poisson = Poisson(grid)
    # FFTs of up to 864 nodes round to some 10 eps of values up to 3; angles of up to 100 to 100 eps.
    tolerance = {"rtol": 0, "atol": 200 * torch.finfo(dtype).eps}
    potential = torch.cos(angle) / k2 if k2 else torch.zeros_like(angle)
    field = torch.sin(angle)[..., None] * k / k2 if k2 else torch.zeros(*grid.shape, d, dtype=dtype)
    torch.testing.assert_close(poisson.potential(rho), potential, **tolerance)
    torch.testing.assert_close(poisson(rho), field, **tolerance)


@pytest.mark.parametrize("d", [1, 2, 3])
def test_a_mode_at_the_nyquist_wavenumber_has_no_derivative_along_it(d):
    """Signs that alternate along the first direction: phi = rho / k^2, and no field, as by symmetry."""
    grid = box(d, (12, 9, 8))
    shape = (12, *[1] * (d - 1))
    rho = (-1.0) ** torch.arange(12, dtype=torch.float64).view(shape).expand(grid.shape)
    k = math.pi / grid.spacing[0]
    torch.testing.assert_close(Poisson(grid).potential(rho), rho / k**2, rtol=0, atol=1e-14)
    assert float(Poisson(grid)(rho).abs().max()) < 1e-14


@given(st.integers(1, 3), st.integers(0, 3), st.integers(1, 20), st.integers(0, 2**31))
@settings(max_examples=60, deadline=None)
def test_no_self_force_and_no_total_force(d, order, n, seed):
    """One particle feels nothing wherever it is; the forces of many add up to nothing."""
    generator = torch.Generator().manual_seed(seed)
    pos = 10 * torch.rand(n, d, generator=generator, dtype=torch.float64)
    charge = torch.randn(n, generator=generator, dtype=torch.float64)
    grid = box(d)
    field = Poisson(grid)(Deposit(grid, order)(pos, charge) / grid.cell_volume)
    force = charge[:, None] * Gather(grid, order)(pos, field)
    # 3e-16 for each particle measured over 240 cases, with fields of up to 6.
    assert float(force.sum(0).abs().max()) < 1e-14 * n


@given(st.integers(1, 3), st.integers(0, 2**31))
@settings(max_examples=30, deadline=None)
def test_symmetries(d, seed):
    """Linear; follows a shift by whole cells and a reflection of any one direction; the mean of the field is 0.

    With even numbers of cells the reflections see what the Nyquist wavenumber does.
    """
    grid = box(d)
    poisson, generator = Poisson(grid), torch.Generator().manual_seed(seed)
    rho, other = torch.randn(2, *grid.shape, generator=generator, dtype=torch.float64)
    axes, shifts = tuple(range(d)), (3, -2, 1)[:d]
    field = poisson(rho)
    tolerance = {"rtol": 0, "atol": 1e-13}
    torch.testing.assert_close(poisson(rho + 2 * other), field + 2 * poisson(other), **tolerance)
    torch.testing.assert_close(poisson(rho.roll(shifts, axes)), field.roll(shifts, axes), **tolerance)
    for axis in axes:
        mirror = torch.ones(d, dtype=torch.float64)
        mirror[axis] = -1
        torch.testing.assert_close(poisson(rho.flip(axis)), mirror * field.flip(axis), **tolerance)
    torch.testing.assert_close(field.mean(axes), torch.zeros(d, dtype=torch.float64), **tolerance)


@pytest.mark.parametrize("d", [1, 2, 3])
def test_field_energy_is_half_the_density_times_the_potential(d):
    """By parts, for odd numbers of cells, which have no Nyquist wavenumber; and of a wave it is |A|^2 V / (4 k^2)."""
    grid = box(d, (11, 9, 7))
    poisson = Poisson(grid)
    rho = torch.randn(grid.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    by_parts = 0.5 * grid.cell_volume * ((rho - rho.mean()) * poisson.potential(rho)).sum()
    torch.testing.assert_close(field_energy(grid, poisson(rho)), by_parts, rtol=1e-13, atol=0)
    k = 2 * math.pi / grid.lengths[0]
    wave = 0.3 * torch.cos(k * mesh(grid)[..., 0])
    assert float(field_energy(grid, poisson(wave))) == pytest.approx(0.09 * grid.volume / (4 * k**2), rel=1e-13)


def test_derivatives():
    grid = box(2, (5, 4))
    rho = torch.randn(5, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)
    poisson = Poisson(grid)
    torch.autograd.gradcheck(poisson, rho)
    torch.autograd.gradcheck(poisson.potential, rho)
    torch.autograd.gradgradcheck(lambda x: field_energy(grid, poisson(x)), rho)


def test_precision_follows_the_density_whatever_was_done_before():
    """In inference mode first, then trained; in float32 first, then float64; and in a copy."""
    grid = box(1)
    poisson = Poisson(grid)
    angle = 2 * math.pi / 3 * (mesh(grid)[..., 0] + 1)
    with torch.inference_mode():
        assert poisson(torch.cos(angle).float()).dtype == torch.float32
    rho = torch.cos(angle).float().requires_grad_()
    poisson(rho).square().sum().backward()
    assert rho.grad is not None
    exact = torch.sin(angle)[:, None] * 3 / (2 * math.pi)
    for solver in (poisson.float(), copy.deepcopy(poisson)):
        torch.testing.assert_close(solver(torch.cos(angle)), exact, rtol=0, atol=1e-14)


@pytest.mark.parametrize("grid", [Grid(1.0, 4, periodic=False), 1.0])
def test_refuses_grids_that_are_not_periodic(grid):
    for use in (Poisson, lambda grid: field_energy(grid, torch.zeros(5, 1))):
        with pytest.raises(ValueError, match="^" + re.escape(f"'grid' must be a periodic Grid (got {grid})") + "$"):
            use(grid)


@pytest.mark.parametrize(
    ("rho", "text"),
    [
        (torch.zeros(5), "'rho' must have shape (4,) (got (5,))"),
        (torch.zeros(4, 1), "'rho' must have shape (4,) (got (4, 1))"),
        (None, "'rho' must have shape (4,) (got NoneType)"),
        (torch.zeros(4, dtype=torch.int64), "'rho' must be float32 or float64 (got torch.int64)"),
        (torch.tensor([0.0, torch.nan, 0.0, 0.0]), "'rho' must be finite (got 1 non-finite of 4 entries)"),
    ],
)
def test_refuses_bad_densities(rho, text):
    poisson = Poisson(Grid(1.0, 4))
    for use in (poisson, poisson.potential):
        with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
            use(rho)


def test_refuses_fields_of_another_shape():
    with pytest.raises(ValueError, match=r"'E' must have shape \(4, 1\) \(got \(4,\)\)"):
        field_energy(Grid(1.0, 4), torch.zeros(4))
