"""The JKO scheme: dissipation, conservation, order, both determinants; what folds, what is refused, what resumes."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch

from graphlandau.base.errors import Diverged
from graphlandau.base.state import particle_state
from graphlandau.cli.option_groups import closed
from graphlandau.methods import JKO, Collisions, EpochFit, InnerStep
from graphlandau.nn import ClosedFormScore, GaussianScore, GNNScore, MLPScore, ResidualScore
from graphlandau.problems import BKW, Anisotropic, Problem, Truncated
from graphlandau.run.simulation import Simulation
from graphlandau.training.schedules import StepDecay

COULOMB = Anisotropic(3, strength=0.2, gamma=-3.0)
PROBLEMS = pytest.mark.parametrize("problem", [BKW(2), COULOMB], ids=lambda p: p.name)
LOG_DETS = pytest.mark.parametrize("log_det", ["linear", "exact"])


def plasma(problem: Problem, n: int, seed: int = 0, dtype=torch.float64):
    v = problem.sample(n, generator=torch.Generator().manual_seed(seed)).to(dtype)
    return particle_state(v, t=problem.t_start)


def closed_form(d: int) -> ClosedFormScore:
    """Fixed features and a fixed ridge: nothing is chosen on the way, the field is smooth in the particles."""
    return ClosedFormScore(d, num_features=12, ridge=1.0)


def begin(method: JKO, problem: Problem, n: int, seed: int = 0, dtype=torch.float64):
    return method.initialise(plasma(problem, n, seed, dtype), problem)


def moved(method: JKO, state, tau: float, steps: int):
    for _ in range(steps):
        state = method.advance(state, method.evaluate(state, tau), tau)
    return state


# Dissipation and conservation


@PROBLEMS
@LOG_DETS
@pytest.mark.parametrize("inner", [("euler", 1), pytest.param(("rk4", 1), marks=pytest.mark.slow)])
def test_entropy_falls_by_at_least_half_the_action(problem, log_det, inner):
    """Prop. 3.2 (i), in the form that the minimiser beats no motion: H' - H <= -(tau / 2) action, at every step.

    Minimised over the pairs that move the particles. For one explicit step action is -sum w u.U at its start.
    """
    integrator, inner_steps = inner
    method = JKO(
        closed_form(problem.d), step=InnerStep(log_det=log_det, integrator=integrator, inner_steps=inner_steps)
    )
    state = begin(method, problem, 120)
    for _ in range(4):
        frame = method.evaluate(state, 0.1)
        after = method.advance(state, frame, 0.1)
        fall = float((after.log_f - state.log_f).mean())
        action = -float((frame.s * frame.drift).sum(1).mean())
        # Along the way of RK4 the action is a little less than at the start.
        assert fall <= -0.5 * 0.1 * action * (1 - 1e-9 if integrator == "euler" else 0.8)
        assert action > 0
        state = after


@LOG_DETS
@pytest.mark.parametrize("gamma", [-3.0, 0.0])
def test_random_batches_dissipate_when_they_are_those_of_the_minimisation(log_det, gamma):
    """Batches of 20 for both: the inequality of the step holds for the blocked sums, too."""
    problem = Anisotropic(2, strength=0.2, gamma=gamma)
    method = JKO(
        closed_form(2),
        fit=EpochFit(minibatch=20),
        step=InnerStep(log_det=log_det),
        collisions=Collisions(batch_size=20),
    )
    state = begin(method, problem, 100)
    for _ in range(4):
        used = []
        solve = method.solver.solve
        method.solver.solve = lambda state, batch, *rest, used=used, solve=solve: (
            used.append(batch),
            solve(state, batch, *rest),
        )
        frame = method.evaluate(state, 0.02)
        method.solver.solve = solve
        assert torch.equal(frame.batch, used[0])
        assert torch.bincount(frame.batch).tolist() == [20] * 5
        after = method.advance(state, frame, 0.02)
        action = -float((frame.s * frame.drift).sum(1).mean())
        assert float((after.log_f - state.log_f).mean()) <= -0.5 * 0.02 * action * (1 - 1e-9)
        state = after


@pytest.mark.slow
def test_the_exact_step_dissipates_where_the_linear_one_folds():
    """A step of four relaxation times: the entropy of the push-forward falls at every exact step.

    With RK4 in the inner time, so that it does not fall by heating: the energy stays within 4 % (measured 2.5 %), where
    one explicit inner step would multiply it.
    """
    problem, tau = Anisotropic(2, strength=1.0, gamma=0.0), 0.5
    method = JKO(closed_form(2), step=InnerStep(log_det="exact", integrator="rk4"))
    state = begin(method, problem, 100)
    entropies, energies = [float(state.log_f.mean())], [float(state.v.square().sum(1).mean())]
    for _ in range(3):
        state = moved(method, state, tau, 1)
        entropies.append(float(state.log_f.mean()))
        energies.append(float(state.v.square().sum(1).mean()))
    assert all(b < a for a, b in pairwise(entropies))
    assert max(energies) < 1.04 * min(energies)
    linear = JKO(closed_form(2), step=InnerStep(log_det="linear"))
    with pytest.raises(ArithmeticError, match="not invertible"):
        moved(linear, begin(linear, problem, 100), tau, 1)


@PROBLEMS
@LOG_DETS
def test_momentum_is_exact_and_energy_gains_what_euler_gains(problem, log_det):
    method = JKO(closed_form(problem.d), step=InnerStep(log_det=log_det))
    state = begin(method, problem, 100)
    frame = method.evaluate(state, 0.05)
    after = method.advance(state, frame, 0.05)
    assert float((after.v - state.v).mean(0).norm()) < 1e-15
    gain = float((after.v**2).sum(1).mean() - (state.v**2).sum(1).mean())
    assert gain == pytest.approx(0.05**2 * float((frame.drift**2).sum(1).mean()), rel=1e-9)
    assert after.t == pytest.approx(state.t + 0.05)


def test_more_inner_steps_keep_the_energy_better():
    """K Euler steps gain 1/K of one, RK4 next to nothing."""
    gains = []
    for integrator, inner_steps in (("euler", 1), ("euler", 4), ("rk4", 1)):
        method = JKO(closed_form(2), step=InnerStep(integrator=integrator, inner_steps=inner_steps))
        state = begin(method, BKW(2), 100)
        after = moved(method, state, 0.1, 1)
        gains.append(abs(float((after.v**2).sum() - (state.v**2).sum())))
    # Along the way the drift slackens, so that less than a quarter is left.
    assert gains[1] == pytest.approx(gains[0] / 4, rel=0.35)
    assert gains[2] < 1e-4 * gains[0]


# The log-density


@PROBLEMS
def test_log_density_by_either_determinant(problem):
    """Linear: log f' = log f - tau div U, Eq. (23). Exact: by the determinant of I + tau grad U."""
    for log_det, model in (("linear", closed_form), ("exact", closed_form), ("exact", MLPScore)):
        method = JKO(model(problem.d), fit=EpochFit(initial_steps=50), step=InnerStep(log_det=log_det))
        state = begin(method, problem, 60)
        assert torch.allclose(state.log_f, problem.log_prob(state.v))
        frame = method.evaluate(state, 0.1)
        jacobian = method.drift.jacobian(state.v, frame.s, frame.jac_s)
        growth = 0.1 * jacobian.diagonal(dim1=1, dim2=2).sum(-1)
        if log_det == "exact":
            growth = torch.linalg.slogdet(torch.eye(problem.d, dtype=torch.float64) + 0.1 * jacobian).logabsdet
        after = method.advance(state, frame, 0.1)
        # What is carried is of the field itself; the score of the frame differs by a + b v, which moves nothing.
        assert torch.allclose(after.log_f, state.log_f - growth, rtol=1e-10)
        own = method.drift.jacobian(state.v, *method.model.value_and_jacobian(state.v))
        assert torch.allclose(jacobian, own, rtol=1e-8, atol=1e-10)


