"""Ampère's law: Gauss's law over many steps, the projection, a plasma oscillation."""

from __future__ import annotations

import itertools
import math
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from graphlandau.fields import Ampere, Grid, Poisson, conserving_current
from graphlandau.nn import Deposit, Gather


def box(d: int) -> Grid:
    return Grid((3.0, 2.0, 5.0)[:d], (12, 9, 8)[:d], origin=(-1.0, 0.5, 2.0)[:d])


@given(st.integers(1, 3), st.sampled_from([torch.float32, torch.float64]), st.integers(0, 2**31))
@settings(max_examples=40, deadline=None)
def test_the_initial_field_is_a_gradient_with_gausss_law(d, dtype, seed):
    grid = box(d)
    rho = torch.randn(grid.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)
    ampere = Ampere(grid)
    field = ampere.initial(rho)
    assert field.dtype == dtype
    tolerance = {"rtol": 0, "atol": 100 * torch.finfo(dtype).eps}
    torch.testing.assert_close(ampere.divergence(field), rho - rho.mean(), **tolerance)
    torch.testing.assert_close(ampere.longitudinal(field), field, **tolerance)
    torch.testing.assert_close(field.mean(tuple(range(d))), torch.zeros(d, dtype=dtype), **tolerance)


@pytest.mark.parametrize(("d", "order", "cells"), [(1, 1, 0.4), (1, 3, 6.0), (2, 1, 3.0), (2, 2, 0.5), (3, 1, 4.0)])
def test_gausss_law_is_kept_to_rounding(d, order, cells):
    """Random displacements of several cells in each of 100 steps."""
    grid, dt, n = box(d), 0.1, 40
    deposit, ampere = Deposit(grid, order), Ampere(grid)
    generator = torch.Generator().manual_seed(1)
    pos = torch.rand(n, d, generator=generator, dtype=torch.float64) * torch.tensor(grid.lengths)
    charge = grid.volume * torch.rand(n, generator=generator, dtype=torch.float64) / n
    rho = deposit(pos, charge) / grid.cell_volume
    field = ampere.initial(rho)
    for _ in range(100):
        displacement = cells * grid.spacing[0] * torch.randn(n, d, generator=generator, dtype=torch.float64)
        field = ampere.advance(field, conserving_current(deposit, pos, displacement, charge, dt), dt)
        pos = grid.wrap(pos + displacement)
    rho = deposit(pos, charge) / grid.cell_volume
    error = float((ampere.divergence(field) - rho + rho.mean()).abs().max())
    # 7e-14 measured in 3D, with currents of up to 97 and a density of 11.
    assert error < 1e-12


