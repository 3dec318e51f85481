"""Velocity matching: the fields on Gaussians, the density of phase space, refusals."""

from __future__ import annotations

import math

import pytest
import torch
from kinetic_runs import (
    Drifting,
    ExactMoments,
    Frozen,
    WarmGaussian,
    affine,
    features,
    log_normal,
    mean_and_covariance,
    phase,
    run,
    step_determinants,
)

from graphlandau.base.errors import Diverged
from graphlandau.cli.option_groups import closed
from graphlandau.methods import VelocityMatching
from graphlandau.problems import VFPPeriodic, VPFPBeams

pytestmark = pytest.mark.usefixtures("small_and_quick")


def steps(problem, control, n, dt=0.1, particles=60, **options):
    """States after ``n`` steps and one more, and the method that took the last."""
    methods = [VelocityMatching(control(problem), **closed(VelocityMatching, options)) for _ in range(2)]
    states = [
        run(problem, method, particles=particles, dt=dt, t_end=k * dt).state
        for method, k in zip(methods, (n, n + 1), strict=True)
    ]
    return *states, methods[1]


@pytest.mark.parametrize("d", [1, 2])
def test_a_step_of_a_gaussian_follows_the_fields(d):
    problem, dt = WarmGaussian(d=d), 0.1
    start, end, _ = steps(problem, affine, 2)
    e, temperature = problem.epsilon, problem.temperature
    mean, covariance = mean_and_covariance(start)
    score = -torch.linalg.solve(covariance, (phase(start) - mean).T).T
    by_x, by_v = score[:, :d], score[:, d:]
    x, v = start["pos"], start.v
    u_x = v + temperature * by_v
    u_v = -2 * x - temperature * by_x - e * (v + temperature * by_v)
    # Two linear solves.
    torch.testing.assert_close(end["pos"], x + dt * u_x, rtol=0, atol=1e-11)
    torch.testing.assert_close(end.v, v + dt * u_v, rtol=0, atol=1e-11)


@pytest.mark.parametrize("d", [1, 2])
def test_the_log_density_is_that_of_the_gaussian_pushed_forward(d):
    problem = WarmGaussian(d=d)
    state = run(problem, VelocityMatching(affine(problem)), particles=40).state
    # Affine maps of a Gaussian; rounding of ten steps.
    torch.testing.assert_close(state.log_f, log_normal(state), rtol=0, atol=1e-12)


def test_the_log_density_changes_by_the_determinant_in_phase_space():
    problem, dt = VFPPeriodic(), 0.02
    start, end, method = steps(problem, lambda p: features(p, 6, 1.0), 1, dt=dt)
    fields = method.fit_x.model, method.fit.model

    def step(z):
        x, v = z[None, :1], z[None, 1:]
        return torch.cat([x + dt * fields[0](x, v), v + dt * fields[1](x, v)], dim=1)[0]

    moved = torch.stack([step(z) for z in phase(start)])
    torch.testing.assert_close(moved[:, 1:], end.v, rtol=0, atol=1e-12)
    log_det = step_determinants(start, step).log()
    assert float(log_det.std()) > 1e-3  # not the same for all particles: the features are in use
    torch.testing.assert_close(start.log_f - end.log_f, log_det, rtol=0, atol=1e-10)


def test_the_moments_converge_to_the_exact_ones_in_first_order():
    problem, errors = ExactMoments(), []
    for dt in (0.025, 0.0125):
        state = run(problem, VelocityMatching(affine(problem)), particles=20, dt=dt, t_end=1.0).state
        mean, covariance = mean_and_covariance(state)
        exact = problem.density(1.0)
        errors.append(float((mean - exact.mean).norm() + (covariance - exact.covariance).norm()))
    # Two step sizes show the order up to the next one in dt.
    assert math.log2(errors[0] / errors[1]) == pytest.approx(1, abs=0.1)


def test_nothing_moves_in_the_stationary_state():
    class AtRest(WarmGaussian):
        """Exactly the moments of exp(-v^2 / 2 T_0 - x^2 / T_0)."""

        def __init__(self):
            super().__init__([[0.35, 0.0], [0.0, 0.7]])
            self.initial._gaussian.mean.zero_()

    problem = AtRest()
    start, end, _ = steps(problem, affine, 1)
    # The particles themselves rest: the velocity of a density is defined up to what does not move it.
    torch.testing.assert_close(phase(end), phase(start), rtol=0, atol=1e-11)


def test_refuses_what_it_cannot_match():
    beams = VPFPBeams(d=3)
    with pytest.raises(ValueError, match=r"as many dimensions .* \(got 1 of position, 3 of velocity\)"):
        run(beams, VelocityMatching(affine(beams)), particles=20)
    none = Drifting()
    with pytest.raises(ValueError, match=r"'epsilon' must be positive for a method with collisions \(got 0\)"):
        run(none, VelocityMatching(affine(none)))
    with pytest.raises(ValueError, match=r"'control' must be a torch\.nn\.Module"):
        VelocityMatching("affine")
    problem = VFPPeriodic()
    with pytest.raises(Diverged, match=r"the map of the step is not invertible: .* of 50 particles"):
        run(problem, VelocityMatching(Frozen(-4.0)), particles=50, dt=0.5)
