"""A wave in the density: one of length and wavenumber gives the other, and the mass is the length."""

from __future__ import annotations

import math

import pytest
import torch

from graphlandau.problems import NormalMixture
from graphlandau.problems.density_wave import DensityWave


def wave(**given) -> DensityWave:
    options = {"k": None, "length": None, "amplitude": 0.1, "epsilon": 0.0, "cells": 32, "loading": "quiet"}
    run = {"t_end": 1.0, "dt": 0.1, "particles": 100}
    return DensityWave([NormalMixture([1.0], [0.0], [1.0])], **run | options | given)


def test_length_and_wavenumber_give_each_other():
    assert wave(k=0.5).length == pytest.approx(4 * math.pi, rel=1e-15)
    assert wave(length=10.0).k == pytest.approx(0.2 * math.pi, rel=1e-15)
    both = wave(k=0.5, length=12 * math.pi)
    assert (both.mode, both.lengths, both.mass) == (3, (12 * math.pi,), 12 * math.pi)


def test_particles_follow_the_wave():
    """<exp(-ikx)> of the density 1 + a cos kx is a / 2; quiet particles have it far better than N^-1/2."""
    problem = wave(k=0.5, amplitude=0.3)
    x, _ = problem.sample(20_000, generator=torch.Generator().manual_seed(0))
    mode = torch.exp(-1j * problem.k * x[:, 0]).mean()
    assert complex(mode) == pytest.approx(0.15, abs=1e-3)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({}, "'k' or 'length' must be given"),
        ({"k": -1.0}, "'k' must be positive"),
        ({"length": 0.0}, "'length' must be positive"),
        ({"k": 0.3, "length": 10.0}, "'k' must be a multiple of"),
        ({"k": 0.5, "amplitude": 1.0}, r"'amplitude' must be in \[0, 1\)"),
    ],
)
def test_refuses_what_makes_no_wave(given, named):
    with pytest.raises(ValueError, match=named):
        wave(**given)
