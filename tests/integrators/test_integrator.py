"""What every integrator declares is true: order, Jacobian of the step, how its places move; a stranger's too."""

from __future__ import annotations

import math

import pytest
import torch
from invariants import particles

from graphlandau.integrators import INTEGRATORS, Integrator, RungeKutta
from graphlandau.nn import LandauDrift

MIXING = torch.tensor([[0.8, -0.3], [0.5, 0.6]], dtype=torch.float64)
# A scheme that nobody registered.
EVERY = INTEGRATORS | {"heun": RungeKutta(order=2, a=((), (1.0,)), weights=(0.5, 0.5))}
DT = 0.1

every = pytest.mark.parametrize("integrator", EVERY.values(), ids=EVERY)


def score(v):
    return torch.tanh(v @ MIXING) - v


@every
def test_order_by_regression(integrator: Integrator):
    """Steps along one field that does not change: log error over log dt, against a hundred times smaller steps."""
    v0, _, weight = particles(10, 2)
    layer, s = LandauDrift(-1.0, 0.5), score(v0)

    def run(scheme: Integrator, steps: int):
        v = v0
        for _ in range(steps):
            v = scheme.step(v, lambda y: layer(y, s, weight=weight), 0.5 / steps).v
        return v

    exact, steps = run(EVERY["rk4"], 200), (8, 16, 32)
    x = torch.tensor([math.log(0.5 / n) for n in steps])
    y = torch.tensor([math.log(float((run(integrator, n) - exact).norm())) for n in steps])
    slope = float(((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum())
    assert slope == pytest.approx(integrator.order, abs=0.2)


@every
def test_factors_and_slopes_are_the_derivatives_of_the_step(integrator: Integrator):
    """A particle of weight zero feels the others and does not move them: its map, differentiated by autograd."""
    v, _, weight = particles(8, 2)
    weight, layer = torch.cat([weight, weight.new_zeros(1)]), LandauDrift(-1.5, 0.5)
    target = torch.tensor([0.3, -0.4], dtype=v.dtype)

    def step(x):
        start = torch.cat([v, x[None]])
        s = score(start)
        return integrator.step(start, lambda y: layer(y, s, weight=weight), DT)

    start = torch.cat([v, target[None]])
    gradient = torch.diag_embed(1 - torch.tanh(start @ MIXING) ** 2) @ MIXING.T - torch.eye(2, dtype=v.dtype)
    T, S = [], []
    for place in step(target).at:
        by_v, by_s = layer.partials(place, score(start), weight=weight)
        T.append(by_v)
        S.append(by_s @ gradient)
    eye = torch.eye(2, dtype=v.dtype)
    after, before = integrator.factors(T, S, DT)
    found = eye + DT * after
    if before is not None:
        found = torch.linalg.solve(eye + DT * before, found)
    expected = torch.autograd.functional.jacobian(lambda x: step(x).v[-1], target)
    assert torch.allclose(found[-1], expected, rtol=1e-9, atol=1e-11)
    for k, slope in enumerate(integrator.slopes(T, S, DT)):
        moves = torch.autograd.functional.jacobian(lambda x, k=k: step(x).at[k][-1], target)
        assert torch.allclose(eye if slope is None else slope[-1], moves, rtol=1e-9, atol=1e-11)


@every
def test_to_first_order_the_log_determinant_is_the_weighted_trace(integrator: Integrator):
    T, S = ([torch.randn(5, 3, 3, dtype=torch.float64) for _ in integrator.weights] for _ in range(2))
    assert sum(integrator.weights) == pytest.approx(1)
    gaps = []
    for dt in (1e-3, 5e-4):
        after, before = integrator.factors(T, S, dt)
        eye = torch.eye(3, dtype=torch.float64)
        log_det = torch.linalg.slogdet(eye + dt * after).logabsdet
        if before is not None:
            log_det = log_det - torch.linalg.slogdet(eye + dt * before).logabsdet
        rates = [(t + s).diagonal(dim1=1, dim2=2).sum(-1) for t, s in zip(T, S, strict=True)]
        first = dt * sum(b * rate for b, rate in zip(integrator.weights, rates, strict=True))
        gaps.append(float((log_det - first).norm()))
    assert gaps[0] / gaps[1] == pytest.approx(4, rel=0.1)


@every
@pytest.mark.parametrize("dt", [0.0, -0.1, float("nan"), float("inf")])
def test_refuses_dt(integrator, dt):
    with pytest.raises(ValueError, match="'dt' must be positive"):
        integrator.step(torch.ones(4, 2), lambda v: -v, dt)


@every
def test_float32_in_float32_out_and_momentum_stays(integrator):
    v, s, _ = particles(20, 3, dtype=torch.float32)
    moved = integrator.step(v, lambda y: LandauDrift(-3.0)(y, s), 0.01)
    assert moved.v.dtype == torch.float32
    assert float(moved.v.mean(0).sub(v.mean(0)).norm()) < 1e-6
