"""Score matching with an explicit drag: one step, its density, order and stability."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kinetic_runs import Drifting, ExactMoments, WarmGaussian, affine, log_normal, mean_and_covariance, run, whitened

from graphlandau.base.errors import Diverged
from graphlandau.methods import KineticSBTM, Push
from graphlandau.methods.controlled import Start
from graphlandau.problems import KineticProblem, PhaseGaussian

pytestmark = pytest.mark.usefixtures("small_and_quick")


class Cloud(KineticProblem):
    """A Gaussian without a force, its velocities of variance 9 about (1, -1); the particles have the exact moments."""

    def __init__(self) -> None:
        initial = PhaseGaussian(
            [0.0, 0.0, 1.0, -1.0], [[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 9, 0], [0, 0, 0, 9]], d_x=2
        )
        super().__init__(initial, epsilon=1.0, temperature=2.0, t_end=1.0, dt=0.1, particles=60)

    def sample(self, n, *, generator):
        return whitened(self, *super().sample(n, generator=generator))


def test_a_step_is_drag_by_the_score_after_the_map():
    problem, dt = Cloud(), 0.1
    state = run(problem, KineticSBTM(affine(problem)), dt=dt, t_end=dt).state
    # Free streaming gives x and v the covariance C; the score of v is that of the regression on x.
    C = torch.tensor([[1 + 9 * dt**2, 9 * dt], [9 * dt, 9.0]], dtype=torch.float64)
    B = (
        torch.tensor([[1.0, 0.0], [0.0, 1 - dt]], dtype=torch.float64)
        + dt * 2.0 * torch.tensor([[0.0, 0.0], [0.0, 1.0]]).double() @ C.inverse()
    )
    mean, covariance = mean_and_covariance(state)
    expected = torch.kron(B @ C @ B.T, torch.eye(2, dtype=torch.float64))
    # One linear solve.
    torch.testing.assert_close(covariance, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(mean[2:], (1 - dt) * torch.tensor([1.0, -1.0]).double(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("map", ["verlet", "drift_kick", "kick_drift"])
def test_the_log_density_is_that_of_the_gaussian_pushed_forward(map):
    problem = WarmGaussian(d=2)
    state = run(problem, KineticSBTM(affine(problem), push=Push(map=map)), particles=40).state
    # Affine maps of a Gaussian; rounding of ten steps.
    torch.testing.assert_close(state.log_f, log_normal(state), rtol=0, atol=1e-12)


def test_the_drift_error_is_of_first_order():
    problem, errors = ExactMoments(), []
    for dt in (0.05, 0.025):
        rows = run(problem, KineticSBTM(affine(problem)), particles=20, dt=dt, t_end=2.0).metrics
        errors.append(sum(row["drift_error"] for row in rows[1:]) / (len(rows) - 1))
    # Two step sizes show the order up to the next one in dt.
    assert math.log2(errors[0] / errors[1]) == pytest.approx(1, abs=0.1)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**31), strength=st.floats(0.05, 0.9))
def test_a_maxwellian_does_not_move(seed, strength):
    class AtRest(Drifting):
        def sample(self, n, *, generator):
            x, v = super().sample(n, generator=generator)
            # Beside the regression on the embedded positions, of exact variance T_0.
            e = torch.cat([torch.cos(math.pi * x), torch.sin(math.pi * x), torch.ones_like(x)], dim=1)
            v = v - e @ torch.linalg.lstsq(e, v).solution
            return x, math.sqrt(self.temperature) * v / v.square().mean().sqrt()

    problem = AtRest(epsilon=strength / 0.1, temperature=1.7)

    class OnlyCollides(KineticSBTM):
        """With the positions after the map as those before it, the regression is zero again."""

        def start(self, state, frame, dt):
            here = (state["pos"], state.v)
            return Start(here, state.v, here, lambda v: (state["pos"], state.force, None))

    method = OnlyCollides(affine(problem))
    initial = method.initialise(first(problem, seed), problem)
    after = method.advance(initial, method.evaluate(initial), 0.1)
    torch.testing.assert_close(after.v, initial.v, rtol=0, atol=1e-11)
    torch.testing.assert_close(after.log_f, initial.log_f, rtol=0, atol=1e-11)


def first(problem, seed):
    from graphlandau.base.state import particle_state

    return particle_state(**problem.draw(60, generator=torch.Generator().manual_seed(seed)), t=0.0)


def test_a_step_folds_where_drag_outweighs_diffusion():
    problem = Cloud()
    # 1 + dt u_v = 1 - dt (1 - T_0 / sigma^2) with sigma^2 = 9 / (1 + 9 dt^2), which is less than T_0 at dt = 1.
    assert run(problem, KineticSBTM(affine(problem)), dt=1.0, t_end=1.0).state.v.isfinite().all()

    class Narrow(Cloud):
        """Nearly no thermal motion to hold the drag against."""

        def __init__(self):
            super().__init__()
            self.temperature = 1e-6

    problem = Narrow()
    with pytest.raises(Diverged, match=r"60 of 60 particles \(100.00%\).* a dt below 1 would have passed \(got 2\)"):
        run(problem, KineticSBTM(affine(problem)), dt=2.0, t_end=2.0)