@given(st.integers(1, 3), st.integers(0, 2**31))
@settings(max_examples=30, deadline=None)
def test_the_projection(d, seed):
    """Idempotent and orthogonal, keeps the divergence, has mean 0; what it leaves has no divergence."""
    grid = box(d)
    ampere, axes = Ampere(grid), tuple(range(d))
    J, other = torch.randn(2, *grid.shape, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    kept = ampere.longitudinal(J)
    tolerance = {"rtol": 0, "atol": 1e-13}
    torch.testing.assert_close(ampere.longitudinal(kept), kept, **tolerance)
    torch.testing.assert_close(ampere.divergence(kept), ampere.divergence(J), rtol=0, atol=1e-12)
    torch.testing.assert_close(kept.mean(axes), torch.zeros(d, dtype=torch.float64), **tolerance)
    # Sums of up to 2600 products.
    torch.testing.assert_close((kept * other).sum(), (J * ampere.longitudinal(other)).sum(), rtol=0, atol=1e-11)
    torch.testing.assert_close((kept * (J - kept)).sum(), torch.zeros((), dtype=torch.float64), rtol=0, atol=1e-11)


def test_a_curl_is_left_out():
    grid = box(2)
    psi = torch.randn(grid.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    curl = [(psi - psi.roll(1, 1)) / grid.spacing[1], (psi.roll(1, 0) - psi) / grid.spacing[0]]
    # Differences of up to 20.
    assert float(Ampere(grid).longitudinal(torch.stack(curl, dim=-1)).abs().max()) < 1e-13


def test_in_one_dimension_only_the_mean_of_the_current_is_left_out():
    J = torch.randn(12, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert torch.equal(Ampere(box(1)).longitudinal(J), J - J.mean())


@pytest.mark.parametrize("d", [1, 2])
def test_at_the_nodes_it_is_poissons_field_to_second_order(d):
    errors = []
    for n in (16, 32, 64):
        grid = Grid((2.0, 3.0)[:d], n)
        x = torch.stack(torch.meshgrid(*grid.axes(torch.zeros(1, dtype=torch.float64)), indexing="ij"), dim=-1)
        rho = torch.cos(math.pi * x[..., 0] + (0 if d == 1 else 4 * math.pi / 3 * x[..., -1]))
        ampere = Ampere(grid)
        errors.append(float((ampere.at_nodes(ampere.initial(rho)) - Poisson(grid)(rho)).abs().max()))
    for coarse, fine in itertools.pairwise(errors):
        assert math.log2(coarse / fine) == pytest.approx(2, abs=0.1)


def test_a_constant_field_is_itself_at_the_nodes():
    field = torch.tensor([1.0, -2.0, 3.0]).expand(12, 9, 8, 3)
    assert torch.equal(Ampere(box(3)).at_nodes(field), field)
    assert not Ampere(box(3)).divergence(field).any()


@pytest.mark.parametrize("order", [1, 2, 3])
def test_a_cold_plasma_oscillates_at_the_plasma_frequency(order):
    r"""Displaced by a small sine, all returns after one period 2 pi, but for the frequency of the grid.

    With splines of order m, differences over a cell and the mean of two faces it is lower by k^2 h^2 (m + 2) / 24, and
    the step raises it by dt^2 / 24: what is left of the velocity is 2 pi times the sum, times the displacement.
    """
    grid, n, steps, small = Grid(2 * math.pi, 64), 640, 200, 1e-3
    deposit, gather, ampere = Deposit(grid, order), Gather(grid, order), Ampere(grid)
    dt = 2 * math.pi / steps
    lattice = 2 * math.pi * (torch.arange(n, dtype=torch.float64)[:, None] + 0.5) / n
    pos, v = lattice + small * torch.sin(lattice), torch.zeros(n, 1, dtype=torch.float64)
    charge = torch.full((n,), grid.volume / n, dtype=torch.float64)
    first = field = ampere.initial(deposit(pos, charge) / grid.cell_volume)
    for _ in range(steps):
        v = v + dt / 2 * gather(pos, ampere.at_nodes(field))
        field = ampere.advance(field, conserving_current(deposit, pos, dt * v, charge, dt), dt)
        pos = grid.wrap(pos + dt * v)
        v = v + dt / 2 * gather(pos, ampere.at_nodes(field))
    slow = grid.spacing[0] ** 2 * (order + 2) / 24 - dt**2 / 24
    assert float(v.abs().max()) == pytest.approx(2 * math.pi * slow * small, rel=0.05)
    # The field is at its maximum: second order in that.
    assert float((field - first).abs().max()) < 2e-4 * float(first.abs().max())


def test_derivatives():
    grid = Grid((1.0, 2.0), (4, 5))
    J = torch.randn(4, 5, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)
    torch.autograd.gradcheck(Ampere(grid).longitudinal, J)
    torch.autograd.gradcheck(Ampere(grid).initial, J[..., 0].detach().clone().requires_grad_())


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: Ampere(Grid(1.0, 4, periodic=False)), "'grid' must be a periodic Grid (got Grid("),
        (lambda: Ampere(box(1)).initial(torch.zeros(12, 1)), "'rho' must have shape (12,) (got (12, 1))"),
        (lambda: Ampere(box(1)).longitudinal(torch.zeros(12)), "'J' must have shape (12, 1) (got (12,))"),
        (lambda: Ampere(box(1)).advance(torch.zeros(12), torch.zeros(12, 1), 0.1), "'E' must have shape (12, 1)"),
        (
            lambda: Ampere(box(1)).advance(torch.zeros(12, 1), torch.zeros(12, 1), math.nan),
            "'dt' must be a finite number (got nan)",
        ),
        (
            lambda: Ampere(box(1)).advance(torch.zeros(12, 1), torch.zeros(12, 1, dtype=torch.float64), 0.1),
            "'J' must have the dtype of 'E', torch.float32 (got torch.float64)",
        ),
        (lambda: Ampere(box(1)).divergence(torch.full((12, 1), torch.nan)), "'E' must be finite (got 12 non-finite"),
        (lambda: Ampere(box(2)).at_nodes(torch.zeros(12, 9)), "'E' must have shape (12, 9, 2) (got (12, 9))"),
    ],
)
def test_refuses_bad_input(call, text):
    with pytest.raises(ValueError, match=f"^{re.escape(text)}[^\n]*$"):
        call()
