"""Energies, modes and noise of particles with positions."""

from __future__ import annotations

import math

import pytest
import torch

from graphlandau.diagnostics import field_mode, field_noise, field_square, kinetic_energy, potential_energy
from graphlandau.fields import Grid, Poisson, RippledWell


def test_kinetic_energy_counts_mass_and_every_component():
    v = torch.tensor([[1.0, 2.0], [0.0, -1.0]])
    assert kinetic_energy(v) == 0.5 * (5 + 1) / 2
    assert kinetic_energy(v, 3.0) == 3 * kinetic_energy(v)


def test_sums_are_taken_in_double_precision():
    # 1e6 equal numbers in single precision would be off in the fifth digit.
    v = torch.full((1_000_000, 1), 0.1)
    assert kinetic_energy(v) == pytest.approx(0.5 * float(torch.tensor(0.1).double()) ** 2, rel=1e-12)


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


@pytest.mark.parametrize("shape", [(32,), (32, 8), (32, 8, 4)])
@pytest.mark.parametrize("mode", [1, 3])
def test_a_mode_is_its_cosine_and_sine(shape, mode):
    phase = 2 * math.pi * mode * torch.arange(shape[0], dtype=torch.float64) / shape[0]
    wave = 0.3 + 0.7 * torch.cos(phase) + 0.2 * torch.sin(phase) + 0.4 * torch.cos(2 * phase)
    field = wave.view(-1, *[1] * (len(shape) - 1), 1).expand(*shape, len(shape)).clone()
    # What varies in the other directions, or lies in other components, does not count.
    if len(shape) > 1:
        field[..., 0] += torch.sin(2 * math.pi * torch.arange(8) / 8).view(8, *[1] * (len(shape) - 2))
        field[..., 1] += 5
    assert field_mode(field, mode) == pytest.approx(0.7 - 0.2j, abs=1e-13)


def test_noise_of_independent_particles_is_what_the_modes_above_say():
    # N particles of charge L / N at random: a density of which each mode has the mean square 4 / N.
    n, length, cells, mode = 2000, 6.0, 256, 2
    generator, solver = torch.Generator().manual_seed(0), Poisson(Grid(length, cells))
    measured, estimated = [], []
    for _ in range(200):
        at = torch.rand(n, generator=generator, dtype=torch.float64) * cells
        count = torch.bincount(at.long(), minlength=cells).double()
        field = solver(count * cells / n)
        measured.append(abs(field_mode(field, mode)) ** 2)
        estimated.append(field_noise(field, mode) ** 2)
    k = 2 * math.pi * mode / length
    expected = 4 / n / k**2
    # Squares of modes are exponential, with a relative deviation of 1, of the mean of four 1/2; four standard errors of
    # 200 runs. The nearest node changes mode 6 by sinc(6 / 256), 0.1 percent.
    assert sum(measured) / 200 == pytest.approx(expected, rel=4 / math.sqrt(200))
    assert sum(estimated) / 200 == pytest.approx(expected, rel=2 / math.sqrt(200))


def test_a_wave_alone_has_no_noise():
    phase = 2 * math.pi * torch.arange(16, dtype=torch.float64) / 16
    assert field_noise(torch.sin(phase)[:, None], 1) == pytest.approx(0, abs=1e-15)
    assert field_noise(torch.sin(7 * phase)[:, None], 7) == 0
