"""Modes and noise of the field of particles with positions."""

from __future__ import annotations

import math

import pytest
import torch

from graphlandau.diagnostics import field_mode, field_noise
from graphlandau.fields import Grid, Poisson


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
