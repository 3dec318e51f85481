"""Transport along the drift: the log-density it carries, its options, what a resumed run needs."""

from __future__ import annotations

import pytest
import torch
from invariants import direct_sum, particles

from graphlandau.base.state import particle_state
from graphlandau.cli.option_groups import closed
from graphlandau.integrators import INTEGRATORS
from graphlandau.methods import Collisions, LandauTransport, Scored, Step
from graphlandau.problems import Anisotropic, Gaussian, Problem

MIXING = torch.tensor([[0.8, -0.3], [0.5, 0.6]], dtype=torch.float64)


def smooth_score(v):
    return torch.tanh(v @ MIXING) - v


class Smooth(LandauTransport):
    """A pointwise score with a Jacobian, known in closed form."""

    def score(self, state):
        jacobian = (1 - torch.tanh(state.v @ MIXING)[:, :, None] ** 2) * MIXING.T - torch.eye(2, dtype=MIXING.dtype)
        return smooth_score(state.v), jacobian


def problem(gamma: float) -> Problem:
    initial = Gaussian(mean=[0.0, 0.0], covariance=[[1.8, 0.0], [0.0, 0.2]])
    return Problem(initial, gamma=gamma, strength=0.5, t_end=1.0, dt=0.1, particles=10)


def plasma(weighted: bool = True):
    v, _, weight = particles(8, 2)
    return particle_state(v, t=0.25, weight=weight if weighted else None)


def step(method: LandauTransport, gamma: float, dt: float, weighted: bool = True):
    state = method.initialise(plasma(weighted), problem(gamma))
    frame = method.evaluate(state)
    return state, frame, method.advance(state, frame, dt)


def single_particle_jacobian(i, before, after, gamma, dt, integrator):
    """Brute force: the map of a target through the fixed field of all other particles, differentiated by autograd."""
    others = torch.arange(8) != i
    at = before.v if integrator == "euler" else 0.5 * (before.v + after.v)
    sources, s, weight = at[others], smooth_score(before.v)[others], before.weight[others]

    def field(x, score):
        z, u = x - sources, score - s
        r = z.norm(dim=1, keepdim=True)
        return -0.5 * (weight[:, None] * r**gamma * (r**2 * u - z * (z * u).sum(1, keepdim=True))).sum(0)

    def move(x):
        if integrator == "euler":
            return x + dt * field(x, smooth_score(x))
        moved = x
        for _ in range(60):
            moved = x + dt * field(0.5 * (x + moved), smooth_score(x))
        return moved

    assert torch.allclose(move(before.v[i]), after.v[i], rtol=1e-12, atol=1e-13)
    return torch.autograd.functional.jacobian(move, before.v[i])


