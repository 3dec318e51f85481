"""The joint objective: exact pairs have no residual, times do not mix, and who feels which loss."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from graphlandau.nn import FlowMap, LandauDrift, TimeField, TimeMLP, TimeScore
from graphlandau.objectives import collocate

KERNELS = pytest.mark.parametrize("gamma", [0.0, -3.0])
QUARTER = torch.tensor([[0.0, -1.0], [1.0, 0.0]], dtype=torch.float64)
TIMES = torch.tensor([0.3, 2.0, 0.9], dtype=torch.float64)


class Field(TimeField):
    """A field from a formula."""

    def __init__(self, function, d=2):
        super().__init__()
        self.d, self.function = d, function

    def forward(self, v, t):
        return self.function(v, t[..., None])


def as_map(function, d=2, t_end=2.0):
    """A flow map that is ``function`` of initial velocity and time."""
    return FlowMap(Field(lambda x, tau: function(x, t_end * tau), d), d, 0.0, t_end, initial="penalty")


def as_score(function, d=2, t_end=2.0):
    """A score that is ``function`` of velocity and time."""
    return TimeScore(Field(lambda x, tau: function(x, t_end * tau), d), d, 0.0, t_end, base="none")


def some_velocities(n=30, d=2):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def networks(d=2, t_start=0.0, t_end=2.0):
    """A flow and a score of random weights, away from any solution."""
    torch.manual_seed(3)
    pair = [TimeMLP(d, 5, 1, 3, 1, 6, 2, "tanh").double() for _ in range(2)]
    for network in pair:
        nn.init.normal_(network.last.weight, std=0.3)
    return FlowMap(pair[0], d, t_start, t_end), TimeScore(pair[1], d, t_start, t_end)


@pytest.mark.parametrize("divergence", ["exact", "hutchinson"])
@pytest.mark.parametrize("d", [2, 3])
@KERNELS
def test_a_maxwellian_at_rest_has_no_residual(gamma, d, divergence):
    """Its score is a + b v, across which A(z) vanishes: no drift, whatever the sample; rounding only."""
    mean, temperature = torch.linspace(-1.0, 2.0, d, dtype=torch.float64), 1.7
    flow = as_map(lambda v, t: v + 0 * t, d)
    score = as_score(lambda v, t: -(v - mean) / temperature + 0 * t, d)
    particles = collocate(
        flow, score, LandauDrift(gamma, 0.5), mean + some_velocities(d=d), TIMES, divergence=divergence
    )
    assert float(particles.residual.abs().max()) < 1e-13
    assert float(particles.physics) < 1e-26
    # A diagonal Jacobian: even a random direction gives its trace.
    torch.testing.assert_close(particles.divergence, torch.full((3, 30), -d / temperature, dtype=torch.float64))


@pytest.mark.parametrize("n", [3, 5, 8])
def test_a_turning_ring_has_no_residual(n):
    r"""n particles at equal angles on a ring of radius r about m, with the field s = w(t) J (v - m), gamma = 0.

    J is a quarter turn, so A(z) J z = C |z|^2 J z, and :math:`\frac 1n \sum_j |z_{ij}|^2 z_{ij} = 3 r^2 (v_i - m)`: the
    ring turns rigidly, at the rate -3 C r^2 w(t). No gradient, but a pair that moves, exact for finitely many particles
    and different at every time.
    """
    strength, radius, mean = 0.7, 1.3, torch.tensor([0.4, -2.0], dtype=torch.float64)
    angles = 2 * math.pi * torch.arange(n, dtype=torch.float64) / n
    v0 = mean + radius * torch.stack([angles.cos(), angles.sin()], dim=1)

    def turned(v, t):
        # w = cos t, integrated from 0.
        angle = -3 * strength * radius**2 * torch.sin(t)
        return mean + torch.cos(angle) * (v - mean) + torch.sin(angle) * (v - mean) @ QUARTER.T

    score = as_score(lambda v, t: torch.cos(t) * (v - mean) @ QUARTER.T)
    particles = collocate(as_map(turned), score, LandauDrift(0.0, strength), v0, TIMES)
    speed = 3 * strength * radius**3 * TIMES.cos().abs()[:, None]
    # Two numbers of the size of the speed, 3.5, are subtracted.
    assert float(particles.residual.abs().max()) < 1e-13
    # Not because both vanish: the drift alone has that speed.
    alone = collocate(as_map(lambda v, t: turned(v, t.detach())), score, LandauDrift(0.0, strength), v0, TIMES)
    still = collocate(as_map(lambda v, t: v + 0 * t), score, LandauDrift(0.0, strength), v0, TIMES)
    torch.testing.assert_close(still.residual.norm(dim=-1), speed.expand(3, n))
    torch.testing.assert_close(alone.v, particles.v)
    # Another strength, or the ring at another time, is no solution.
    wrong = collocate(as_map(turned), score, LandauDrift(0.0, 1.1 * strength), v0, TIMES)
    torch.testing.assert_close(wrong.residual.norm(dim=-1), 0.1 * speed.expand(3, n))


@pytest.mark.parametrize("d", [2, 3])
@KERNELS
def test_times_do_not_mix(gamma, d):
    """The residual is rate - drift with the drift of the particles of each time alone, summed pair by pair."""
    growth = torch.linspace(0.2, -0.5, d, dtype=torch.float64)
    flow = as_map(lambda v, t: v * torch.exp(growth * t) + torch.sin(v) * t, d)
    score = as_score(lambda v, t: torch.tanh(v) * torch.cos(t) - v * (1 + t), d)
    drift, v0 = LandauDrift(gamma, 0.3), some_velocities(d=d)
    particles = collocate(flow, score, drift, v0, TIMES)
    for k, t in enumerate(TIMES):
        v = v0 * torch.exp(growth * t) + torch.sin(v0) * t
        rate = growth * v0 * torch.exp(growth * t) + torch.sin(v0)
        s = torch.tanh(v) * torch.cos(t) - v * (1 + t)
        slope = (1 - torch.tanh(v) ** 2) * torch.cos(t) - (1 + t)
        torch.testing.assert_close(particles.v[k], v)
        torch.testing.assert_close(particles.s[k], s)
        torch.testing.assert_close(particles.divergence[k], slope.sum(1))
        # The dense sum; for gamma = 0 the particles are summed by moments.
        u = LandauDrift(gamma, 0.3, backend="dense")(v, s)
        torch.testing.assert_close(particles.residual[k], rate - u, atol=1e-12, rtol=1e-10)
        assert float(u.norm()) > 0.01
    one_by_one = [collocate(flow, score, drift, v0, t[None]) for t in TIMES]
    torch.testing.assert_close(particles.residual, torch.cat([one.residual for one in one_by_one]))
    torch.testing.assert_close(particles.physics, torch.stack([one.physics for one in one_by_one]).mean())
    torch.testing.assert_close(particles.implicit, torch.stack([one.implicit for one in one_by_one]).mean())


def test_losses_are_means_over_particles_and_times():
    """Eqs. (2.10) and (2.11), written out."""
    flow, score = networks()
    particles = collocate(flow, score, LandauDrift(0.0), some_velocities(), TIMES)
    physics = sum(float(r @ r) for r in particles.residual.reshape(-1, 2)) / 90
    rows = zip(particles.s.reshape(-1, 2), particles.divergence.flatten(), strict=True)
    implicit = sum(float(s @ s + 2 * div) for s, div in rows) / 90
    assert float(particles.physics) == pytest.approx(physics, rel=1e-12)
    assert float(particles.implicit) == pytest.approx(implicit, rel=1e-12)


@KERNELS
def test_the_residual_does_not_know_its_units(gamma):
    """In velocities m + sigma v and times sigma^-gamma t it is sigma^(1 + gamma) times what it was."""
    flow, score = networks()
    sigma, mean, x = 3.0, torch.tensor([5.0, -1.0], dtype=torch.float64), some_velocities()
    stretch = sigma**-gamma
    moved = FlowMap(flow.network, 2, 7.0, 7.0 + 2 * stretch)
    moved_score = TimeScore(score.network, 2, 7.0, 7.0 + 2 * stretch)
    for module in (moved, moved_score):
        module.condition(mean, sigma**2)
    before = collocate(flow, score, LandauDrift(gamma, 0.4), x, TIMES)
    after = collocate(moved, moved_score, LandauDrift(gamma, 0.4), mean + sigma * x, 7 + stretch * TIMES)
    # Rounding of the shifted velocities, 1e-15 * 10, through differences of a few pairs that are close by.
    torch.testing.assert_close(after.residual, sigma ** (1 + gamma) * before.residual, atol=1e-10, rtol=1e-8)
    torch.testing.assert_close(after.implicit, before.implicit / sigma**2)


def gradients(loss, module):
    return torch.autograd.grad(loss, list(module.parameters()), allow_unused=True, retain_graph=True)


@pytest.mark.parametrize("divergence", ["exact", "hutchinson"])
def test_who_feels_which_loss(divergence):
    """The score feels the residual, and the flow the score's loss, only where they are asked to; values stay."""
    found = {}
    for target in (True, False):
        for moves in (False, True):
            flow, score = networks()
            particles = collocate(
                flow, score, LandauDrift(-3.0), some_velocities(), TIMES, divergence=divergence,
                drift_is_target=target, score_moves_flow=moves, generator=torch.Generator().manual_seed(5),
            )  # fmt: skip
            losses = {"physics": particles.physics, "implicit": particles.implicit}
            slopes = {(x, y): gradients(losses[x], z) for x in losses for y, z in (("flow", flow), ("score", score))}
            found[target, moves] = losses, slopes
    # As printed: everything is differentiated.
    losses, slopes = found[False, True]
    assert all(sum(float(g.norm()) for g in slope if g is not None) > 1e-3 for slope in slopes.values())
    for (target, moves), (now, theirs) in found.items():
        torch.testing.assert_close(now, losses)
        torch.testing.assert_close(theirs["implicit", "score"], slopes["implicit", "score"])
        if moves:
            torch.testing.assert_close(theirs["implicit", "flow"], slopes["implicit", "flow"])
        else:
            assert all(g is None for g in theirs["implicit", "flow"])
        if target:
            assert all(g is None for g in theirs["physics", "score"])
            assert sum(float(g.norm()) for g in theirs["physics", "flow"]) > 1e-3
        else:
            torch.testing.assert_close(theirs["physics", "score"], slopes["physics", "score"])
            torch.testing.assert_close(theirs["physics", "flow"], slopes["physics", "flow"])


