"""Minimisers in a linear model: closed forms, optimality, dissipation, warm start, refusals."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from graphlandau.fields import RippledWell
from graphlandau.nn import AffineControl, FeatureControl, LinearControl, PhaseEmbedding
from graphlandau.objectives import ControlObjective, log_determinant

POTENTIAL = RippledWell(stiffness=1.3, amplitude=0.4, wavenumber=2.0, phase=0.3)


def gaussian(n: int, d_x: int, d: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Positions and velocities of a correlated Gaussian that is neither centred nor isotropic."""
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(n, d_x + d, generator=generator, dtype=torch.float64)
    mix = torch.randn(d_x + d, d_x + d, generator=generator, dtype=torch.float64) / 4
    z = z @ (torch.eye(d_x + d, dtype=torch.float64) + mix) + 0.5
    return z[:, :d_x], z[:, d_x:]


def beams(n: int, d: int, seed: int = 0, sigma: float = 0.3) -> tuple[torch.Tensor, torch.Tensor]:
    """Two beams along the first velocity, as in the two-stream problem; the other velocities are colder."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(n, 1, generator=generator, dtype=torch.float64)
    v = sigma * torch.randn(n, d, generator=generator, dtype=torch.float64)
    v[:, 0] += 3 * torch.randint(0, 2, (n,), generator=generator) - 1.5
    return x, v


def regression(x: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    design = torch.cat([x, torch.ones_like(x[:, :1])], dim=1)
    return design @ torch.linalg.lstsq(design, v).solution


def mean_loss(control: LinearControl, objective: ControlObjective, x: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    return objective(*control.value_and_jacobian(x, v)).mean()


def weight_slope(control: LinearControl, objective: ControlObjective, x: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """Slope of the mean loss in the weights, by autograd and not by the solver's own formula."""
    weights = control.coefficients.clone().requires_grad_()
    control.coefficients = weights
    (slope,) = torch.autograd.grad(mean_loss(control, objective, x, v), weights)
    control.coefficients = weights.detach()
    return slope


def moved(control: LinearControl, x: torch.Tensor, v: torch.Tensor, dt: float) -> torch.Tensor:
    return v + dt * control(x, v)


@pytest.mark.parametrize(("d_x", "d"), [(1, 1), (1, 3), (3, 3)])
@pytest.mark.parametrize("strength", [1e-3, 0.1, 3.0])
def test_the_exact_affine_minimiser_is_the_closed_form(d_x, d, strength):
    x, v = gaussian(500, d_x, d)
    dt, epsilon, temperature = 0.1, 10 * strength, 0.7
    control = AffineControl(PhaseEmbedding(d_x, d))
    control.solve(ControlObjective.split(v, dt=dt, epsilon=epsilon, temperature=temperature), x, v)
    fitted, c = regression(x, v), 1 + epsilon * dt
    residual = v - fitted
    variance, axes = torch.linalg.eigh(residual.T @ residual / len(v))
    factor = (1 + (1 + 4 * c * epsilon * temperature * dt / variance).sqrt()) / (2 * c)
    expected = fitted / c + residual @ (axes * factor) @ axes.T
    # The solve stops at eight digits of the step dt u, which is of the order of strength at most.
    torch.testing.assert_close(moved(control, x, v, dt), expected, rtol=0, atol=1e-8)


@pytest.mark.parametrize(("d_x", "d"), [(1, 1), (1, 3), (2, 2)])
def test_the_trace_minimiser_is_implicit_drag_and_the_score(d_x, d):
    x, v = gaussian(500, d_x, d)
    dt, epsilon, temperature = 0.2, 0.8, 0.7
    residual = v - regression(x, v)
    # The conditional score of the Gaussian with the moments of the particles.
    score = -residual @ torch.linalg.inv(residual.T @ residual / len(v))
    control = AffineControl(PhaseEmbedding(d_x, d))
    settings = {"epsilon": epsilon, "temperature": temperature}
    control.solve(ControlObjective.split(v, dt=dt, log_det="trace", **settings), x, v)
    expected = -epsilon * (v + temperature * score)
    torch.testing.assert_close(control(x, v), expected / (1 + epsilon * dt), rtol=1e-9, atol=1e-9)
    control.solve(ControlObjective.score_matching(v, **settings), x, v)
    torch.testing.assert_close(control(x, v), expected, rtol=1e-9, atol=1e-9)