@pytest.mark.parametrize("gamma", [-3.0, -1.5, 0.0])
@pytest.mark.parametrize("integrator", ["euler", "midpoint"])
def test_exact_determinant_of_the_step(integrator, gamma):
    """log f' = log f - log|det dv'/dv| for the actual map, at a step large enough to tell it from its linearisation."""
    before, _, after = step(Smooth(step=Step(integrator=integrator, log_det="exact")), gamma, 0.1)
    assert torch.allclose(before.log_f, problem(gamma).log_prob(before.v))
    for i in range(8):
        jacobian = single_particle_jacobian(i, before, after, gamma, 0.1, integrator)
        expected = before.log_f[i] - torch.linalg.slogdet(jacobian).logabsdet
        assert torch.allclose(after.log_f[i], expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize("integrator", ["euler", "midpoint"])
def test_linear_determinant_is_first_order(integrator):
    """It differs by O(dt^2): 4 times less at half the step; and it is dt div U, with its sign."""

    def gap(dt):
        exact = step(Smooth(step=Step(integrator=integrator, log_det="exact")), -1.5, dt)[2]
        linear = step(Smooth(step=Step(integrator=integrator, log_det="linear")), -1.5, dt)[2]
        return float((exact.log_f - linear.log_f).norm())

    assert gap(0.02) / gap(0.01) == pytest.approx(4, rel=0.1)
    method = Smooth(step=Step(integrator="euler", log_det="linear"))
    before, frame, after = step(method, -1.5, 0.01)
    divergence = method.drift.divergence(before.v, frame.s, frame.jac_s, weight=before.weight)
    assert torch.allclose(after.log_f, before.log_f - 0.01 * divergence, rtol=1e-12)


@pytest.mark.parametrize("weighted", [False, True])
def test_a_step_is_the_drift(weighted):
    """Kernel and strength of the problem, score of the state, time and weights carried on."""
    before, frame, after = step(Smooth(step=Step(log_det="none")), -3.0, 0.1, weighted)
    weight = before.weight if weighted else torch.full((8,), 1 / 8, dtype=torch.float64)
    expected, _ = direct_sum(before.v, smooth_score(before.v), weight, -3.0, 0.5)
    assert isinstance(frame, Scored)
    assert torch.allclose(frame.drift, expected, rtol=1e-12)
    assert torch.allclose(after.v, before.v + 0.1 * expected, rtol=1e-12)
    assert after.t == pytest.approx(0.35)
    assert ("weight" in after) is weighted
    assert "log_f" not in after


def test_without_a_log_density_none_is_carried():
    state, frame, after = step(Smooth(step=Step(log_det="none")), 0.0, 0.1)
    assert "log_f" not in state
    assert "log_f" not in after
    assert Smooth(step=Step(log_det="none")).entropy(state) is None
    assert frame.batch is None


@pytest.mark.parametrize("integrator", ["euler", "midpoint"])
@pytest.mark.parametrize("gamma", [-3.0, 0.0])
def test_random_batches_conserve_and_carry_the_log_density(integrator, gamma):
    """Momentum in every block (energy too by midpoint); the determinant is that of the blocked step."""
    method = Smooth(step=Step(integrator=integrator, log_det="exact"), collisions=Collisions(batch_size=4))
    before, frame, after = step(method, gamma, 0.05, weighted=False)
    assert torch.bincount(frame.batch).tolist() == [4, 4]
    for label in (0, 1):
        inside = frame.batch == label
        assert float((after.v - before.v)[inside].sum(0).norm()) < 1e-13
        gain = float((after.v**2).sum(1)[inside].sum() - (before.v**2).sum(1)[inside].sum())
        expected = 0.0 if integrator == "midpoint" else 0.05**2 * float((frame.drift[inside] ** 2).sum())
        assert gain == pytest.approx(expected, abs=1e-12)
        alone = Smooth(step=Step(integrator=integrator, log_det="exact"))
        part = alone.initialise(particle_state(before.v[inside]), problem(gamma))
        moved = alone.advance(part, alone.evaluate(part), 0.05)
        assert torch.allclose(moved.v, after.v[inside], rtol=1e-11)
        assert torch.allclose(moved.log_f, after.log_f[inside], rtol=1e-11)


def test_seed_decides_the_batches_and_the_state_dict_continues_them():
    def batches(method, count):
        return [method.evaluate(state).batch for _ in range(count)]

    first, second, other = (
        Smooth(step=Step(log_det="none"), collisions=Collisions(batch_size=4), seed=k) for k in (1, 1, 2)
    )
    state = plasma()
    for method in (first, second, other):
        method.initialise(state, problem(0.0))
    drawn = batches(first, 5)
    assert all(torch.equal(a, b) for a, b in zip(drawn, batches(second, 5), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(drawn, batches(other, 5), strict=True))
    saved = {k: x.clone() for k, x in first.state_dict().items()}
    ahead = batches(first, 3)
    resumed = Smooth(step=Step(log_det="none"), collisions=Collisions(batch_size=4), seed=1)
    resumed.prepare(state, problem(0.0))
    resumed.load_state_dict(saved)
    assert all(torch.equal(a, b) for a, b in zip(ahead, batches(resumed, 3), strict=True))


def test_evaluation_leaves_no_graph_and_no_trace():
    """Nothing to differentiate, and the state that was shown is not changed."""
    method = Smooth(step=Step(integrator="midpoint"), collisions=Collisions(batch_size=4))
    state = method.initialise(plasma(), problem(0.0))
    keys, v = set(state.keys()), state.v.clone()
    after = method.advance(state, method.evaluate(state), 0.1)
    assert not after.v.requires_grad
    assert set(state.keys()) == keys
    assert torch.equal(state.v, v)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("integrator", "leapfrog"),
        ("log_det", "approximate"),
        ("backend", "cuda"),
        ("batch_size", 1),
        ("batch_size", "all"),
    ],
)
def test_refuses_options(name, value):
    with pytest.raises(ValueError, match=f"'{name}' must be"):
        Smooth(**closed(Smooth, {name: value}))


