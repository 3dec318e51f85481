"""The O(N) drift of Maxwell molecules against the direct sum."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from invariants import assert_close, cases, direct_sum, particles

from graphlandau.base import chunks
from graphlandau.graphs.partition import Partition
from graphlandau.nn.pairs import maxwell_drift, maxwell_partials


@given(cases(exponents=(0.0,)))
@settings(max_examples=25, deadline=None)
def test_equals_the_direct_sum(case):
    """Any dimension and weights, also weights whose sum is not 1."""
    n, d, _, seed = case
    v, s, weight = particles(n, d, seed)
    expected, magnitude = direct_sum(v, s, 3 * weight, 0.0)
    actual = maxwell_drift(v, s, 3 * weight, Partition.from_batch(None, v))
    assert_close("moments", actual, expected, magnitude, 1e-13)


def test_equals_the_direct_sum_in_each_block():
    v, s, weight = particles(9, 3)
    batch = torch.tensor([5, 1, 5, 5, 1, 0, 5, 1, 5])
    pairs = [(i, j) for i in range(9) for j in range(9) if batch[i] == batch[j]]
    expected, magnitude = direct_sum(v, s, weight, 0.0, pairs=pairs)
    actual = maxwell_drift(v, s, weight, Partition.from_batch(batch, v))
    assert_close("moments in blocks", actual, expected, magnitude.clamp_min(1e-3), 1e-13)
    assert not actual[5].any()


@pytest.mark.parametrize("blocks", [False, True])
def test_chunks_of_particles_change_nothing_but_rounding(monkeypatch, blocks):
    """Values and gradients where the 40 particles are taken 7 at a time."""
    v, s, weight = particles(40, 3)
    batch = torch.arange(40) % 3 if blocks else None
    partition = Partition.from_batch(batch, v)

    def computed():
        inputs = [x.clone().requires_grad_() for x in (v, s, weight)]
        values = (maxwell_drift(*inputs, partition), *maxwell_partials(*inputs, partition))
        gradient = torch.autograd.grad(sum(x.sin().sum() for x in values), inputs)
        with torch.no_grad():
            return *values, *gradient, maxwell_drift(v, s, weight, partition)

    whole = computed()
    monkeypatch.setattr(chunks, "rows_at_a_time", lambda x: 7)
    monkeypatch.setattr(chunks, "TRAINING_ROWS", 7)
    for actual, expected in zip(computed(), whole, strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("boost", [0.0, 10.0, 1e3])
def test_keeps_float32_digits_near_equilibrium(boost):
    """Inputs rounded to float32, everything else exact to half a float32 digit, whatever the mean velocity."""
    v, s, weight = particles(40, 3)
    v32, s32, w32 = (v + boost).float(), (0.01 * s - v).float(), weight.float()
    expected, magnitude = direct_sum(v32, s32, w32, 0.0)
    actual = maxwell_drift(v32, s32, w32, Partition.from_batch(None, v32))
    assert actual.dtype == torch.float32
    assert_close("moments in float32", actual, expected, magnitude, 1e-6)


@pytest.mark.parametrize("blocks", [False, True])
def test_partials_are_the_derivatives_of_the_field(blocks):
    """At a target apart from the sources: add it with weight zero and differentiate in its velocity and score."""
    v, s, weight = particles(7, 3)
    batch = torch.tensor([3, 3, 0, 3, 0, 0, 3]) if blocks else None
    partition = Partition.from_batch(batch, v)
    weight = weight.clone()
    weight[3] = 0.0
    by_v, by_s = maxwell_partials(v, s, weight, partition)

    def field(x, y):
        at = torch.zeros_like(v).index_fill(0, torch.tensor([3]), 1.0)
        return maxwell_drift(torch.where(at > 0, x, v), torch.where(at > 0, y, s), weight, partition)[3]

    exact_v, exact_s = torch.func.jacrev(field, (0, 1))(v[3], s[3])
    assert torch.allclose(by_v[3], exact_v, rtol=1e-12, atol=1e-13)
    assert torch.allclose(by_s[3], exact_s, rtol=1e-12, atol=1e-13)
