"""The central features of TanhFeatures: the formula of the docstring; the random ones are bounded steps."""

from __future__ import annotations

import torch

from graphlandau.nn.linear.tanh import CORES, TanhFeatures


def test_the_central_features_are_the_formula():
    d = 3
    x = torch.randn(5, d, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    features = TanhFeatures(d, 4, 0)
    assert features.fixed == d * len(CORES)
    assert features.max_count == d * len(CORES) + 4
    square = x.square().sum(1)
    expected = [4 * x[:, b] / (1 + square / (q * d)).sqrt() for q in CORES for b in range(d)]
    torch.testing.assert_close(features(x)[:, : features.fixed], torch.stack(expected, dim=1))


def test_the_random_features_are_two_layers_of_tanh():
    x = torch.randn(5, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    features = TanhFeatures(2, 7, 1)
    hidden = torch.tanh(x @ features.frequency.T + features.phase)
    expected = torch.tanh(hidden @ features.mixing.T + features.offset)
    torch.testing.assert_close(features(x)[:, features.fixed :], expected)
    torch.testing.assert_close(features.frequency.norm(dim=1), torch.full((48,), 1.5, dtype=torch.float64))