def test_refuses_batches_larger_than_the_plasma():
    with pytest.raises(ValueError, match=r"'batch_size' must be at most the number of particles, 8 \(got 9\)"):
        Smooth(collisions=Collisions(batch_size=9)).initialise(plasma(), problem(0.0))


def test_refuses_moments_for_coulomb():
    with pytest.raises(ValueError, match="'backend' must not be 'moments'"):
        Smooth(collisions=Collisions(backend="moments")).initialise(plasma(), problem(-3.0))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype_follows_the_particles(dtype):
    from graphlandau.methods import Blob

    v = Anisotropic(3).sample(50, generator=torch.Generator().manual_seed(0)).to(dtype)
    method = Blob(step=Step(integrator="midpoint"))
    state = method.initialise(particle_state(v), Anisotropic(3))
    after = method.advance(state, method.evaluate(state), 0.01)
    assert after.v.dtype == after.log_f.dtype == dtype


@pytest.mark.parametrize("integrator", INTEGRATORS)
@pytest.mark.parametrize("log_det", ["exact", "linear"])
def test_the_jacobian_of_a_step_is_that_of_its_determinant_and_can_be_differentiated(integrator, log_det):
    """A tracer of weight zero moves no other: the slope of its log-determinant, by central differences."""
    v, weight = plasma().v, plasma().weight.clone()
    weight[-1] = 0.0
    method = Tracked(step=Step(integrator=integrator, log_det=log_det))
    method.prepare(plasma(), problem(-1.5))

    def begin(x):
        state = particle_state(torch.cat([v[:-1], x[None]]), t=0.0, weight=weight)
        state.log_f = torch.zeros_like(weight)
        return state, method.evaluate(state)

    def change(x):
        state, frame = begin(x)
        return -float(method.advance(state, frame, 0.1).log_f[-1])

    state, frame = begin(v[-1])
    x = state.v.clone().requires_grad_()
    log_dets = torch.linalg.slogdet(method.step_jacobian(state, frame, 0.1)(x)).logabsdet
    if log_det == "linear":
        assert change(v[-1]) == pytest.approx(float(log_dets[-1]), abs=0.1)
        return
    assert change(v[-1]) == pytest.approx(float(log_dets[-1]), abs=1e-12)
    (slope,) = torch.autograd.grad(log_dets[-1], x)
    h = 1e-5
    expected = [(change(v[-1] + h * e) - change(v[-1] - h * e)) / (2 * h) for e in torch.eye(2, dtype=v.dtype)]
    assert torch.allclose(slope[-1], torch.tensor(expected, dtype=v.dtype), rtol=1e-6, atol=1e-7)


class Tracked(Smooth):
    """The same score as a function of any velocity."""

    def score_field(self, state):
        def field(x):
            slope = torch.diag_embed(1 - torch.tanh(x @ MIXING) ** 2) @ MIXING.T
            return smooth_score(x), slope - torch.eye(2, dtype=x.dtype)

        return field
