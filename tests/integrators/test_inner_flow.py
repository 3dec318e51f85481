"""The flow in inner time: its derivative is that of the discrete map, its order, what folds."""

from __future__ import annotations

import math

import pytest
import torch
from invariants import particles

from graphlandau.integrators import explicit_integrator
from graphlandau.integrators.inner_flow import RELAXED_BELOW, Flow, InnerFlow, segment_to_singular
from graphlandau.nn import JKOAction, LandauDrift

MIXING = torch.tensor([[0.8, -0.3, 0.1], [0.5, 0.6, -0.2], [-0.4, 0.2, 0.7]], dtype=torch.float64)


def field(v):
    """A smooth field far from any score, and its Jacobian."""
    mixing = MIXING[: v.size(1), : v.size(1)]
    slope = 1 - torch.tanh(v @ mixing)[:, :, None] ** 2
    eye = torch.eye(v.size(1), dtype=v.dtype)
    return torch.tanh(v @ mixing) - v, slope * mixing.T - eye


def plasma(n: int, d: int):
    v, _, weight = particles(n, d)
    return v, weight


@pytest.mark.parametrize("gamma", [-3.0, -1.0, 0.0])
@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("integrator", ["euler", "rk4"])
def test_factors_are_the_derivative_of_the_discrete_map(integrator, steps, gamma):
    """A particle of weight zero feels the others and does not move them: its map, differentiated by autograd."""
    v, weight = plasma(8, 2)
    target = torch.tensor([0.3, -0.4], dtype=v.dtype)
    weights = torch.cat([weight, weight.new_zeros(1)])
    flow = InnerFlow(LandauDrift(gamma, 0.5), explicit_integrator(integrator), steps)

    def end(x):
        return flow(field, torch.cat([v, x[None]]), 0.2, weight=weights).v[-1]

    expected = torch.func.jacrev(end)(target)
    found = flow(field, torch.cat([v, target[None]]), 0.2, weight=weights)
    product = torch.eye(2, dtype=v.dtype)
    for factor in found.factors:
        product = factor[-1] @ product
    assert torch.allclose(product, expected, rtol=1e-10, atol=1e-12)
    assert torch.allclose(found.log_det()[-1], torch.linalg.slogdet(expected).logabsdet, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("integrator", "order", "coarsest"), [("euler", 1, 32), ("rk4", 4, 4)])
def test_order_in_the_inner_step(integrator, order, coarsest):
    """Velocities, growth of the log-determinant and action, against 64 steps of RK4."""
    v, weight = plasma(10, 3)
    drift = LandauDrift(-1.0)
    exact = InnerFlow(drift, explicit_integrator("rk4"), 64)(field, v, 0.5, weight=weight)

    def errors(steps):
        found = InnerFlow(drift, explicit_integrator(integrator), steps)(field, v, 0.5, weight=weight)
        gaps = (found.v - exact.v, found.growth - exact.growth, found.log_det() - exact.log_det())
        return [float(gap.norm()) for gap in (*gaps, found.action - exact.action)]

    for coarse, fine in zip(errors(coarsest), errors(2 * coarsest), strict=True):
        # The next order adds about 10 % at these steps.
        assert math.log2(coarse / fine) == pytest.approx(order, abs=0.25)


@pytest.mark.parametrize("batch", [None, torch.tensor([0, 1, 0, 1, 1, 0, 0, 1, 0, 1])])
def test_one_explicit_step_is_the_pairwise_objective(batch):
    """(action - 2 <div U> tau) / tau^2 = L(u), whatever tau."""
    v, weight = plasma(10, 3)
    for tau in (0.1, 3.0):
        flow = InnerFlow(LandauDrift(-3.0), explicit_integrator("euler"), 1)(field, v, tau, batch=batch, weight=weight)
        share = weight / weight.sum()
        value = (flow.action - 2 * (share * flow.growth).sum()) / tau
        expected = JKOAction(-3.0)(v, *field(v), batch=batch, weight=weight)
        assert torch.allclose(value, expected, rtol=1e-11)