@PROBLEMS
def test_the_score_has_the_moments_of_one_and_moves_as_the_field(problem):
    for model in (closed_form(problem.d), MLPScore(problem.d)):
        method = JKO(model, fit=EpochFit(initial_steps=5))
        state = begin(method, problem, 100)
        frame = method.evaluate(state, 0.1)
        assert float(frame.s.mean(0).norm()) < 1e-12
        assert float((state.v * frame.s).sum(1).mean()) == pytest.approx(-problem.d, abs=1e-10)
        u = method.model(state.v)
        assert torch.allclose(frame.drift, method.drift(state.v, u), rtol=1e-8, atol=1e-10)


# Accuracy


@LOG_DETS
@pytest.mark.parametrize("integrator", ["euler", pytest.param("rk4", marks=pytest.mark.slow)])
def test_order_in_tau(log_det, integrator):
    """Self-convergence on the same particles with a field exact in its class: tau = 1/12 to 1/48, slope 1."""
    problem, ends = BKW(2), []
    for steps in (12, 24, 48):
        method = JKO(closed_form(2), step=InnerStep(log_det=log_det, integrator=integrator))
        ends.append(moved(method, begin(method, problem, 40), 1 / steps, steps))
    for key in ("v", "log_f"):
        gaps = [float((a[key] - b[key]).norm()) for a, b in pairwise(ends)]
        assert math.log2(gaps[0] / gaps[1]) == pytest.approx(1.0, abs=0.15)


