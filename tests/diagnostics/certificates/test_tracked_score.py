"""The score of a density that is pushed forward: linear maps, exact fields, steps of methods."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from bkw_fields import WrongScore
from invariants import particles

from graphlandau.base.state import particle_state
from graphlandau.diagnostics.certificates import push_forward, push_score
from graphlandau.methods import SBTM, Blob, Collisions, Fit, LandauTransport, Step
from graphlandau.nn.score import ClosedFormScore, MLPScore, ResidualScore
from graphlandau.problems import BKW, Gaussian, Problem


def gaussian(d, seed=0):
    generator = torch.Generator().manual_seed(seed)
    root = torch.randn(d, d, generator=generator, dtype=torch.float64)
    covariance = root @ root.T + torch.eye(d, dtype=torch.float64)
    return Gaussian(torch.randn(d, generator=generator, dtype=torch.float64), 0.5 * (covariance + covariance.T))


def orientation_preserving(d, seed):
    generator = torch.Generator().manual_seed(seed)
    matrix = torch.eye(d, dtype=torch.float64) + 0.3 * torch.randn(d, d, generator=generator, dtype=torch.float64)
    assert torch.linalg.det(matrix) > 0
    return matrix


def bend(x):
    """A diffeomorphism without symmetry: |J - I| <= 0.3 in every direction."""
    return x + 0.3 * torch.sin(x.roll(1, dims=-1) + 0.5)


# push_forward


@pytest.mark.parametrize("d", [2, 3, 5])
def test_linear_maps_of_gaussians(d):
    """N(m, S) goes to N(M m + c, M S M^T): score and log-density to rounding."""
    f, matrix = gaussian(d), orientation_preserving(d, 1)
    v = f.sample(20, generator=torch.Generator().manual_seed(2))
    shift = torch.arange(d, dtype=torch.float64)
    moved = push_forward(lambda x: x @ matrix.T + shift, v, f.score(v), f.log_prob(v))
    covariance = matrix @ f.covariance @ matrix.T
    image = Gaussian(matrix @ f.mean + shift, 0.5 * (covariance + covariance.T))
    assert torch.allclose(moved.v, v @ matrix.T + shift, rtol=1e-14)
    assert torch.allclose(moved.sigma, image.score(moved.v), rtol=1e-12, atol=1e-12)
    assert torch.allclose(moved.log_f, image.log_prob(moved.v), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("d", [2, 3])
def test_composition(d):
    """Two maps one after the other are the map of the composition: the chain rule of second derivatives."""
    f, matrix = gaussian(d), orientation_preserving(d, 3)
    v = f.sample(20, generator=torch.Generator().manual_seed(2))

    def turn(x):
        return torch.tanh(0.2 * x) @ matrix.T + x

    first = push_forward(bend, v, f.score(v), f.log_prob(v))
    second = push_forward(turn, *first)
    both = push_forward(lambda x: turn(bend(x)), v, f.score(v), f.log_prob(v))
    for a, b in zip(second, both, strict=True):
        assert torch.allclose(a, b, rtol=1e-12, atol=1e-12)


def test_score_is_the_gradient_of_the_log_density():
    """At the images of neighbours, by the inverse map: sigma' . (F(v + h) - F(v - h)) = log u' - log u' + O(h^3)."""
    f = gaussian(3)
    v = f.sample(20, generator=torch.Generator().manual_seed(2))
    step = 1e-4 * torch.randn(20, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64)

    def moved(x):
        return push_forward(bend, x, f.score(x), f.log_prob(x))

    middle, plus, minus = moved(v), moved(v + step), moved(v - step)
    slope = (middle.sigma * (plus.v - minus.v)).sum(1)
    # Third derivatives of order 1: (1e-4)^3 and rounding 1e-15.
    assert torch.allclose(slope, plus.log_f - minus.log_f, rtol=0, atol=1e-10)