@pytest.mark.parametrize("steps", [1, 2])
def test_what_is_known_of_the_start_is_not_computed_again(steps):
    v, weight = plasma(10, 2)
    drift = LandauDrift(-3.0)
    u, jacobian = field(v)
    flow = InnerFlow(drift, explicit_integrator("rk4"), steps)
    plain = flow(field, v, 0.1, weight=weight)
    given = flow(field, v, 0.1, weight=weight, first=(u, jacobian, drift(v, u, weight=weight)))
    assert torch.equal(plain.v, given.v)
    assert torch.equal(plain.growth, given.growth)


@pytest.mark.parametrize("integrator", ["euler", "rk4"])
def test_momentum_is_exact_and_energy_of_the_order_of_the_integrator(integrator):
    v, weight = plasma(12, 3)

    def gains(tau):
        end = InnerFlow(LandauDrift(-1.0), explicit_integrator(integrator), 1)(field, v, tau, weight=weight).v
        momentum = (weight[:, None] * (end - v)).sum(0).norm()
        energy = (weight * (end**2 - v**2).sum(1)).sum().abs()
        return float(momentum), float(energy)

    (momentum, coarse), (_, fine) = gains(0.05), gains(0.025)
    assert momentum < 1e-15
    # One step: the energy is off by tau^2 <|U|^2> for Euler, by tau^5 for RK4 (measured 4.8 at these steps).
    assert math.log2(coarse / fine) == pytest.approx(2 if integrator == "euler" else 5, abs=0.3)


def test_relaxed_logarithm_is_exact_inside_and_smooth_across():
    """Equal above the threshold; value, slope and curvature go on below it; finite and steeper for a fold."""

    def relaxed(x):
        factor = torch.diag_embed(torch.stack([x, torch.ones_like(x)], dim=1))
        return Flow(x, x.sum(), torch.zeros_like(x), (factor,)).relaxed_log_det()

    inside = torch.tensor([RELAXED_BELOW, 0.5, 3.0], dtype=torch.float64)
    assert torch.allclose(relaxed(inside), inside.log(), rtol=1e-13)
    at = torch.tensor([RELAXED_BELOW * (1 - 1e-9), RELAXED_BELOW * (1 + 1e-9)], dtype=torch.float64)
    derivative = torch.func.grad(lambda x: relaxed(x).sum())
    second = torch.func.grad(lambda x: derivative(x).sum())
    for jump in (relaxed(at), derivative(at), second(at)):
        assert torch.allclose(jump[0], jump[1], rtol=1e-7)
    folded = relaxed(torch.tensor([-0.5, -1.0], dtype=torch.float64))
    assert bool(folded.isfinite().all())
    assert float(folded[1]) < float(folded[0]) < math.log(RELAXED_BELOW)


def test_where_a_segment_becomes_singular():
    """Stretching never, squeezing through zero at 1/|eigenvalue|, turning around passes it, a quarter turn not."""
    turn = torch.tensor([[0.0, -1.0], [1.0, 0.0]])
    maps = [
        torch.diag(torch.tensor([3.0, 1.0])),
        torch.diag(torch.tensor([-1.0, 1.0])),
        torch.diag(torch.tensor([-3.0, -1.0])),
        turn @ turn,
        turn,
        torch.diag(torch.tensor([0.5, 0.9])),
    ]
    found = segment_to_singular((torch.stack(maps).double(),))
    assert torch.allclose(found[:4], torch.tensor([math.inf, 0.5, 0.25, 0.5], dtype=torch.float64))
    assert not bool((found[4:] <= 1).any())
    # A double eigenvalue has determinant +1 at the end, and has passed zero on the way.
    assert float(torch.linalg.det(maps[3])) == pytest.approx(1)
    later = segment_to_singular((torch.eye(2).expand(1, 2, 2), maps[1][None]))
    assert float(later) == 0.5