@pytest.mark.parametrize("log_det", ["linear", pytest.param("exact", marks=pytest.mark.slow)])
def test_order_in_tau_with_coulomb_collisions(log_det):
    problem, ends = Anisotropic(2, strength=0.2, gamma=-3.0), []
    for steps in (8, 16, 32):
        method = JKO(closed_form(2), step=InnerStep(log_det=log_det))
        ends.append(moved(method, begin(method, problem, 40), 0.05 / steps, steps))
    gaps = [float((a.v - b.v).norm()) for a, b in pairwise(ends)]
    assert math.log2(gaps[0] / gaps[1]) == pytest.approx(1.0, abs=0.15)


@LOG_DETS
def test_follows_the_exact_solution(log_det):
    """BKW from t = 0 to 1: a relative Fisher divergence below 5 %, the covariance of the sample to 1 %."""
    problem = BKW(2)
    method = JKO(ClosedFormScore(2), fit=EpochFit(minibatch=500), step=InnerStep(log_det=log_det))
    state = begin(method, problem, 2000, dtype=torch.float32)
    state = moved(method, state, 0.1, 10)
    state.t = 1.0
    s, exact = method.evaluate(state, 0.1).s.double(), problem.score(state.v.double(), 1.0)
    # Measured 0.027 (linear) and 0.027 (exact); the Gaussian score alone has 0.18 there.
    assert float((s - exact).square().sum() / exact.square().sum()) < 0.05
    spread = state.v.double().T.cov()
    assert float((spread - torch.eye(2)).norm()) < 0.06


@LOG_DETS
def test_a_network_finds_the_score_by_the_pair_loss_alone(log_det):
    """No initial fit: epochs of Adamax on all pairs inside mini-batches, on a plasma that does not move."""
    problem = Anisotropic(2, strength=0.05, gamma=-3.0)
    torch.manual_seed(0)
    method = JKO(
        MLPScore(2),
        fit=EpochFit(epochs=20, minibatch=200, learning_rate=5e-3, hold_out=False, initial_steps=0),
        step=InnerStep(log_det=log_det),
    )
    state = begin(method, problem, 2000, dtype=torch.float32)
    exact = problem.score(state.v)
    s = method.evaluate(state, 0.01).s
    # Measured 0.007; an untrained network, shown as a score, is close to -v and has 0.6.
    assert float((s - exact).square().sum() / exact.square().sum()) < 0.02


def test_epochs_see_every_particle_once_and_count():
    method = JKO(MLPScore(2), fit=EpochFit(epochs=2, minibatch=30, hold_out=False, initial_steps=0))
    state = begin(method, BKW(2), 100, dtype=torch.float32)
    seen = []
    loss = method.action.forward
    method.action.forward = lambda v, *args, **kwargs: (seen.append(v), loss(v, *args, **kwargs))[1]
    method.evaluate(state, 0.1)
    assert [len(v) for v in seen] == [34, 33, 33] * 2
    assert torch.equal(torch.cat(seen[:3]).sort(0).values, state.v.sort(0).values)
    assert method.record() == {"gradient_steps": 6}
    assert isinstance(method.descent.optimiser, torch.optim.Adamax)


