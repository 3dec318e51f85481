"""Features of a linear model: gradients and sums over particles are those of their values."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from graphlandau.nn.linear import Features, FourierFeatures, NetworkFeatures, TanhFeatures

KINDS = ("tanh", "fourier", "network")


def features_of(kind: str, d: int) -> Features:
    if kind == "network":
        return NetworkFeatures(d, nn.Sequential(nn.Linear(d, 5), nn.Tanh()).double())
    return {"tanh": TanhFeatures, "fourier": FourierFeatures}[kind](d, 9, 0)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_summed_gradients_are_those_of_the_values(kind, weighted):
    features = features_of(kind, 3)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 7, 3, generator=generator, dtype=torch.float64)  # two blocks of seven particles
    w = torch.rand(2, 7, generator=generator, dtype=torch.float64) if weighted else None
    value, gradient = features.value_and_mean_gradient(x, w, features.max_count)
    torch.testing.assert_close(value, features(x.flatten(0, 1)).unflatten(0, (2, 7)))
    single = torch.func.vmap(torch.func.vmap(torch.func.jacrev(lambda y: features(y[None])[0])))(x)
    share = torch.ones(2, 7, dtype=torch.float64) if w is None else w
    torch.testing.assert_close(gradient, (share[..., None, None] * single).sum(1))


@pytest.mark.parametrize("kind", KINDS)
def test_the_field_and_its_jacobian_are_the_weighted_sum(kind):
    features = features_of(kind, 2)
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(11, 2, generator=generator, dtype=torch.float64)
    coefficients = torch.randn(features.max_count, 2, generator=generator, dtype=torch.float64)
    value, jacobian = features.value_and_jacobian(x, coefficients)
    torch.testing.assert_close(value, features(x) @ coefficients)
    expected = torch.func.vmap(torch.func.jacrev(lambda y: features(y[None])[0] @ coefficients))(x)
    torch.testing.assert_close(jacobian, expected)


@pytest.mark.parametrize("kind", ["tanh", "fourier"])
def test_the_first_few_are_the_same_for_every_number_of_them(kind):
    features = features_of(kind, 2)
    x = torch.randn(6, 2, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    count = features.fixed + 3
    value, gradient = features.value_and_mean_gradient(x, None, count)
    every, gradients = features.value_and_mean_gradient(x, None, features.max_count)
    torch.testing.assert_close(value, every[:, :count])
    torch.testing.assert_close(gradient, gradients[:count])


def test_the_seed_fixes_the_draw():
    x = torch.ones(1, 2, dtype=torch.float64)
    for kind in (TanhFeatures, FourierFeatures):
        assert torch.equal(kind(2, 4, 3)(x), kind(2, 4, 3)(x))
        assert not torch.equal(kind(2, 4, 3)(x), kind(2, 4, 4)(x))


@pytest.mark.bad_input
def test_refuses_a_network_of_other_dimensions():
    with pytest.raises(ValueError, match=r"'features' must map \(N, 2\) to \(N, m\)"):
        NetworkFeatures(2, nn.Linear(3, 4))
    with pytest.raises(ValueError, match=r"'features' must map \(N, 2\) to \(N, m\) \(got \(6,\) for \(3, 2\)\)"):
        NetworkFeatures(2, nn.Flatten(0))