def test_folded_maps_are_refused_with_their_number():
    """x -> x^2 / 2 on each axis has det J = x y, negative for two of these four."""
    v = torch.tensor([[1.0, 1.0], [-1.0, 1.0], [1.0, -2.0], [-1.0, -1.0]], dtype=torch.float64)
    with pytest.raises(ArithmeticError, match=r"not invertible: det J <= 0 for 2 of 4 particles"):
        push_forward(lambda x: 0.5 * x.square(), v, -v)


def test_refuses_shapes():
    v = torch.zeros(3, 2, dtype=torch.float64)
    with pytest.raises(ValueError, match="'sigma' must have the shape and dtype of 'v'"):
        push_forward(bend, v, torch.zeros(2, 2, dtype=torch.float64))
    with pytest.raises(ValueError, match=r"'log_f' must have shape \(3,\)"):
        push_forward(bend, v, v, torch.zeros(2, dtype=torch.float64))


@pytest.mark.parametrize("d", [2, 3])
def test_first_order_in_time_for_the_exact_field(d):
    """Euler steps of the BKW solution in its own mean field, U = -C (d - 1)(grad log f + v): no sampling noise.

    The score that is tracked along the steps tends to the exact score where the steps lead, at first order: from 8 to
    64 steps the error falls like dt, in a band of 0.2.
    """
    problem = BKW(d, t_start=1.0 if d == 2 else 7.0, t_end=2.0 if d == 2 else 8.0)
    rate = problem.strength * (d - 1)
    start = problem.sample(200, generator=torch.Generator().manual_seed(0))

    def error(steps):
        dt = 1.0 / steps
        v, sigma = start, problem.score(start)
        for k in range(steps):
            density = problem.density(problem.t_start + k * dt)
            shape, K = (density.P, density.Q), density.K

            def euler(x, shape=shape, K=K, dt=dt):
                s = (2 * shape[1] / (shape[0] + shape[1] * (x * x).sum(-1, keepdim=True)) - 1 / K) * x
                return x - dt * rate * (s + x)

            v, sigma, _ = push_forward(euler, v, sigma)
        exact = problem.score(v, problem.t_end)
        return float((sigma - exact).square().sum() / exact.square().sum()) ** 0.5

    errors = [error(steps) for steps in (8, 16, 32, 64)]
    slope = np.polyfit(np.log([8, 16, 32, 64]), np.log(errors), 1)[0]
    assert slope == pytest.approx(-1, abs=0.2)
    assert errors[-1] < 0.01


# Steps of methods

MIXING = torch.tensor([[0.8, -0.3, 0.1], [0.5, 0.6, -0.2], [0.3, 0.1, 0.7]], dtype=torch.float64)


class Smooth(LandauTransport):
    """The score tanh(M v) - v, pointwise and known in closed form."""

    def score(self, state):
        return self.score_field(state)(state.v)

    def score_field(self, state):
        def field(x):
            d = x.size(1)
            value = torch.tanh(x @ MIXING[:d, :d].T)
            eye = torch.eye(d, dtype=x.dtype)
            return value - x, (1 - value**2)[:, :, None] * MIXING[:d, :d] - eye

        return field


def plasma(n, d, weighted=True):
    v, _, weight = particles(n, d)
    return particle_state(v, t=0.0, weight=weight if weighted else None)


def problem_of(gamma, d):
    initial = Gaussian([0.0] * d, torch.diag(torch.linspace(0.5, 1.5, d, dtype=torch.float64)).tolist())
    return Problem(initial, gamma=gamma, strength=0.5, t_end=1.0, dt=0.1, particles=10)


def one_step(method, gamma, d, dt, n=8, weighted=True):
    problem = problem_of(gamma, d)
    state = method.initialise(plasma(n, d, weighted), problem)
    frame = method.evaluate(state)
    sigma, log_f = push_score(
        method.step_jacobian(state, frame, dt), state.v, problem.score(state.v), problem.log_prob(state.v)
    )
    return state, frame, sigma, log_f, method.advance(state, frame, dt)


def numpy_score(x):
    """The same score for complex numbers."""
    d = len(x)
    return np.tanh(MIXING[:d, :d].numpy() @ x) - x