def test_a_few_particles_are_not_learned_by_heart():
    """50 particles and a network of 2,300 parameters: judged by a fifth, the drift stays that of a plasma."""
    problem = BKW(2)
    speeds = {}
    for hold_out in (True, False):
        torch.manual_seed(0)
        method = JKO(ResidualScore(2), fit=EpochFit(learning_rate=5e-3, epochs=50, hold_out=hold_out))
        state = begin(method, problem, 50, dtype=torch.float32)
        for _ in range(5):
            frame = method.evaluate(state, 0.01)
        speeds[hold_out] = float(frame.drift.norm())
    exact = float(method.drift(state.v, problem.score(state.v).float()).norm())
    assert speeds[True] < 2 * exact
    assert speeds[False] > 3 * exact


def test_schedule_follows_the_time_since_the_start():
    problem = BKW(2, t_start=1.0)
    method = JKO(MLPScore(2), fit=EpochFit(learning_rate=1e-3, schedule=StepDecay([0.5], 0.1), initial_steps=0))
    state = begin(method, problem, 50, dtype=torch.float32)
    rates = []
    for t in (1.0, 1.5, 1.6):
        state.t = t
        method.evaluate(state, 0.1)
        rates.append(method.descent.optimiser.param_groups[0]["lr"])
    assert rates == pytest.approx([1e-3, 1e-3, 1e-4])


def test_random_batches_move_the_particles():
    """Momentum in every block; the field is that of all particles."""
    method = JKO(closed_form(2), step=InnerStep(log_det="exact"), collisions=Collisions(batch_size=20))
    state = begin(method, BKW(2), 100)
    frame = method.evaluate(state, 0.05)
    after = method.advance(state, frame, 0.05)
    for label in range(5):
        inside = frame.batch == label
        assert float((after.v - state.v)[inside].sum(0).norm()) < 1e-13
    growth = method.drift.jacobian(state.v, frame.s, frame.jac_s, batch=frame.batch)
    expected = state.log_f - torch.linalg.slogdet(torch.eye(2, dtype=torch.float64) + 0.05 * growth).logabsdet
    assert torch.allclose(after.log_f, expected, rtol=1e-10)


@pytest.mark.slow
def test_where_the_initial_score_is_unknown_the_pair_loss_finds_it():
    """A Gaussian without its core: no pointwise score says so, and the drift of -v would be zero."""
    torch.manual_seed(0)
    problem = Truncated()
    method = JKO(ResidualScore(2), fit=EpochFit(learning_rate=3e-3, initial_steps=300, minibatch=500))
    state = begin(method, problem, 2000, dtype=torch.float32)
    s = method.model(state.v)
    radial = (s * state.v).sum(1) / state.v.norm(dim=1)
    near, far = state.v.norm(dim=1) < 1.3, state.v.norm(dim=1) > 2
    # -v would be -1.15 and -2.3; the density rises from the hole: particles next to it are pushed outwards.
    assert float(radial[near].mean()) > -0.6
    assert float(radial[far].mean()) < -1.5


# Models that couple particles


def test_coupled_models_have_an_unbiased_loss(monkeypatch):
    """Above 512 particles one probe per particle estimates the Jacobian: the mean loss is that of the exact one."""
    torch.manual_seed(0)
    method = JKO(
        GNNScore(2, k=4, width=8, depth=1), fit=EpochFit(minibatch=40, initial_steps=0), step=InnerStep(log_det="none")
    )
    state = begin(method, BKW(2), 40, dtype=torch.float32)
    for parameter in method.model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    exact = float(method._loss(method.model.value_and_jacobian, state.v, None, None).detach())
    monkeypatch.setattr("graphlandau.methods.jko.MAX_COUPLED", 10)
    field = method._field(state.v)
    found = [float(method._loss(field, state.v, None, None).detach()) for _ in range(100)]
    mean, error = torch.tensor(found).mean(), torch.tensor(found).std() / 10
    assert float(error) < 0.2 * abs(exact)
    assert abs(float(mean) - exact) < 4 * float(error)