@pytest.mark.parametrize("target", [False, True])
@KERNELS
def test_gradients_are_those_of_the_losses(gamma, target):
    """In one weight of each network, against central differences of h = 1e-6: errors below 1e-8.

    With the drift as a target the loss is that of the rate alone, the drift fixed.
    """
    flow, score = networks()
    drift, v0 = LandauDrift(gamma), some_velocities()
    particles = collocate(flow, score, drift, v0, TIMES, drift_is_target=target, score_moves_flow=True)
    fixed = (flow.value_and_rate(v0, TIMES[:, None])[1] - particles.residual).detach()

    def losses():
        if target:
            physics = (flow.value_and_rate(v0, TIMES[:, None])[1] - fixed).square().sum(-1).mean()
        else:
            physics = collocate(flow, score, drift, v0, TIMES).physics
        return torch.stack([physics, collocate(flow, score, drift, v0, TIMES).implicit])

    for module in (flow, score):
        weight, h = module.network.hidden[0].weight, 1e-6
        slopes = gradients(particles.physics, module), gradients(particles.implicit, module)
        index = [p is weight for p in module.parameters()].index(True)
        with torch.no_grad():
            weight[2, 1] += h
            up = losses()
            weight[2, 1] -= 2 * h
            down = losses()
            weight[2, 1] += h
        for slope, difference in zip(slopes, (up - down) / (2 * h), strict=True):
            found = 0.0 if slope[index] is None else float(slope[index][2, 1])
            assert found == pytest.approx(float(difference), rel=1e-6, abs=1e-8)
    assert abs(found) > 1e-6


