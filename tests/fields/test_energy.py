"""Energies of potentials and fields."""

from __future__ import annotations

import math

import pytest
import torch

from graphlandau.fields import Grid, Poisson, RippledWell, field_energy, field_square, potential_energy


def test_the_square_of_a_wave_is_half_the_box():
    x = torch.arange(16, dtype=torch.float64) * 0.25
    field = 3 * torch.cos(2 * math.pi * x / 4)[:, None]
    # The rule of the nodes is exact for a wave: 9 / 2 times the length.
    assert field_square(field, 4.0) == pytest.approx(18, rel=1e-14)
    both = torch.cat([field, field], dim=1)
    assert field_square(both, 4.0) == pytest.approx(36, rel=1e-14)


def test_potential_energy_is_that_of_potential_and_field():
    x, field = torch.tensor([[1.0], [2.0]]), torch.ones(8, 1)
    well = RippledWell(stiffness=2.0)
    assert potential_energy(x) == 0
    assert potential_energy(x, potential=well) == 2.5
    assert potential_energy(x, mass=4.0, potential=well) == 10
    assert potential_energy(x, field=field, volume=4.0) == 2
    assert potential_energy(x, mass=4.0, potential=well, field=field, volume=4.0) == 12


def test_field_energy_is_the_potential_energy_of_the_charge():
    # Of E^2 and of rho Phi, in a periodic box; to rounding by spectral derivatives without the Nyquist mode.
    grid = Grid((4.0, 3.0), (16, 8))
    rho = torch.randn(16, 8, dtype=torch.float64)
    spectrum = torch.fft.fft2(rho)
    spectrum[8], spectrum[:, 4] = 0, 0
    rho = torch.fft.ifft2(spectrum).real
    solver = Poisson(grid)
    half = 0.5 * grid.volume * float((rho * solver.potential(rho)).mean())
    assert 0.5 * field_square(solver(rho), grid.volume) == pytest.approx(half, rel=1e-12)


def test_the_two_ways_to_an_energy_agree():
    grid = Grid((4.0, 3.0), (16, 8))
    field = torch.randn(16, 8, 2, dtype=torch.float64)
    assert float(field_energy(grid, field)) == pytest.approx(0.5 * field_square(field, grid.volume), rel=1e-13)
