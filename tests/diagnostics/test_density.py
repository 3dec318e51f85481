"""Kernel density estimates: exact sums, exact bias, errors of known size."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from graphlandau.diagnostics import density as density_module
from graphlandau.diagnostics import gaussian_kde, grid_axes, grid_points, relative_l2_error, scott_bandwidth
from graphlandau.problems import BKW, Gaussian

TOLERANCE = {torch.float32: 2e-5, torch.float64: 1e-12}


@settings(max_examples=25, deadline=None)
@given(
    d=st.integers(1, 3),
    n=st.integers(1, 30),
    seed=st.integers(0, 1000),
    uniform=st.booleans(),
    per_axis=st.booleans(),
    dtype=st.sampled_from(list(TOLERANCE)),
)
def test_is_the_plain_sum_of_gaussians(d, n, seed, uniform, per_axis, dtype):
    """Different node counts per axis, so that a transposed grid fails."""
    g = torch.Generator().manual_seed(seed)
    v = torch.randn(n, d, generator=g, dtype=torch.float64).to(dtype)
    axes = [torch.linspace(-2, 2 + a, 3 + 2 * a, dtype=torch.float64) for a in range(d)]
    h = (
        torch.tensor([0.3, 0.7, 0.5], dtype=torch.float64)[:d]
        if per_axis
        else torch.full((d,), 0.4, dtype=torch.float64)
    )
    weight = None if uniform else torch.rand(n, generator=g, dtype=torch.float64).to(dtype) + 0.1
    w = torch.full((n,), 1 / n, dtype=torch.float64) if weight is None else (weight / weight.sum()).double()
    kernel = Gaussian(torch.zeros(d), h.square().diag())
    nodes = grid_points(axes)
    expected = torch.stack([w @ kernel.log_prob(x - v.double()).exp() for x in nodes])
    got = gaussian_kde(v, axes, h if per_axis else 0.4, weight)
    assert got.shape == tuple(axis.numel() for axis in axes)
    assert got.dtype == dtype
    tolerance = TOLERANCE[dtype]
    assert torch.allclose(got.flatten().double(), expected, rtol=10 * tolerance, atol=tolerance * float(expected.max()))


def test_chunks_do_not_change_the_sum(monkeypatch):
    g = torch.Generator().manual_seed(0)
    v, weight = torch.randn(101, 3, generator=g).double(), torch.rand(101, generator=g).double()
    axes = grid_axes(2.0, 4, 3)
    whole = gaussian_kde(v, axes, 0.5, weight)
    monkeypatch.setattr(density_module, "_TILE", 16 * 7)
    assert torch.allclose(gaussian_kde(v, axes, 0.5, weight), whole, rtol=1e-13)


@pytest.mark.parametrize("d", [1, 2, 3])
def test_bias_is_the_convolved_gaussian(d):
    """On a quadrature grid instead of samples there is no noise: N(m, S) becomes N(m, S + h^2 I)."""
    h, mean = 0.4, torch.tensor([0.3, -0.2, 0.1]).double()[:d]
    S = torch.tensor([[1.0, 0.3, 0.0], [0.3, 0.7, 0.2], [0.0, 0.2, 0.9]]).double()[:d, :d]
    f, smoothed = Gaussian(mean, S), Gaussian(mean, S + h**2 * torch.eye(d).double())
    # Spacing 0.25 resolves h = 0.4 spectrally: exp(-2 (pi h / spacing)^2) is 1e-22.
    nodes = grid_points(grid_axes(6.0, 49, d))
    axes = grid_axes(2.0, 7, d)
    estimate = gaussian_kde(nodes, axes, h, weight=f.log_prob(nodes).exp()).flatten()
    points = grid_points(axes)
    assert torch.allclose(estimate, smoothed.log_prob(points).exp(), rtol=1e-7, atol=1e-8)
    bias = float(relative_l2_error(estimate, f.log_prob(points).exp()))
    assert bias > 0.02


def test_samples_of_bkw_have_the_expected_error():
    """Bias and noise of fresh samples at t = 1: about 0.055 with 25,600 particles and h = 0.15."""
    problem = BKW(d=2)
    half_width, points = problem.grid
    axes = grid_axes(half_width, points, 2)
    v = problem.sample(25_600, generator=torch.Generator().manual_seed(0), t=1.0)
    estimate = gaussian_kde(v, axes, problem.bandwidth)
    exact = problem.log_prob(grid_points(axes), 1.0).exp().reshape(points, points)
    assert 0.04 < float(relative_l2_error(estimate, exact)) < 0.07


def test_mass_and_marginals():
    """The estimate integrates to 1, and integrating out an axis leaves the marginal."""
    v = torch.randn(200, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    axes = grid_axes(8.0, 161, 2)
    estimate = gaussian_kde(v, axes, 0.3)
    assert float(estimate.sum()) * 0.1**2 == pytest.approx(1, abs=1e-9)
    for keep in (0, 1):
        marginal = gaussian_kde(v[:, keep : keep + 1], axes[:1], 0.3)
        assert torch.allclose(estimate.sum(1 - keep) * 0.1, marginal, atol=1e-9)
    # A slice is an axis with a single node.
    centre = torch.zeros(1, dtype=torch.float64)
    assert torch.allclose(gaussian_kde(v, [axes[0], centre], 0.3)[:, 0], estimate[:, 80], rtol=1e-12)


def test_grid_points_run_the_last_axis_fastest():
    points = grid_points(grid_axes(1.0, 3, 2))
    assert points.shape == (9, 2)
    assert points[:4].tolist() == [[-1, -1], [-1, 0], [-1, 1], [0, -1]]
    assert grid_points(grid_axes(1.0, 3, 1)).tolist() == [[-1], [0], [1]]


def test_relative_l2_error():
    x = torch.rand(4, 5, generator=torch.Generator().manual_seed(0))
    assert float(relative_l2_error(x, x)) == 0
    assert float(relative_l2_error(1.25 * x, x)) == pytest.approx(0.25, rel=1e-6)
    with pytest.raises(ValueError, match=r"'estimate' must have the shape of exact, \(4, 5\) \(got \(20,\)\)"):
        relative_l2_error(x.flatten(), x)


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_scott_bandwidth(dtype):
    """n^(-1/(d+4)) standard deviations per axis; weights count by their effective number."""
    v = torch.randn(500, 2, generator=torch.Generator().manual_seed(2), dtype=torch.float64).to(dtype)
    v[:, 1] *= 3
    h = scott_bandwidth(v)
    assert torch.allclose(h, 500 ** (-1 / 6) * v.std(0, correction=0), rtol=TOLERANCE[dtype])
    half = torch.zeros(500, dtype=dtype)
    half[:100] = 4.0
    assert torch.allclose(scott_bandwidth(v, half), scott_bandwidth(v[:100]), rtol=TOLERANCE[dtype])


@pytest.mark.parametrize(
    ("v", "axes", "bandwidth", "message"),
    [
        (torch.zeros(2, 4), grid_axes(1.0, 2, 4), 0.1, r"'v' must have d <= 3"),
        (torch.zeros(2, 2), grid_axes(1.0, 2, 1), 0.1, "'axes' must be 2 arrays of nodes"),
        (torch.zeros(2, 2), grid_axes(1.0, 2, 2), 0.0, r"'bandwidth' must be positive \(got 0.0\)"),
        (torch.zeros(2, 2), grid_axes(1.0, 2, 2), torch.tensor([0.1, -0.1]), "'bandwidth' must be positive"),
        (
            torch.zeros(2, 2),
            grid_axes(1.0, 2, 2),
            torch.tensor([0.1]),
            r"'bandwidth' must be a number or have",
        ),
        (torch.full((2, 1), math.nan), grid_axes(1.0, 2, 1), 0.1, "'v' must be finite"),
    ],
)
def test_bad_arguments_are_refused(v, axes, bandwidth, message):
    with pytest.raises(ValueError, match=message):
        gaussian_kde(v, axes, bandwidth)