def test_hutchinson_is_unbiased():
    """Four standard errors of the mean of 400 draws, for the mean and for every particle's own (90 of them: five)."""
    flow, score = networks()
    drift, v0 = LandauDrift(0.0), some_velocities()
    exact, generator = collocate(flow, score, drift, v0, TIMES), torch.Generator().manual_seed(0)
    with torch.no_grad():
        draws = [
            collocate(flow, score, drift, v0, TIMES, divergence="hutchinson", generator=generator) for _ in range(400)
        ]
    divergences = torch.stack([x.divergence for x in draws])
    error = (divergences.mean(0) - exact.divergence).abs()
    assert bool((error <= 5 * divergences.std(0) / 20 + 1e-12).all())
    losses = torch.stack([x.implicit for x in draws])
    assert abs(float(losses.mean() - exact.implicit)) < 4 * float(losses.std()) / 20
    assert float(losses.std()) > 0
    for x in draws[:3]:
        torch.testing.assert_close(x.s, exact.s)
        torch.testing.assert_close(x.residual, exact.residual)


def test_hutchinson_draws_from_its_generator():
    flow, score = networks()

    def drawn(seed):
        generator = torch.Generator().manual_seed(seed)
        options = {"divergence": "hutchinson", "generator": generator}
        return collocate(flow, score, LandauDrift(0.0), some_velocities(), TIMES, **options).divergence

    assert torch.equal(drawn(1), drawn(1))
    assert not torch.equal(drawn(1), drawn(2))


