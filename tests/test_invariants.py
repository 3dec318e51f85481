"""The checkers themselves: a correct drift passes, and every kind of wrong drift is caught."""

from __future__ import annotations

import pytest
import torch
from invariants import (
    assert_conserves,
    assert_dissipates,
    assert_equivariant,
    assert_rests_at_equilibrium,
    assert_scales,
    direct_sum,
    particles,
)

GAMMA = -3.0


def correct(v, s, weight):
    return direct_sum(v, s, weight, GAMMA)[0]


@pytest.fixture
def state():
    v, s, weight = particles(8, 3)
    return v, s, weight, direct_sum(v, s, weight, GAMMA)[1]


def test_correct_drift_passes_every_checker(state):
    v, s, weight, magnitude = state
    assert_conserves(correct, v, s, weight, magnitude)
    assert_dissipates(correct, v, s, weight, magnitude)
    assert_rests_at_equilibrium(correct, v, weight, GAMMA)
    assert_equivariant(correct, v, s, weight, magnitude, seed=1)
    assert_scales(correct, v, s, weight, magnitude, GAMMA)


@pytest.mark.parametrize(
    ("broken", "caught"),
    [
        # A directed graph: the pair 0 -> 1 acts one way only.
        (
            lambda v, s, w: direct_sum(v, s, w, GAMMA, pairs=[(i, j) for i in range(8) for j in range(8) if i < j])[0],
            "momentum",
        ),
        # Receivers' weights instead of senders'.
        (lambda v, s, w: correct(v, s, torch.full_like(w, 1 / 8)) * w[:, None] * 8, "momentum"),
        # The transposed projector z.z I - z z^T without the projection: momentum survives, energy does not.
        (lambda v, s, w: -(s - (w[:, None] * s).sum(0)), "energy"),
    ],
)
def test_conservation_rejects(state, broken, caught):
    with pytest.raises(AssertionError, match=caught):
        assert_conserves(broken, *state)


@pytest.mark.parametrize("broken", [lambda *a: -correct(*a), lambda *a: 0 * correct(*a)])
def test_dissipation_rejects_a_wrong_sign_and_no_collisions(state, broken):
    with pytest.raises(AssertionError, match="dissipation"):
        assert_dissipates(broken, *state)


def test_equilibrium_rejects_a_kernel_that_does_not_project(state):
    v, _, weight, _ = state

    def plus(v, s, w):
        # r^2 I + z z^T in place of r^2 I - z z^T.
        z, u = v[:, None] - v[None], s[:, None] - s[None]
        r = z.norm(dim=-1, keepdim=True) + torch.eye(len(v))[..., None]
        return -(w[None, :, None] * r**GAMMA * (r**2 * u + z * (z * u).sum(-1, keepdim=True))).sum(1)

    with pytest.raises(AssertionError, match="equilibrium"):
        assert_rests_at_equilibrium(plus, v, weight, GAMMA)


@pytest.mark.parametrize(
    ("broken", "caught"),
    [
        (lambda v, s, w: correct(v, s, w) * torch.tensor([1.0, 1.0, 1.1]), "rotation"),
        (lambda v, s, w: correct(v, s, w) * torch.arange(8.0)[:, None], "permutation"),
        (lambda v, s, w: correct(v, s, w) * v.norm(dim=1, keepdim=True), "translation"),
        (lambda v, s, w: correct(v, s, w) * s.norm(dim=1, keepdim=True), "shift of s"),
    ],
)
def test_equivariance_rejects(state, broken, caught):
    with pytest.raises(AssertionError, match=caught):
        assert_equivariant(broken, *state, seed=1)


def test_scaling_rejects_another_exponent(state):
    v, s, weight, magnitude = state
    with pytest.raises(AssertionError, match="scaling"):
        assert_scales(lambda *a: direct_sum(*a, GAMMA + 0.1)[0], v, s, weight, magnitude, GAMMA)