def test_exact_and_trace_minimisers_agree_to_first_order():
    x, v = gaussian(500, 1, 2)
    gaps = []
    for dt in (4e-3, 2e-3, 1e-3):
        fields = []
        for log_det in ("exact", "trace"):
            control = AffineControl(PhaseEmbedding(1, 2))
            control.solve(ControlObjective.split(v, dt=dt, epsilon=1.0, log_det=log_det), x, v)
            fields.append(control(x, v))
        gaps.append(float((fields[0] - fields[1]).norm()))
    # Order one in dt, up to the next order: dt over the least variance, some 1e-2.
    orders = [math.log2(a / b) for a, b in itertools.pairwise(gaps)]
    assert orders == pytest.approx([1, 1], abs=0.05)


@pytest.mark.parametrize("dt", [0.01, 0.1])
@pytest.mark.parametrize("d", [1, 2, 3])
def test_the_slope_of_the_loss_vanishes_at_the_exact_minimiser(d, dt):
    x, v = beams(2000, d)
    objective = ControlObjective.split(v, dt=dt, epsilon=1.0)
    for control in (
        AffineControl(PhaseEmbedding(1, d, lengths=1.0)),
        FeatureControl(PhaseEmbedding(1, d, lengths=1.0), num_features=8 * d, ridge=1e-12),
    ):
        solution = control.solve(objective, x, v)
        slope = weight_slope(control, objective, x, v)
        control.coefficients.zero_()
        at_rest = weight_slope(control, objective, x, v)
        # Eight digits in the metric of the curvature; its condition number amplifies them for raw weights.
        assert float(slope.norm()) < 1e-6 * float(at_rest.norm())
        assert solution.loss < 0


def test_the_slope_of_the_joint_loss_vanishes_too():
    x, v = gaussian(1000, 1, 2)
    for log_det in ("exact", "trace"):
        objective = ControlObjective.joint(x, v, POTENTIAL, dt=0.3, epsilon=1.0, log_det=log_det)
        control = AffineControl(PhaseEmbedding(1, 2, wavelengths=math.pi))
        solution = control.solve(objective, x, v)
        assert float(weight_slope(control, objective, x, v).norm()) < 1e-7
        assert solution.loss == pytest.approx(float(mean_loss(control, objective, x, v)), rel=1e-12)


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(12, 200),
    d=st.integers(1, 3),
    strength=st.floats(1e-4, 30),
    sigma=st.floats(0.1, 3),
    seed=st.integers(0, 1000),
    rich=st.booleans(),
)
def test_the_free_energy_never_grows(n, d, strength, sigma, seed, rich):
    # Proposition 6 of arXiv:2603.23901 on the particles: u = 0 is in the model and has a larger loss.
    x, v = beams(n, d, seed, sigma)
    dt = 0.1
    embedding = PhaseEmbedding(1, d, lengths=1.0)
    control = FeatureControl(embedding, num_features=6, ridge=1e-2) if rich else AffineControl(embedding)
    control.solve(ControlObjective.split(v, dt=dt, epsilon=strength / dt), x, v)
    u, jacobian = control.value_and_jacobian(x, v)
    step = torch.eye(d, dtype=torch.float64) + dt * jacobian
    assert float(torch.linalg.det(step).min()) > 0
    energy = (0.5 * (v + dt * u).square().sum(1) - log_determinant(jacobian, dt)).mean()
    before = 0.5 * v.square().sum(1).mean()
    # The action of the motion is paid for by it as well; rounding of means of order one.
    assert float(energy + 0.5 * dt**2 * u.square().sum(1).mean() / strength) <= float(before) * (1 + 1e-12) + 1e-12


def test_the_warm_start_saves_passes():
    # Strong collisions of cold beams, epsilon dt = sigma^2 / 2: the minimiser with the trace is a poor start.
    x, v = beams(5000, 1)
    dt = 0.05
    embedding = PhaseEmbedding(1, 1, lengths=1.0)
    warm = FeatureControl(embedding, ridge=1e-3)
    for _ in range(4):
        objective = ControlObjective.split(v, dt=dt, epsilon=1.0)
        cold = FeatureControl(embedding, ridge=1e-3)
        solutions = [control.solve(objective, x, v) for control in (warm, cold)]
        # The same minimum from either start: eight digits of the step in the metric of the curvature.
        torch.testing.assert_close(warm(x, v), cold(x, v), rtol=1e-6, atol=1e-6)
        old, (v, x) = (x, v), (moved(warm, x, v, dt), x + dt * v)
    assert all(solution.converged for solution in solutions)
    # 8 against 13 when written.
    assert solutions[0].passes < solutions[1].passes
    # On the same particles it starts at the minimum: the moments, the start and the curvature there.
    assert warm.solve(objective, *old).passes == 3


