"""Convergence of the transport itself, with the exact score: in the time step, and in the number of particles."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from graphlandau.base.state import particle_state
from graphlandau.diagnostics import covariance, covariance_error
from graphlandau.methods import SBTM, Step
from graphlandau.nn import GaussianScore
from graphlandau.problems import BKW
from graphlandau.run.observers.density_errors import ExactTransport


def final_velocities(problem, n, steps, integrator, seed=0):
    """Particles at ``t_start + 1``, moved by the exact score of the time at which each step starts."""
    v = problem.sample(n, generator=torch.Generator().manual_seed(seed))
    state = particle_state(v, t=problem.t_start)
    method = ExactTransport(problem, SBTM(GaussianScore(problem.d), step=Step(integrator=integrator)))
    method.prepare(state, problem)
    for step in range(steps):
        state.t = problem.t_start + step / steps
        state = method.advance(state, method.evaluate(state), 1 / steps)
    return state.v


@pytest.mark.parametrize("problem", [BKW(2), BKW(3)], ids=lambda p: p.name)
@pytest.mark.parametrize("integrator", ["euler", "midpoint"])
def test_order_in_time(problem, integrator):
    """Self-convergence on the same particles, dt = 0.1 to 0.00625.

    Measured: 1.00 to 1.03 for both. Midpoint keeps the score of the start of the step, so that it is of first order
    in time too; what it buys is the energy.
    """
    ends = [final_velocities(problem, 300, 10 * 2**k, integrator) for k in range(5)]
    gaps = [float((a - b).norm()) for a, b in pairwise(ends)]
    orders = [math.log2(a / b) for a, b in pairwise(gaps)]
    assert orders == pytest.approx([1.0] * 3, abs=0.15)


@pytest.mark.slow
def test_covariance_error_falls_with_the_root_of_the_number_of_particles():
    """RMS over 20 samples of the distance from the exact covariance, N = 100 to 6400."""
    problem, sizes = BKW(2), [100, 400, 1600, 6400]
    errors = []
    for n in sizes:
        # Midpoint: by symmetry and exact energy no error in time is left in the mean, however long the steps.
        ends = [final_velocities(problem, n, 4, "midpoint", seed) for seed in range(20)]
        square = [float(covariance_error(v, problem.covariance(1.0))) ** 2 for v in ends]
        errors.append(math.sqrt(sum(square) / len(square)))
    slope = np.polyfit(np.log(sizes), np.log(errors), 1)[0]
    # Each RMS of 20 errors of 3 entries has a relative standard error of about 1/sqrt(2 * 60) = 9 %; over log 64: 0.03.
    assert slope == pytest.approx(-0.5, abs=0.1)


def test_midpoint_keeps_the_energy_that_euler_gains():
    """Forward Euler adds dt^2 <|U|^2> to <|v|^2> at every step; the kernel midpoint adds nothing."""
    problem = BKW(2)
    start = problem.sample(500, generator=torch.Generator().manual_seed(0))
    before = float(covariance(start).trace() + start.mean(0).square().sum())
    for integrator, gain in (("euler", 1e-4), ("midpoint", 0.0)):
        end = final_velocities(problem, 500, 10, integrator)
        after = float(covariance(end).trace() + end.mean(0).square().sum())
        if gain:
            assert after - before > gain
        else:
            assert abs(after - before) < 1e-12 * before
