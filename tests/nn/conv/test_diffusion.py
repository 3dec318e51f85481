"""The diffusion matrix of the drift and its divergence: against the kernel, the drift, and finite differences."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from invariants import EXPONENTS, particles

from graphlandau.nn import LandauDrift

BATCH = torch.tensor([7, 2, 7, 2, 2, 7, 7, 9, 9])


def direct(v, weight, gamma):
    """Definition, pair by pair."""
    d = v.size(1)
    matrix, divergence = v.new_zeros(len(v), d, d), v.new_zeros(len(v), d)
    for i in range(len(v)):
        for j in range(len(v)):
            z = v[i] - v[j]
            r = z.norm()
            if r > 0:
                matrix[i] += weight[j] * r**gamma * (r**2 * torch.eye(d, dtype=v.dtype) - z.outer(z))
                divergence[i] -= weight[j] * (d - 1) * r**gamma * z
    return matrix, divergence


@given(st.sampled_from(EXPONENTS), st.sampled_from((2, 3, 5)), st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_is_the_sum_of_kernels_on_every_backend(gamma, d, seed):
    v, _, weight = particles(7, d, seed)
    weight = weight / weight.sum()
    expected = direct(v, weight, gamma)
    for backend in ["dense", "edges"] + ["moments"] * (gamma == 0):
        actual = LandauDrift(gamma, strength=2.0, backend=backend).diffusion(v, weight=weight)
        for a, e in zip(actual, expected, strict=True):
            torch.testing.assert_close(a, 2 * e, rtol=1e-11, atol=1e-11 * float(e.abs().max() + 1))


@pytest.mark.parametrize(("gamma", "backend"), [(-3.0, "dense"), (-3.0, "edges"), (0.0, "moments"), (0.0, "dense")])
def test_blocks_are_separate_plasmas(gamma, backend):
    v, _, weight = particles(9, 2)
    layer = LandauDrift(gamma, backend=backend)
    together = layer.diffusion(v, batch=BATCH, weight=weight)
    for block in BATCH.unique():
        inside = block == BATCH
        alone = layer.diffusion(v[inside], weight=weight[inside] / weight[inside].sum())
        for a, e in zip(together, alone, strict=True):
            torch.testing.assert_close(a[inside], e, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("gamma", EXPONENTS)
def test_divergence_is_that_of_the_matrix(gamma):
    """A tracer of weight 0 moved by a central difference sees the divergence of the field; O(h^2) = 1e-8."""
    v, _, weight = particles(6, 3)
    weight[0] = 0
    weight = weight / weight.sum()
    layer, h = LandauDrift(gamma), 1e-4
    total = v.new_zeros(3)
    for b in range(3):
        step = torch.zeros_like(v)
        step[0, b] = h
        plus, minus = (layer.diffusion(v + sign * step, weight=weight)[0][0] for sign in (1, -1))
        total += (plus - minus)[:, b] / (2 * h)
    torch.testing.assert_close(layer.diffusion(v, weight=weight)[1][0], total, rtol=1e-5, atol=1e-6)


def test_is_the_fokker_planck_form_of_the_drift():
    r"""Drift of the score -v/T of a large Gaussian sample: friction minus diffusion, Prop. 2.1 of Ilin, Hu and Wang."""
    v, s, weight = particles(40, 3)
    weight = weight / weight.sum()
    layer = LandauDrift(-1.0)
    matrix, divergence = layer.diffusion(v, weight=weight)
    assert bool((torch.linalg.eigvalsh(matrix) > -1e-12).all())
    # -sum_j w_j A (s_i - s_j) = -D s_i + sum_j w_j A s_j: with s_j the same for all but i the sum is D_i itself.
    one = torch.zeros_like(v)
    one[0] = s[0]
    torch.testing.assert_close(layer(v, one, weight=weight)[0], -matrix[0] @ s[0], rtol=1e-10, atol=1e-12)
    assert divergence.shape == v.shape


def test_scales_with_the_strength_and_refuses_what_the_drift_refuses():
    v, _, _ = particles(5, 2)
    for a, e in zip(LandauDrift(-3.0, 0.25).diffusion(v), LandauDrift(-3.0).diffusion(v), strict=True):
        torch.testing.assert_close(4 * a, e)
    with pytest.raises(ValueError, match="'v' must be finite"):
        LandauDrift(-3.0).diffusion(v / 0)
