"""Fitting a control at every step: closed forms, gradient steps, warm starts, state, a user's own module."""

from __future__ import annotations

import pytest
import torch
from kinetic_runs import Frozen, WarmGaussian, affine, features, mlp, run
from torch import nn
from torch_geometric.data import Data

from graphlandau.base.state import particle_state
from graphlandau.methods import ControlTraining, KineticJKO, KineticSBTM
from graphlandau.objectives import ControlObjective
from graphlandau.problems import VFPDoubleWell
from graphlandau.training.control_fit import ControlFit

pytestmark = pytest.mark.usefixtures("small_and_quick")

PROBLEM = WarmGaussian()


def particles(n=200, dtype=torch.float64, seed=0):
    drawn = PROBLEM.draw(n, generator=torch.Generator().manual_seed(seed))
    return particle_state(**{key: x.to(dtype) for key, x in drawn.items()}, t=0.0)


def fit(control, state, **options):
    defaults = {
        "steps": 5,
        "initial_steps": 20,
        "warm_start": True,
        "learning_rate": 1e-2,
        "minibatch": None,
    }
    made = ControlFit(control, ControlTraining(**defaults | options))
    made.prepare(state, torch.Generator().manual_seed(0))
    return made


def objective(state, dt=0.1, log_det="exact"):
    return ControlObjective.split(state.v, dt=dt, epsilon=0.6, temperature=0.7, log_det=log_det)


def loss(made, state, dt=0.1):
    with torch.no_grad():
        return float(objective(state, dt)(*made.model.value_and_jacobian(state["pos"], state.v)).mean())


def test_a_closed_form_is_solved_for_without_gradient_steps():
    state = particles()
    made = fit(affine(PROBLEM), state)
    assert made.descent is None
    made(objective(state), state["pos"], state.v)
    solved = loss(made, state)
    # The minimum over affine controls: below rest, and below every control beside it.
    assert solved < 0
    best = made.model.coefficients.clone()
    for i in range(best.numel()):
        for change in (-1e-3, 1e-3):
            made.model.coefficients.copy_(best).view(-1)[i] += change
            assert loss(made, state) > solved


def test_gradient_steps_come_close_to_the_closed_form():
    state = particles()
    exact, trained = fit(affine(PROBLEM), state), fit(mlp(PROBLEM, width=16), state, initial_steps=300)
    for made in (exact, trained):
        made(objective(state), state["pos"], state.v)
    # The best control of a Gaussian is affine. A network that fits 200 particles may fall below it, by in-sample fit.
    assert loss(trained, state) < 0.9 * loss(exact, state)


def test_few_steps_from_scratch_recover_next_to_nothing():
    state = particles()
    exact, trained = fit(affine(PROBLEM), state), fit(mlp(PROBLEM), state, initial_steps=5, learning_rate=1e-3)
    for made in (exact, trained):
        made(objective(state), state["pos"], state.v)
    # What warm starts are for: such a run looks plausible and is wrong.
    assert loss(trained, state) > 0.5 * loss(exact, state)


def test_the_first_step_takes_more_gradient_steps_than_the_others():
    state = particles()
    made = fit(mlp(PROBLEM), state, steps=3, initial_steps=7, minibatch=50)
    for expected in (7, 10, 13):
        made(objective(state), state["pos"], state.v)
        assert made.descent.steps_taken == expected


def test_a_cold_start_begins_where_the_control_was_made():
    state = particles()
    made = fit(mlp(PROBLEM), state, warm_start=False)
    results = []
    for _ in range(2):
        made(objective(state), state["pos"], state.v)
        results.append(loss(made, state))
    assert results[0] == pytest.approx(results[1], rel=1e-12)  # sums over the particles in another order
    warm = fit(mlp(PROBLEM), state)
    for _ in range(2):
        warm(objective(state), state["pos"], state.v)
    assert loss(warm, state) < results[1]


def test_a_frozen_control_is_taken_as_it_is():
    state = particles()
    made = fit(Frozen(), state)
    made(objective(state), state["pos"], state.v)
    u, jacobian = made.model.value_and_jacobian(state["pos"], state.v)
    assert torch.equal(u, Frozen()(state["pos"], state.v))
    torch.testing.assert_close(jacobian[:, 0, 0], 1 / torch.cosh(state.v[:, 0]) ** 2, rtol=0, atol=1e-12)