def numpy_log_density_after(i, x, state, at, gamma, dt, integrator):
    """log u' at the image of a particle that starts at ``x`` instead of ``v_i``, the others as they are.

    The Jacobian by complex steps of 1e-30, exact to rounding: nothing of the library, no automatic differentiation.
    """
    d = len(x)
    others = [j for j in range(state.v.size(0)) if j != i]
    sources, weight = at[others].numpy(), state.weight[others].numpy()
    scores = [numpy_score(state.v[j].numpy()) for j in others]

    def field(y, s):
        total = np.zeros(d, dtype=complex)
        for source, s_j, w in zip(sources, scores, weight, strict=True):
            z, u = y - source, s - s_j
            r2 = (z * z).sum()
            total -= 0.5 * w * r2 ** (gamma / 2) * (r2 * u - z * (z * u).sum())
        return total

    def move(y):
        s = numpy_score(y)
        if integrator == "euler":
            return y + dt * field(y, s)
        end = y
        for _ in range(60):
            end = y + dt * field(0.5 * (y + end), s)
        return end

    tiny = 1e-30
    columns = [move(x + 1j * tiny * axis).imag / tiny for axis in np.eye(d)]
    initial = problem_of(gamma, d).initial.log_prob(torch.as_tensor(x)[None])
    return float(initial) - math.log(np.linalg.det(np.stack(columns, axis=1)))