def test_the_warm_start_survives_a_checkpoint():
    x, v = beams(1000, 2)
    objective = ControlObjective.split(v, dt=0.05, epsilon=1.0)
    controls = [FeatureControl(PhaseEmbedding(1, 2, lengths=1.0), num_features=6) for _ in range(2)]
    controls[0].solve(objective, x, v)
    controls[1].load_state_dict(controls[0].state_dict())
    assert torch.equal(controls[1](x, v), controls[0](x, v))
    again = [control.solve(objective, x + 0.01, 1.01 * v) for control in controls]
    assert again[0] == again[1]
    assert torch.equal(controls[1](x, v), controls[0](x, v))


def test_velocity_matching_recovers_both_derivatives_of_a_gaussian():
    # Signs of the two parts of the velocity field (arXiv:2603.23901, Eq. (34), with its slip of sign corrected).
    epsilon = 0.6
    x, v = gaussian(800, 1, 1)
    z = torch.cat([x, v], dim=1)
    scores = -(z - z.mean(0)) @ torch.linalg.inv(torch.cov(z.T, correction=0))
    by_x, by_v = scores[:, :1], scores[:, 1:]
    control = AffineControl(PhaseEmbedding(1, 1))
    control.solve(ControlObjective(1.0, -v, -1.0), x, v)
    torch.testing.assert_close(control(x, v), v + by_v, rtol=1e-9, atol=1e-9)
    # An affine control holds the gradient of a quadratic potential.
    force = 1.3 * x
    control.solve(ControlObjective(1.0, force + epsilon * v, epsilon), x, v, shear=1 / epsilon)
    torch.testing.assert_close(control(x, v), -(force + by_x) - epsilon * (v + by_v), rtol=1e-9, atol=1e-9)


def test_positions_that_do_not_vary_drop_out():
    _, v = gaussian(200, 1, 1)
    x = torch.full_like(v, 0.7)
    control = FeatureControl(PhaseEmbedding(1, 1, lengths=1.0), ridge=1e-2)
    solution = control.solve(ControlObjective.split(v, dt=0.1, epsilon=1.0), x, v)
    assert math.isfinite(solution.loss)
    assert bool(control(x, v).isfinite().all())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype_follows_the_particles(dtype):
    x, v = (z.to(dtype) for z in beams(1000, 1))
    control = FeatureControl(PhaseEmbedding(1, 1, lengths=1.0), ridge=1e-3)
    control.solve(ControlObjective.split(v, dt=0.05, epsilon=1.0), x, v)
    u, jacobian = control.value_and_jacobian(x, v)
    assert u.dtype == jacobian.dtype == dtype
    reference = control(x.double(), v.double())
    # Rounding of a sum of some 76 terms with weights of order ten.
    torch.testing.assert_close(u.double(), reference, rtol=1e-3 if dtype == torch.float32 else 1e-12, atol=1e-3)


def test_the_minimiser_does_not_depend_on_the_chunks(monkeypatch):
    x, v = beams(1000, 2)
    objective = ControlObjective.joint(x, v, POTENTIAL, dt=0.05, epsilon=1.0)
    fields = []
    for chunk in (10_000, 64):
        for module in ("linear", "weight_loss"):
            monkeypatch.setattr(f"graphlandau.nn.control.{module}.CHUNK", chunk)
        control = FeatureControl(PhaseEmbedding(1, 2, lengths=1.0), num_features=6)
        control.solve(objective, x, v)
        fields.append(control(x, v))
    torch.testing.assert_close(*fields, rtol=1e-8, atol=1e-8)


@pytest.mark.bad_input
def test_refuses_bad_particles():
    x, v = beams(50, 2)
    control = AffineControl(PhaseEmbedding(1, 2))
    cases = [
        (x, v * math.nan, r"'v' must be finite \(got 100 non-finite of 100 entries\)"),
        (x[:40], v, r"'x' must have shape \(50, 1\) and dtype torch.float64 \(got \(40, 1\), torch.float64\)"),
        (x, v[:, :1], r"'v' must have shape \(N, 2\) \(got \(50, 1\)\)"),
        (x[:40], v[:40], r"'objective' must have g of shape \(40, 2\) \(got \(50, 2\)\)"),
        (x, v * torch.tensor([1.0, 0.0]), r"'v' must have a non-singular covariance beside its regression"),
        (v[:, :1].clone(), v, r"'v' must have a non-singular covariance beside its regression"),
    ]
    objective = ControlObjective.split(v, dt=0.1, epsilon=1.0)
    for positions, velocities, message in cases:
        with pytest.raises(ValueError, match=message) as caught:
            control.solve(objective, positions, velocities)
        assert "\n" not in str(caught.value)
