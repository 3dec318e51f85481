"""The ridge: none where there is no signal, weak where there is much, early and then every 25th solve."""

from __future__ import annotations

import math

import pytest
import torch

from graphlandau.nn import ClosedFormScore, FeatureControl, PhaseEmbedding
from graphlandau.nn.linear import Base, Moments, choose_ridge, choose_ridge_by, ridge_is_due
from graphlandau.nn.linear.ridge import FOLDS, RIDGES
from graphlandau.objectives import ControlObjective

# The first solve, then after 1, 2, 4, 8 and 16, then every 25th: counted from 0.
DUE = [0, 1, 2, 4, 8, 16, 25, 50]


def regression_folds(noise: float, n: int, seed: int) -> Moments:
    """Moments of least squares of y = sum of the features + noise, beside the constant 1; the loss is the square."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(n, 6, generator=generator, dtype=torch.float64)
    columns = torch.cat([torch.ones(n, 1).double(), features], dim=1)
    y = features.sum(1, keepdim=True) * (noise < math.inf)
    y = y + (noise if noise < math.inf else 1.0) * torch.randn(n, 1, generator=generator, dtype=torch.float64)
    parts = [(columns[k::FOLDS], y[k::FOLDS]) for k in range(FOLDS)]
    return Moments(
        torch.stack([a.T @ a / len(a) for a, _ in parts]),
        torch.stack([-a.T @ b / len(a) for a, b in parts]),
        torch.tensor([float(len(a)) for a, _ in parts], dtype=torch.float64),
    )


def constant(moments: Moments) -> Base:
    """The base of a constant, fitted to the moments."""
    zero, own = slice(0, 1), slice(1, None)
    gram = moments.gram[zero, zero]
    return Base(zero, own, -moments.linear[zero] / gram, moments.gram[zero, own] / gram)


def test_signal_buys_features_and_noise_does_not():
    for seed in range(5):
        # Without noise the weakest ridge is the best; with little it is weak; pure noise has none.
        assert choose_ridge(regression_folds(0.0, 500, seed), constant) == float(RIDGES[0])
        assert choose_ridge(regression_folds(1.0, 500, seed), constant) < 0.1
        assert choose_ridge(regression_folds(math.inf, 500, seed), constant) == math.inf


def test_the_best_ridge_is_noise_over_signal():
    """For y = sum_k w_k x_k + noise with white x the least expected loss has lambda = m sigma^2 / (n |w|^2)."""
    noise, n = 3.0, 200
    expected = noise**2 / (0.9 * n)
    found = [choose_ridge(regression_folds(noise, n, seed), constant) for seed in range(40)]
    chosen = torch.tensor([ridge for ridge in found if ridge < math.inf]).log10()
    # 0.05 in theory; the geometric mean of single choices, each uncertain by a decade, within half of one.
    assert len(chosen) > 30
    assert float(chosen.mean()) == pytest.approx(math.log10(expected), abs=0.5)


def test_slack_prefers_a_stronger_ridge_that_is_as_good():
    gains = torch.zeros(FOLDS, len(RIDGES), dtype=torch.float64)
    scatter = torch.linspace(-1, 1, FOLDS, dtype=torch.float64)
    # All ridges gain one; the third is the best by a hundredth, up to the sixth as good within the scatter.
    gains -= 1
    gains[:, 2] -= 0.01
    gains[:, 3:6] += 0.1 * scatter[:, None]
    gains[:, 6:] += 0.5
    assert choose_ridge_by(gains) == float(RIDGES[2])
    assert choose_ridge_by(gains, slack=1.0) == float(RIDGES[5])


def test_the_base_alone_unless_features_gain_by_three_standard_errors():
    scatter = torch.linspace(-1, 1, FOLDS, dtype=torch.float64)
    error = float(scatter.std()) / math.sqrt(FOLDS)
    for factor, taken in ((2.9, False), (3.1, True)):
        gains = torch.ones(FOLDS, len(RIDGES), dtype=torch.float64)
        gains[:, 4] = scatter - factor * error
        for slack in (0.0, 1.0):
            assert math.isfinite(choose_ridge_by(gains, slack=slack)) is taken


def test_too_few_folds_or_a_loss_that_has_overflowed_choose_nothing():
    folds = regression_folds(0.0, 500, 0)
    assert choose_ridge(Moments(*(x[:-1] for x in folds)), constant) == math.inf
    assert choose_ridge_by(torch.full((FOLDS, len(RIDGES)), math.nan)) == math.inf


def test_it_is_due_early_and_then_every_25th_solve():
    assert [solves for solves in range(60) if ridge_is_due(solves)] == DUE


def choices(solve, model) -> list[int]:
    """The solves that chose the ridge: it is overwritten by a mark before each of them."""
    found = []
    for k in range(51):
        model.chosen.fill_(0.123)
        solve()
        if float(model.chosen) != pytest.approx(0.123):
            found.append(k)
    return found


def test_scores_choose_early_in_a_run():
    """A closed form that chose at its first solve only would keep the ridge of the initial particles for 25 steps."""
    v = torch.randn(60, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    model = ClosedFormScore(1, num_features=2)
    assert choices(lambda: model.solve(v), model) == DUE


def test_controls_choose_early_in_a_run():
    generator = torch.Generator().manual_seed(0)
    x, v = (torch.randn(60, 1, generator=generator, dtype=torch.float64) for _ in range(2))
    control = FeatureControl(PhaseEmbedding(1, 1), num_features=2)
    objective = ControlObjective.score_matching(v, epsilon=1.0)
    assert choices(lambda: control.solve(objective, x, v), control) == DUE


def test_a_ridge_that_is_given_is_kept():
    v = torch.randn(60, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    model = ClosedFormScore(1, num_features=2, ridge=0.123)
    assert choices(lambda: model.solve(v), model) == []