def test_implicit_loss_is_the_distance_from_the_score_up_to_its_norm():
    r"""Hyvarinen: <|s|^2 + 2 div s> = <|s - s*|^2> - <|s*|^2> in the mean, for particles moved by a known map.

    Phi = e^{at} v0 turns N(0, I) into N(0, e^{2at}), whose score is s* = -e^{-2at} v. What the two sides differ by has
    mean zero: within four of its standard errors on 20,000 particles, at each time.
    """
    growth = torch.tensor([0.3, -0.4], dtype=torch.float64)
    flow = as_map(lambda v, t: v * torch.exp(growth * t))
    _, score = networks()
    v0 = some_velocities(20_000)
    with torch.no_grad():
        particles = collocate(flow, score, LandauDrift(0.0), v0, TIMES)
    exact = -particles.v * torch.exp(-2 * growth * TIMES[:, None])[:, None, :]
    implicit = particles.s.square().sum(-1) + 2 * particles.divergence
    distance = (particles.s - exact).square().sum(-1)
    gap = implicit - (distance - exact.square().sum(-1))
    standard_error = gap.std(1) / 20_000**0.5
    assert bool((gap.mean(1).abs() < 4 * standard_error).all())
    # The three terms are far larger than that.
    assert float(distance.mean()) > 20 * float(standard_error.max())
    # The exact score itself reaches the minimum, minus the Fisher information.
    best = collocate(flow, as_score(lambda v, t: -v * torch.exp(-2 * growth * t)), LandauDrift(0.0), v0, TIMES)
    fisher = torch.exp(-2 * growth * TIMES[:, None]).sum(1).mean()
    # |s*|^2 of a Gaussian in 2D: standard deviation at most 2 e^{0.8 * 2}, on 60,000 particles and times.
    assert float(best.implicit) == pytest.approx(-float(fisher), abs=4 * 2 * math.exp(1.6) / 20_000**0.5)
    assert float(best.implicit) < float(particles.implicit)


def test_plain_networks_of_the_users_collocate():
    """Called with rows (N, 2) and (N,) only; the same numbers as the same field with a formula for its shapes."""

    class Plain(nn.Module):
        def __init__(self, sign):
            super().__init__()
            self.size = nn.Parameter(torch.tensor(0.3 * sign, dtype=torch.float64))

        def forward(self, v, t):
            return self.size * torch.tanh(v) * t.reshape(len(v), 1)

    plain = (FlowMap(Plain(1), 2, 0.0, 2.0), TimeScore(Plain(-1), 2, 0.0, 2.0))
    formula = (
        FlowMap(Field(lambda v, t: 0.3 * torch.tanh(v) * t), 2, 0.0, 2.0),
        TimeScore(Field(lambda v, t: -0.3 * torch.tanh(v) * t), 2, 0.0, 2.0),
    )
    found, expected = (collocate(*pair, LandauDrift(-3.0), some_velocities(), TIMES) for pair in (plain, formula))
    for name in ("v", "s", "divergence", "residual"):
        torch.testing.assert_close(getattr(found, name), getattr(expected, name))
    (slope,) = torch.autograd.grad(found.physics, plain[0].network.module.size)
    assert float(slope.abs()) > 1e-3


def test_refuses_unknown_divergences():
    with pytest.raises(ValueError, match="'divergence' must be one of exact, hutchinson"):
        collocate(*networks(), LandauDrift(0.0), some_velocities(), TIMES, divergence="exactly")