@pytest.mark.parametrize("control", [affine, features, mlp])
def test_what_is_saved_goes_on_to_the_same_bits(control):
    state, later = particles(), particles(seed=1)
    made = fit(control(PROBLEM), state, minibatch=50)
    made(objective(state), state["pos"], state.v)
    saved = {key: x.clone() for key, x in made.state_dict().items()}
    generator = made.generator.get_state()
    made(objective(later), later["pos"], later.v)

    again = fit(control(PROBLEM), state, minibatch=50)
    again.load_state_dict(saved)
    again.generator.set_state(generator)
    again(objective(later), later["pos"], later.v)
    assert all(torch.equal(x, again.state_dict()[key]) for key, x in made.state_dict().items())


def test_single_precision_solves_in_double():
    state = particles(dtype=torch.float32)
    made = fit(affine(PROBLEM), state)
    made(objective(state), state["pos"], state.v)
    assert made.model.coefficients.dtype == torch.float64
    double = particles()
    exact = fit(affine(PROBLEM), double)
    exact(objective(double), double["pos"], double.v)
    u = made.model(state["pos"], state.v)
    assert u.dtype == torch.float32
    # Rounding of single precision in particles of size 3.
    torch.testing.assert_close(u.double(), exact.model(double["pos"], double.v), rtol=0, atol=1e-5)
    assert next(fit(mlp(PROBLEM), double).model.parameters()).dtype == torch.float64


def test_a_control_of_ones_own_is_trained_through():
    class Linear(nn.Module):
        def __init__(self):
            super().__init__()
            self.map = nn.Linear(2, 1)

        def forward(self, x, v):
            return self.map(torch.cat([x, v], dim=1))

    torch.manual_seed(0)
    own = run(
        PROBLEM,
        KineticJKO(Linear(), training=ControlTraining(initial_steps=400, learning_rate=0.02, minibatch=None)),
        dt=0.1,
        t_end=0.1,
    )
    exact = run(PROBLEM, KineticJKO(affine(PROBLEM)), dt=0.1, t_end=0.1)
    # Adam at a rate of 0.02 stops some 1e-3 from the minimum.
    torch.testing.assert_close(own.state.v, exact.state.v, rtol=0, atol=5e-3)
    torch.testing.assert_close(own.state.log_f, exact.state.log_f, rtol=0, atol=5e-3)


def test_controls_agree_where_the_affine_one_is_exact():
    # Few features on a Gaussian are not worth their noise: the rule leaves them out.
    ends = [run(PROBLEM, KineticJKO(control(PROBLEM)), particles=500).state.v for control in (affine, features)]
    # Equal up to where the solves end, at eight digits of the weights.
    torch.testing.assert_close(*ends, rtol=0, atol=1e-6)
    other = VFPDoubleWell()
    ends = [run(other, KineticSBTM(control(other)), particles=500, t_end=0.5).state.v for control in (affine, features)]
    assert float((ends[0] - ends[1]).abs().max()) > 1e-2


def test_refuses_what_is_no_control():
    class Wide(nn.Module):
        def forward(self, x, v):
            return torch.cat([v, v], dim=1)

    class Coupled(nn.Module):
        def forward(self, x, v):
            return v - v.mean(0)

    state = particles()
    with pytest.raises(
        ValueError, match=r"'control' must map \(N, 1\), \(N, 1\) to \(N, 1\) \(got a Wide that returned"
    ):
        fit(Wide(), state)
    with pytest.raises(ValueError, match="'control' must act on each particle alone"):
        fit(Coupled(), state)
    with pytest.raises(ValueError, match=r"'control' must have d_x = 1 and d = 1 \(got a AffineControl with d_x = 2"):
        fit(affine(VFPDoubleWell(d=2)), state)
    for option, value in (
        ("steps", 0),
        ("initial_steps", 0),
        ("warm_start", 1),
        ("learning_rate", 0.0),
        ("minibatch", 1),
    ):
        with pytest.raises(ValueError, match=f"'{option}' must be"):
            fit(affine(PROBLEM), Data(), **{option: value})
    with pytest.raises(ValueError, match=r"'control' must be a torch\.nn\.Module \(got str\)"):
        fit("affine", state)
