"""Scores that the features of a control find: relative squared errors against exact ones."""

from __future__ import annotations

import math

import pytest
import torch

from graphlandau.nn import AffineControl, FeatureControl, LinearControl, PhaseEmbedding
from graphlandau.objectives import ControlObjective

LENGTH = 8 * math.pi
WAVENUMBER = 2 * math.pi / LENGTH


def plasma(n: int, d: int, seed: int, *, centre: float, sigma: float, sway: float) -> tuple[torch.Tensor, ...]:
    """Positions of density 1 + 0.1 cos(kx), beams at +-centre swaying by ``sway`` cos(kx), and the exact score."""
    generator = torch.Generator().manual_seed(seed)
    x = LENGTH * torch.rand(2 * n, 1, generator=generator, dtype=torch.float64)
    height = 1.1 * torch.rand(2 * n, generator=generator, dtype=torch.float64)
    x = x[height < 1 + 0.1 * torch.cos(WAVENUMBER * x[:, 0])][:n]
    noise = torch.randn(n, d, generator=generator, dtype=torch.float64)
    sign = 2 * torch.randint(0, 2, (n,), generator=generator).double() - 1
    v, score = noise.clone(), -noise
    wave = sway * torch.cos(WAVENUMBER * x[:, 0])
    w = sign * centre + sigma * noise[:, 0]
    v[:, 0] = w + wave
    score[:, 0] = -(w - centre * torch.tanh(centre * w / sigma**2)) / sigma**2
    return x, v, score


def relative_error(control: LinearControl, x: torch.Tensor, v: torch.Tensor, score: torch.Tensor) -> float:
    """Relative squared error of -(u / epsilon + v) / T0 for score matching."""
    control.solve(ControlObjective.score_matching(v, epsilon=0.5, temperature=0.8), x, v)
    found = -(control(x, v) / 0.5 + v) / 0.8
    return float((found - score).square().sum() / score.square().sum())


NARROW = {"centre": 1.5, "sigma": 0.3, "sway": 0.0}
WIDE = {"centre": 1.5, "sigma": 1.0, "sway": 0.5}


@pytest.mark.parametrize(("beams", "at_10k"), [(NARROW, 1.5e-2), (WIDE, 2e-2)])
def test_it_finds_the_score_of_two_beams(beams, at_10k):
    # Over four seeds up to 1.1e-2 and 1.6e-2 at 10,000, 3.4e-3 and 4.8e-3 at 50,000: it falls as 1/N.
    for n, most in ((10_000, at_10k), (50_000, 1e-2)):
        x, v, score = plasma(n, 1, 0, **beams)
        assert relative_error(FeatureControl(PhaseEmbedding(1, 1, lengths=LENGTH)), x, v, score) < most
        assert relative_error(AffineControl(PhaseEmbedding(1, 1, lengths=LENGTH)), x, v, score) > 0.4


def test_it_finds_the_score_of_two_beams_in_three_velocities():
    x, v, score = plasma(20_000, 3, 0, **NARROW)
    # 2.8e-2 at most at 10,000 over four seeds, 9.1e-3 at 50,000.
    assert relative_error(FeatureControl(PhaseEmbedding(1, 3, lengths=LENGTH)), x, v, score) < 3e-2


@pytest.mark.parametrize("d", [1, 3])
def test_it_is_the_affine_control_on_a_gaussian(d):
    # The rule leaves the features out: their error would be sampling noise, (d + 3) / N for the affine functions.
    x, v, score = plasma(20_000, d, 0, centre=0.0, sigma=1.0, sway=0.5)
    embedding = PhaseEmbedding(1, d, lengths=LENGTH)
    features, affine = FeatureControl(embedding), AffineControl(embedding)
    errors = [relative_error(control, x, v, score) for control in (features, affine)]
    torch.testing.assert_close(features(x, v), affine(x, v), rtol=1e-10, atol=1e-10)
    assert errors[0] < 1e-3


def test_the_ridge_does_not_touch_the_affine_part():
    # Moments of the control with the affine functions are those of the minimiser for every ridge:
    # c <u Phi> + <g Phi> = kappa <grad Phi>, which is kappa I for v itself.
    x, v, _ = plasma(2000, 2, 0, **WIDE)
    for ridge in (1e-4, 1.0):
        control = FeatureControl(PhaseEmbedding(1, 2, lengths=LENGTH), num_features=8, ridge=ridge)
        control.solve(ControlObjective.score_matching(v, epsilon=1.0), x, v)
        residual = control(x, v) + v
        wave = torch.cos(WAVENUMBER * x)
        identity = torch.eye(2, dtype=torch.float64)
        # Sums of 2000 terms of order one, by a solve of condition number some 1e6.
        torch.testing.assert_close(v.T @ residual / 2000, identity, rtol=0, atol=1e-9)
        torch.testing.assert_close(wave.T @ residual / 2000, torch.zeros(1, 2).double(), rtol=0, atol=1e-9)


def test_the_seed_fixes_the_features():
    embedding = PhaseEmbedding(1, 3, lengths=LENGTH)
    same, other = FeatureControl(embedding, seed=1), FeatureControl(embedding, seed=2)
    assert torch.equal(FeatureControl(embedding, seed=1).slope, same.slope)
    assert not torch.equal(other.slope, same.slope)
