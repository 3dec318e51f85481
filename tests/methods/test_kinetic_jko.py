"""Kinetic JKO: exact Gaussians, dissipation, log-densities, stationary states, refusals."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
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
from scipy.special import i0, i1

from graphlandau.base.errors import Diverged
from graphlandau.cli.option_groups import closed
from graphlandau.methods import ControlTraining, KineticJKO, KineticSBTM
from graphlandau.problems import VFPDoubleWell, VFPPeriodic, VPFPBeams

pytestmark = pytest.mark.usefixtures("small_and_quick")

# The joint form of Eq. (18), and the split form with the maps (25) and (26).
FORMS = {"joint": {"form": "joint"}, "euler": {"map": "drift_kick"}, "verlet": {"map": "verlet"}}


def drift_error(result):
    """Average over the steps of the root of Eq. (38); the initial state has no control."""
    assert result.metrics[0]["drift_error"] is None
    return sum(row["drift_error"] for row in result.metrics[1:]) / (len(result.metrics) - 1)


@pytest.mark.parametrize("form", FORMS)
def test_drift_and_moments_converge_to_the_exact_solution_in_first_order(form):
    # Affine maps of particles with the exact moments: no sampling error, whatever their number.
    problem, drifts, moments = ExactMoments(), [], []
    for dt in (0.05, 0.025):
        result = run(
            problem, KineticJKO(affine(problem), **closed(KineticJKO, FORMS[form])), particles=20, dt=dt, t_end=2.0
        )
        drifts.append(drift_error(result))
        mean, covariance = mean_and_covariance(result.state)
        exact = problem.density(2.0)
        moments.append(float((mean - exact.mean).norm() + (covariance - exact.covariance).norm()))
    # Two step sizes show the order up to the next one in dt.
    assert math.log2(drifts[0] / drifts[1]) == pytest.approx(1, abs=0.1)
    assert math.log2(moments[0] / moments[1]) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("form", FORMS)
def test_the_drift_error_adds_up_over_independent_directions(form):
    errors = []
    for d in (1, 3):
        problem = ExactMoments(d)
        method = KineticJKO(affine(problem), **closed(KineticJKO, FORMS[form]))
        errors.append(drift_error(run(problem, method, particles=20, dt=0.1, t_end=1.0)))
    # Squares add up. Solves end at eight digits of the weights.
    assert errors[1] == pytest.approx(math.sqrt(3) * errors[0], rel=1e-6)


@pytest.mark.parametrize("d", [1, 3])
def test_a_split_step_of_a_gaussian_is_the_closed_form(d):
    problem = WarmGaussian(d=d)
    e, temperature, dt = problem.epsilon, problem.temperature, 0.2
    method = KineticJKO(affine(problem), map="kick_drift")
    state = run(problem, method, particles=30, dt=dt, t_end=dt).state
    start = run(problem, method, particles=30, dt=1e-9, t_end=1e-9).state
    # Eq. (25) of the moments, direction by direction, then the minimiser: with c = 1 + e dt the regression on x is
    # divided by c, the variance beside it multiplied by p^2.
    eye = torch.eye(d, dtype=torch.float64)
    kick = torch.kron(torch.tensor([[1.0, 0.0], [-2 * dt, 1.0]], dtype=torch.float64), eye)
    drift = torch.kron(torch.tensor([[1.0, dt], [0.0, 1.0]], dtype=torch.float64), eye)
    map = drift @ kick
    mean, covariance = map @ problem.initial.mean, map @ problem.initial.covariance @ map.T
    xx, xv, vv = covariance[0, 0], covariance[0, d], covariance[d, d]
    sigma = vv - xv**2 / xx
    c = 1 + e * dt
    p = (1 + math.sqrt(1 + 4 * c * e * temperature * dt / sigma)) / (2 * c)
    got_mean, got = mean_and_covariance(state)
    # The start of the second run differs by 1e-9; solves end at eight digits.
    assert float((phase(start).mean(0) - problem.initial.mean).abs().max()) < 1e-8
    torch.testing.assert_close(got_mean, torch.cat([mean[:d], mean[d:] / c]), rtol=0, atol=1e-7)
    block = torch.tensor([[xx, xv / c], [xv / c, xv**2 / xx / c**2 + p**2 * sigma]], dtype=torch.float64)
    torch.testing.assert_close(got, torch.kron(block, eye), rtol=0, atol=1e-7)


@pytest.mark.parametrize("options", [*FORMS.values(), {"map": "kick_drift"}], ids=[*FORMS, "kick_drift"])
@pytest.mark.parametrize("d", [1, 2])
def test_the_log_density_is_that_of_the_gaussian_pushed_forward(options, d):
    problem = WarmGaussian(d=d)
    state = run(problem, KineticJKO(affine(problem), **closed(KineticJKO, options)), particles=40).state
    # Every map is affine, so the density is normal, with the moments of the particles. Rounding of ten steps.
    torch.testing.assert_close(state.log_f, log_normal(state), rtol=0, atol=1e-12)


def test_the_trace_makes_the_log_density_too_low_in_first_order():
    problem, gaps = WarmGaussian(), []
    for dt in (0.1, 0.05):
        state = run(
            problem, KineticJKO(affine(problem), training=ControlTraining(log_det="trace")), particles=40, dt=dt
        ).state
        gap = state.log_f - log_normal(state)
        assert bool((gap < 0).all())
        gaps.append(float(gap.mean()))
    # log(1 + a dt) - a dt adds up to -dt / 2 int a^2 dt.
    assert math.log2(gaps[0] / gaps[1]) == pytest.approx(1, abs=0.1)


def test_the_trace_makes_the_distance_from_equilibrium_negative():
    problem, kl = WarmGaussian(), {}
    for log_det in ("exact", "trace"):
        result = run(
            problem, KineticJKO(affine(problem), training=ControlTraining(log_det=log_det)), particles=40, t_end=10.0
        )
        mean, covariance = mean_and_covariance(result.state)
        ratio = covariance / torch.tensor([0.35, 0.7], dtype=torch.float64)[:, None]
        shift = float((mean.square() / torch.tensor([0.35, 0.7], dtype=torch.float64)).sum())
        of_the_gaussian = 0.5 * (float(ratio.trace()) - 2 - float(torch.logdet(ratio)) + shift)
        kl[log_det] = result.metrics[-1]["kl"]
        if log_det == "exact":
            assert kl[log_det] == pytest.approx(of_the_gaussian, abs=1e-12)
    # A relative entropy is positive, and so is that of the particles here.
    assert kl["trace"] < 0 < kl["exact"]
    assert of_the_gaussian > 0


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("problem", [VFPPeriodic(), VFPDoubleWell(d=2)], ids=["periodic", "2d"])
def test_the_log_density_changes_by_the_determinant_of_the_whole_step(problem, form):
    # A control remembers its last solve, so each run has one of its own; that of the last step stays in the method.
    methods = [KineticJKO(features(problem, 6, 0.1), **closed(KineticJKO, FORMS[form])) for _ in range(2)]
    start, end = (
        run(problem, method, particles=60, dt=0.1, t_end=t).state for method, t in zip(methods, (0.1, 0.2), strict=True)
    )
    d, dt, control = problem.d, 0.1, methods[1].model

    def step(z):
        x, v = z[None, :d], z[None, d:]

        def force(x):
            return -problem.potential.gradient(x)

        if form == "joint":
            new = v + dt * force(x) + dt * control(x, v)
            return torch.cat([x + dt * new, new], dim=1)[0]
        before = 0.5 if form == "verlet" else 0.0
        half = v + before * dt * force(x)
        x = x + dt * half
        v = half + (1 - before) * dt * force(x)
        return torch.cat([x, v + dt * control(x, v)], dim=1)[0]

    moved = torch.stack([step(z) for z in phase(start)])
    torch.testing.assert_close(moved[:, d:], end.v, rtol=0, atol=1e-12)
    log_det = step_determinants(start, step).log()
    assert float(log_det.std()) > 1e-3  # not the same for all particles: the features are in use
    torch.testing.assert_close(start.log_f - end.log_f, log_det, rtol=0, atol=1e-10)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    n=st.integers(20, 60),
    dt=st.floats(1e-3, 1.0),
    form=st.sampled_from(sorted(FORMS)),
    control=st.sampled_from([affine, features]),
    problem=st.sampled_from([ExactMoments(), VFPDoubleWell(), VFPPeriodic(), VFPDoubleWell(d=2)]),
)
def test_the_free_energy_falls_in_every_collision_step(seed, n, dt, form, control, problem):
    method = KineticJKO(control(problem), **closed(KineticJKO, FORMS[form]))
    rows = run(problem, method, particles=n, dt=dt, t_end=3 * dt, seed=seed).metrics
    for before, after in pairwise(rows):
        collisions, map_energy = after["collision_free_energy_change"], after["map_energy_change"]
        scale = 1 + abs(after["free_energy"]) + after["kinetic"]
        # Rest, u = 0, is among the controls. Rounding of sums of order 1.
        assert collisions <= 1e-12 * scale
        # The whole step: what the map does not do to the energy, collisions do to the free energy.
        change = after["free_energy"] - before["free_energy"]
        assert change == pytest.approx(collisions + map_energy, abs=1e-12 * scale)


def test_the_verlet_map_changes_the_energy_in_third_order_per_step():
    problem, changes = ExactMoments(), []
    for dt in (0.02, 0.01):
        row = run(problem, KineticJKO(affine(problem)), particles=20, dt=dt, t_end=dt).metrics[-1]
        changes.append(abs(row["map_energy_change"]))
    # Second order over a time, third per step.
    assert math.log2(changes[0] / changes[1]) == pytest.approx(3, abs=0.1)


class AtRest(VFPDoubleWell):
    """The double well, started in its stationary state."""

    def __init__(self):
        super().__init__()
        self.initial = self.equilibrium()


@pytest.mark.parametrize("control", [affine, features])
def test_the_stationary_state_stays(control):
    problem = AtRest()
    rows = run(problem, KineticJKO(control(problem)), particles=2000, dt=0.05, snapshots=2, t_end=2.0).metrics
    assert rows[0]["kl"] == pytest.approx(0, abs=1e-12)
    # Fitted to the sample itself, p = 5 coefficients lower the estimate by about p / (2 N) per collision time.
    fitted = 5 / (2 * 2000) * 2.0
    assert all(abs(row["kl"]) < 4 * row["kl_stderr"] + fitted for row in rows[1:])
    # Four standard errors of the variance, with O(dt^2) far below.
    assert 2 * rows[-1]["kinetic"] == pytest.approx(1, abs=4 * math.sqrt(2 / 2000))


def test_the_distance_from_equilibrium_falls_in_the_double_well():
    problem = VFPDoubleWell()
    rows = run(problem, KineticJKO(features(problem)), particles=1000, t_end=3.0).metrics
    kl = [row["kl"] for row in rows]
    # Collisions lower it and the map raises it by its energy error at most.
    for before, after in pairwise(rows):
        assert after["kl"] - before["kl"] <= max(0.0, after["map_energy_change"]) + 1e-12
    # An affine control keeps the two beams and stays above 0.2.
    assert kl[-1] < 0.05 * kl[0]


@pytest.mark.slow
def test_the_periodic_problem_ends_in_its_stationary_density():
    problem, n = VFPPeriodic(), 10_000
    state = run(problem, KineticJKO(features(problem)), particles=n, dt=0.05, t_end=20.0, metrics_every=50).state
    x = 2 * math.pi * state["pos"]
    # By symmetry the cosine is 0, and the sine -I_1 / I_0 of 1/5.
    standard_error = math.sqrt(0.5 / n)
    assert float(x.cos().mean()) == pytest.approx(0, abs=3 * standard_error)
    assert float(x.sin().mean()) == pytest.approx(-i1(0.2) / i0(0.2), abs=3 * standard_error)
    assert float(state.v.var()) == pytest.approx(1, abs=3 * math.sqrt(2 / n))


def test_the_minimum_of_the_trace_version_is_score_matching_with_implicit_drag():
    problem, dt = WarmGaussian(), 0.1
    implicit = run(
        problem, KineticJKO(affine(problem), training=ControlTraining(log_det="trace")), particles=30, dt=dt, t_end=dt
    ).state
    explicit = run(problem, KineticSBTM(affine(problem)), particles=30, dt=dt, t_end=dt).state
    # One linear solve each.
    expected = explicit.control / (1 + problem.epsilon * dt)
    torch.testing.assert_close(implicit.control, expected, rtol=0, atol=1e-12)


def test_positions_stay_in_the_box_and_log_densities_do_not_depend_on_it():
    problem = VFPPeriodic()
    state = run(problem, KineticJKO(affine(problem)), particles=200, t_end=2.0, dtype=torch.float32).state
    assert bool(((state["pos"] >= 0) & (state["pos"] < 1)).all())
    force = -problem.potential.gradient(state["pos"])
    torch.testing.assert_close(state.force, force, rtol=0, atol=1e-5)  # eps of x times 2 pi times 1.3


def test_a_step_that_folds_stops_and_names_a_time_step_that_passes():
    problem = VFPDoubleWell()

    def attempt(dt):
        method = KineticJKO(Frozen(-4.0), training=ControlTraining(log_det="trace"), map="drift_kick")
        return run(problem, method, particles=200, dt=dt, t_end=dt)

    # u_v = -4 / cosh^2 v >= -4: singular at dt = 1/4 for a particle at rest, and first for the slowest.
    with pytest.raises(Diverged, match=r"\d+ of 200 particles \(.*%\).* a dt below 0\.\d+ .* \(got 0\.4\)") as stop:
        attempt(0.4)
    named = float(str(stop.value).split("a dt below ")[1].split()[0])
    assert 0.25 <= named < 0.26
    assert attempt(0.25).state.v.isfinite().all()


def test_refuses_what_it_is_not_for():
    box = VPFPBeams()
    with pytest.raises(ValueError, match=r"'method' must be pic_jko for vpfp_1d1v, which has a field"):
        run(box, KineticJKO(affine(box)), particles=20)
    free = Drifting(epsilon=1.0)
    with pytest.raises(ValueError, match=r"'form' must be 'split' without a potential \(got 'joint'\)"):
        run(free, KineticJKO(affine(free), form="joint"))
    none = Drifting()
    with pytest.raises(ValueError, match=r"'epsilon' must be positive for a method with collisions \(got 0\)"):
        run(none, KineticJKO(affine(none)))
    for option, value in (("form", "both"), ("log_det", "none"), ("map", "leapfrog"), ("steps", 0), ("minibatch", 1)):
        with pytest.raises(ValueError, match=f"'{option}' must be"):
            KineticJKO(affine(free), **closed(KineticJKO, {option: value}))