def test_refuses_exact_derivatives_of_many_coupled_particles():
    for options, name in (
        ({"log_det": "exact"}, "log_det"),
        ({"log_det": "none", "integrator": "rk4"}, "integrator"),
        ({"log_det": "none", "inner_steps": 2}, "inner_steps"),
    ):
        with pytest.raises(ValueError, match=f"'{name}' must be .* couples more than 512"):
            begin(
                JKO(GNNScore(2, k=4), fit=EpochFit(initial_steps=0), step=InnerStep(**options)),
                BKW(2),
                600,
                dtype=torch.float32,
            )


# Steps that fold


@LOG_DETS
def test_a_step_that_folds_is_refused_and_says_which_would_have_passed(log_det):
    """The named dt passes with the same field, one beyond it does not."""
    problem = Anisotropic(2, strength=1.0, gamma=-3.0)
    method = JKO(closed_form(2), step=InnerStep(log_det="linear"))
    state = begin(method, problem, 100)
    frame = method.evaluate(state, 50.0)
    with pytest.raises(
        ArithmeticError, match=r"not invertible: on its way det dv'/dv <= 0 for \d+ of 100 particles \(\d+.*%\)"
    ) as caught:
        method.advance(state, frame, 50.0)
    passing = float(str(caught.value).split("below ")[1].split(" ")[0])
    method.log_det = log_det
    assert bool(method.advance(state, frame, 0.99 * passing).log_f.isfinite().all())
    with pytest.raises(ArithmeticError, match="not invertible"):
        method.advance(state, frame, 1.02 * passing)


@pytest.mark.parametrize(("integrator", "inner_steps"), [("euler", 3), ("rk4", 1)])
def test_with_inner_steps_too_the_step_that_is_named_passes(integrator, inner_steps):
    problem = Anisotropic(2, strength=1.0, gamma=-3.0)
    method = JKO(closed_form(2), step=InnerStep(integrator=integrator, inner_steps=inner_steps))
    state = begin(method, problem, 60)
    frame = method.evaluate(state, 0.01)  # the field of a small step, taken too far
    with pytest.raises(ArithmeticError, match="not invertible") as caught:
        method.advance(state, frame, 50.0)
    passing = float(str(caught.value).split("below ")[1].split(" ")[0])
    assert 0 < passing < 50
    assert bool(method.advance(state, frame, 0.99 * passing).v.isfinite().all())


def test_a_step_beyond_all_bounds_is_minimised_all_the_same():
    """Trial fields overflow in four stages of dt = 300; no motion does not, and the minimum is below it.

    Neither the minimiser of the linear objective nor the field of the step before is a start then: only rest is.
    """
    method = JKO(closed_form(2), step=InnerStep(log_det="exact", integrator="rk4"))
    state = begin(method, BKW(2), 30)
    method.evaluate(state, 0.05)
    assert float(method.model.coefficients.abs().max()) > 0
    frame = method.evaluate(state, 300.0)
    after = method.advance(state, frame, 300.0)
    assert float(after.log_f.mean()) < float(state.log_f.mean())
    assert bool(after.v.isfinite().all())


def test_infinite_maps_are_no_fold_and_no_crash():
    """What overflows is named by the run, not by an eigenvalue solver."""
    run = Simulation(BKW(2), JKO(closed_form(2)), particles=50, dt=1e39, t_end=2e39, baselines=False)
    with pytest.raises(Diverged, match=r"non-finite|not invertible"):
        run.run()


def test_a_handful_of_particles_is_trained_without_a_judge():
    """Of five a fifth would be one, and one makes no pair."""
    method = JKO(ResidualScore(2), fit=EpochFit(initial_steps=5, epochs=1))
    for n in (4, 5, 6):
        state = begin(method, BKW(2), n, dtype=torch.float32)
        assert bool(method.evaluate(state, 0.01).s.isfinite().all())