@pytest.mark.parametrize("integrator", ["euler", "midpoint"])
@pytest.mark.parametrize(("gamma", "d"), [(-3.0, 2), (-3.0, 3), (-1.5, 2), (0.0, 2), (0.0, 3)])
def test_step_of_a_method_against_finite_differences(gamma, d, integrator):
    """J^T sigma' is the gradient of log u'(F(v)): by central differences of the brute-force map."""
    dt = 0.05
    state, _, sigma, log_f, after = one_step(Smooth(step=Step(integrator=integrator)), gamma, d, dt)
    at = state.v if integrator == "euler" else 0.5 * (state.v + after.v)
    method = Smooth(step=Step(integrator=integrator))
    method.initialise(state, problem_of(gamma, d))
    J = method.step_jacobian(state, method.evaluate(state), dt)(state.v)
    h = 1e-5
    for i in range(8):
        x = state.v[i].numpy()
        value = numpy_log_density_after(i, x, state, at, gamma, dt, integrator)
        assert log_f[i] == pytest.approx(value, abs=1e-11)
        assert after.log_f[i] == pytest.approx(value, abs=1e-11)
        slope = [
            numpy_log_density_after(i, x + h * axis, state, at, gamma, dt, integrator)
            - numpy_log_density_after(i, x - h * axis, state, at, gamma, dt, integrator)
            for axis in np.eye(d)
        ]
        # Central differences of step 1e-5: rounding 1e-15 / 1e-5, truncation 1e-10 times third derivatives of order 10
        # at the closest pairs.
        assert np.allclose((J[i].mT @ sigma[i]).numpy(), np.array(slope) / (2 * h), rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("integrator", ["euler", "midpoint"])
def test_moments_and_dense_agree(integrator):
    tracked = [
        one_step(Smooth(step=Step(integrator=integrator), collisions=Collisions(backend=b)), 0.0, 3, 0.05)[2]
        for b in ("moments", "dense")
    ]
    assert torch.allclose(*tracked, rtol=1e-11, atol=1e-11)


def test_fast_path_is_the_general_one():
    """The Jacobian from the partials of the drift, and by forward mode through the drift itself."""
    for gamma in (0.0, -1.5):
        state, frame, sigma, _, after = one_step(Smooth(), gamma, 2, 0.05)
        method = Smooth()
        method.prepare(state, problem_of(gamma, 2))
        field = method.score_field(state)

        def euler(x, state=state, frame=frame, method=method, field=field):
            return x + 0.05 * method.drift(state.v, frame.s, weight=state.weight, at=(x, field(x)[0]))

        moved = push_forward(euler, state.v, problem_of(gamma, 2).score(state.v))
        assert torch.allclose(moved.v, after.v, rtol=1e-12)
        assert torch.allclose(moved.sigma, sigma, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("gamma", [-3.0, 0.0])
def test_blocks_are_plasmas_of_their_own(gamma):
    """With random batches the map of a particle is that of its batch."""
    state, frame, sigma, _, _ = one_step(Smooth(collisions=Collisions(batch_size=4)), gamma, 2, 0.05, weighted=False)
    for label in (0, 1):
        inside = frame.batch == label
        alone, problem = Smooth(), problem_of(gamma, 2)
        part = alone.initialise(particle_state(state.v[inside]), problem)
        jacobian = alone.step_jacobian(part, alone.evaluate(part), 0.05)
        expected, _ = push_score(jacobian, part.v, problem.score(part.v))
        assert torch.allclose(sigma[inside], expected, rtol=1e-11)


def network(model):
    torch.manual_seed(0)
    return SBTM(model(), fit=Fit(steps=2, initial_steps=20))


METHODS = {
    "mlp": lambda: network(lambda: MLPScore(2, width=8, depth=2)),
    "residual": lambda: network(lambda: ResidualScore(2, width=8, depth=1)),
    "closed_form": lambda: SBTM(ClosedFormScore(2, ridge=0.1)),
    "fourier": lambda: SBTM(ClosedFormScore(2, "fourier", ridge=0.1)),
    "blob": lambda: Blob(0.6),
    "corrected": lambda: Blob(0.6, correct=True),
    "cutoff": lambda: Blob(0.3, cutoff=3.0),
}


@pytest.mark.parametrize("name", METHODS)
def test_score_fields_of_methods(name):
    """At the particles the field is the score of the run; its Jacobian elsewhere is its derivative, to all orders."""
    method = METHODS[name]()
    state = method.initialise(plasma(40, 2, weighted=False), problem_of(-1.5, 2))
    frame = method.evaluate(state)
    field = method.score_field(state)
    s, jac_s = field(state.v)
    assert torch.allclose(s, frame.s, rtol=1e-12, atol=1e-12)
    assert torch.allclose(jac_s, frame.jac_s, rtol=1e-12, atol=1e-12)
    x, h = state.v + 0.01, 1e-5

    def difference(value):
        columns = [(value(x + h * axis) - value(x - h * axis)) / (2 * h) for axis in torch.eye(2, dtype=x.dtype)]
        return torch.stack(columns, dim=-1)

    at = x.clone().requires_grad_()
    jacobian = field(at)[1]
    assert torch.allclose(jacobian, difference(lambda y: field(y)[0]), rtol=1e-6, atol=1e-6)
    (slope,) = torch.autograd.grad(jacobian.diagonal(dim1=1, dim2=2).sum(), at)
    traces = difference(lambda y: field(y)[1].diagonal(dim1=1, dim2=2).sum(-1).detach())
    assert torch.allclose(slope, traces, rtol=1e-5, atol=1e-5)


def test_order_in_time_for_the_same_particles():
    """Steps of 150 particles with the exact BKW score: halving dt halves the change of the tracked score."""

    problem = BKW(2, t_start=1.0, t_end=2.0)
    start = problem.sample(150, generator=torch.Generator().manual_seed(0))

    def tracked(steps):
        method, dt = WrongScore(problem, 1.0, step=Step(log_det="none")), 1.0 / steps
        state, sigma = method.initialise(particle_state(start, t=1.0), problem), problem.score(start)
        for _ in range(steps):
            frame = method.evaluate(state)
            sigma, _ = push_score(method.step_jacobian(state, frame, dt), state.v, sigma)
            state = method.advance(state, frame, dt)
        return sigma

    first, second, third = (tracked(steps) for steps in (8, 16, 32))
    assert math.log2(float((first - second).norm() / (second - third).norm())) == pytest.approx(1, abs=0.2)