def test_a_run_that_folds_says_when_and_keeps_its_checkpoint(tmp_path):
    """The last good checkpoint stays, and nothing in the metrics is NaN."""
    from graphlandau.run.folder import RunFolder

    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    problem = Anisotropic(2, strength=1.0, gamma=-3.0)
    run = Simulation(problem, JKO(closed_form(2)), particles=100, dt=20.0, t_end=40.0, baselines=False, folder=folder)
    with pytest.raises(Diverged, match=r"at step 0 of 2 \(t = 0\): the map of the step is not invertible"):
        run.run()
    assert folder.checkpoint.exists()
    assert all(math.isfinite(x) for row in run.rows for x in row.values() if isinstance(x, float))


# Continuation


@pytest.mark.parametrize("log_det", ["linear", "exact"])
@pytest.mark.parametrize("network", [False, True])
def test_state_dict_continues_to_the_same_bits(network, log_det):
    def fresh():
        torch.manual_seed(0)
        model = MLPScore(2, width=8) if network else ClosedFormScore(2)
        return JKO(
            model,
            fit=EpochFit(minibatch=50, epochs=2, initial_steps=5),
            step=InnerStep(log_det=log_det),
            collisions=Collisions(batch_size=40),
        )

    method = fresh()
    state = moved(method, begin(method, BKW(2), 200, dtype=torch.float32), 0.05, 3)
    saved = {key: x.clone() for key, x in method.state_dict().items()}
    ahead = moved(method, state, 0.05, 3)
    other = fresh()
    other.prepare(state, BKW(2))
    other.load_state_dict(saved)
    again = moved(other, state, 0.05, 3)
    assert torch.equal(ahead.v, again.v)
    assert torch.equal(ahead.log_f, again.log_f)


# Refusals


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"log_det": "implicit"}, "'log_det' must be one of exact, linear, none"),
        ({"inner_steps": 0}, r"'inner_steps' must be an integer >= 1 \(got 0\)"),
        ({"integrator": "midpoint"}, r"'integrator' must be one of euler, rk4, .* \(got 'midpoint'\)"),
        ({"epochs": 0}, "'epochs' must be an integer >= 1"),
        ({"minibatch": 0}, "'minibatch' must be an integer >= 2"),
        ({"minibatch": -5}, "'minibatch' must be an integer >= 2"),
        ({"batch_size": 0}, "'batch_size' must be an integer >= 2"),
        ({"learning_rate": 0.0}, "'learning_rate' must be positive"),
        ({"schedule": 0.5}, "'schedule' must be a graphlandau.training.Schedule"),
    ],
)
def test_refuses_options(options, message):
    with pytest.raises(ValueError, match=message):
        JKO(closed_form(2), **closed(JKO, options))


@pytest.mark.parametrize("name", ["minibatch", "batch_size"])
def test_refuses_batches_larger_than_the_plasma(name):
    """Named, not clamped in silence; unless nothing was asked for: then all particles are one batch."""
    with pytest.raises(ValueError, match=rf"'{name}' must be at most the number of particles, 50 \(got 51\)"):
        begin(JKO(closed_form(2), **closed(JKO, {name: 51})), BKW(2), 50)
    method = JKO(closed_form(2))
    begin(method, BKW(2), 50)
    assert method.minibatch_of(50) == 50


@pytest.mark.parametrize("tau", [0.0, -0.1, float("nan"), None])
def test_refuses_a_step_that_is_none(tau):
    method = JKO(closed_form(2))
    state = begin(method, BKW(2), 50)
    with pytest.raises(ValueError, match="'dt' must be"):
        method.evaluate(state, tau)


def test_refuses_to_minimise_over_nothing():
    """The Gaussian score has no weights: fine for the linear objective, whose minimiser it estimates, not beyond."""
    method = JKO(GaussianScore(2))
    state = begin(method, BKW(2), 50)
    assert torch.allclose(method.evaluate(state, 0.1).s, method.model(state.v), rtol=1e-12)
    with pytest.raises(ValueError, match=r"'score' must be a closed form or have parameters .* \(got GaussianScore\)"):
        begin(JKO(GaussianScore(2), step=InnerStep(log_det="exact")), BKW(2), 50)
