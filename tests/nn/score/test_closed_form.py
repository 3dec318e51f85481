from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from graphlandau.base.state import particle_state
from graphlandau.nn import ClosedFormScore, GaussianScore
from graphlandau.objectives import implicit
from graphlandau.problems import BKW


def draw(problem, n: int, seed: int = 0, t: float | None = None, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return problem.sample(n, generator=torch.Generator().manual_seed(seed), t=t).to(dtype)


def fisher(s: torch.Tensor, exact: torch.Tensor) -> float:
    return float((s - exact).square().sum() / exact.square().sum())


@settings(max_examples=15, deadline=None)
@given(d=st.integers(2, 5), seed=st.integers(0, 1000), ridge=st.floats(1e-6, 10), weighted=st.booleans())
def test_stein_identities_are_exact_for_every_ridge(d, seed, ridge, weighted):
    generator = torch.Generator().manual_seed(seed)
    v = torch.rand(300, d, generator=generator, dtype=torch.float64) ** 2 + 3
    w = torch.rand(300, generator=generator, dtype=torch.float64) if weighted else torch.ones(300, dtype=torch.float64)
    w = w / w.sum()
    model = ClosedFormScore(d, ridge=ridge)
    model.solve(v, w)
    s = model(v)
    # Exact up to the rounding of one float64 solve, amplified by the condition number of the projection.
    scale = float(s.abs().max())
    torch.testing.assert_close(w @ s, torch.zeros(d, dtype=torch.float64), atol=1e-9 * scale, rtol=0)
    identity = -torch.eye(d, dtype=torch.float64)
    torch.testing.assert_close((w[:, None] * v).T @ s, identity, atol=1e-8 * scale, rtol=0)


@pytest.mark.parametrize("kind", ["tanh", "fourier"])
def test_it_minimises_the_penalised_implicit_loss(kind):
    # For a tiny ridge the loss itself is at a minimum: every change of the coefficients increases it.
    v = draw(BKW(2), 2000, t=1.0)
    model = ClosedFormScore(2, kind, num_features=10, ridge=1e-12)
    model.solve(v)
    state = particle_state(v)
    best = float(implicit(model, state))
    generator = torch.Generator().manual_seed(1)
    for _ in range(10):
        coefficients, affine = model.coefficients.clone(), model.affine.clone()
        model.coefficients += 1e-2 * torch.randn(coefficients.shape, generator=generator, dtype=torch.float64)
        assert float(implicit(model, state)) > best
        model.coefficients.copy_(coefficients)
        model.affine += 1e-2 * torch.randn(affine.shape, generator=generator, dtype=torch.float64)
        assert float(implicit(model, state)) > best
        model.affine.copy_(affine)


@pytest.mark.parametrize(("d", "variances"), [(3, None), (3, (1.8, 0.2, 1.0)), (10, None)])
def test_at_100_particles_it_is_the_gaussian_base_on_gaussians(d, variances):
    # The rule may err in rare draws: three standard errors over ten folds. These twenty are not among them.
    differs = 0
    for seed in range(20):
        v = torch.randn(100, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        if variances is not None:
            v = v * torch.tensor(variances, dtype=torch.float64).sqrt()
        model, base = ClosedFormScore(d), GaussianScore(d)
        model.solve(v)
        base.condition(v)
        differs += not torch.allclose(model(v), base(v), rtol=1e-10)
    assert differs == 0


def test_it_beats_the_base_where_the_density_is_not_gaussian():
    problem = BKW(2)
    v = draw(problem, 20_000, t=1.0, dtype=torch.float32)
    model, base = ClosedFormScore(2), GaussianScore(2)
    model.solve(v)
    base.condition(v)
    exact = problem.score(v, 1.0)
    # 6.5e-3 against 0.23 when written: half the factor is left for another draw of features.
    assert fisher(model(v), exact) < 0.1 * fisher(base(v), exact)


@pytest.mark.parametrize("kind", ["tanh", "fourier"])
def test_jacobian_is_the_derivative(kind):
    v = draw(BKW(2), 400, t=0.5)
    model = ClosedFormScore(2, kind, ridge=1e-3)
    model.solve(v)
    s, jacobian = model.value_and_jacobian(v)
    expected = torch.func.vmap(torch.func.jacrev(lambda x: model(x[None])[0]))(v)
    torch.testing.assert_close(jacobian, expected)
    torch.testing.assert_close(s, model(v))
    torch.testing.assert_close(model.divergence(v), expected.diagonal(dim1=1, dim2=2).sum(-1))


@pytest.mark.parametrize("kind", ["tanh", "fourier"])
def test_features_of_a_network_agree_with_the_same_random_features(kind):
    class Wrapped(torch.nn.Module):
        def __init__(self, features):
            super().__init__()
            self.features = features

        def forward(self, x):
            return self.features(x)

    v = draw(BKW(2), 500, t=0.5)
    random = ClosedFormScore(2, kind, num_features=20, ridge=1e-3)
    network = ClosedFormScore(2, Wrapped(random.features), ridge=1e-3)
    random.solve(v)
    network.solve(v)
    for a, b in zip(random.value_and_jacobian(v), network.value_and_jacobian(v), strict=True):
        torch.testing.assert_close(a, b, atol=1e-9, rtol=1e-9)


def test_a_network_of_dead_units_leaves_the_base():
    v = draw(BKW(2), 500)
    dead = torch.nn.Sequential(torch.nn.Linear(2, 5, dtype=torch.float64), torch.nn.ReLU())
    dead[0].weight.data.zero_()
    dead[0].bias.data.fill_(-1)
    model, base = ClosedFormScore(2, dead, ridge=1e-3), GaussianScore(2)
    model.solve(v)
    base.condition(v)
    torch.testing.assert_close(model(v), base(v))


def test_state_dict_continues_to_the_same_bits():
    v = draw(BKW(2), 2000, t=0.5, dtype=torch.float32)
    model, copy = ClosedFormScore(2), ClosedFormScore(2)
    model.solve(v)
    copy.load_state_dict(model.state_dict())
    for k in range(30):  # past the next choice of the ridge
        moved = v * (1 + 0.001 * k)
        model.solve(moved)
        copy.solve(moved)
    assert torch.equal(model(v), copy(v))
    assert torch.equal(model.chosen, copy.chosen)


def test_float32_follows_float64():
    v = draw(BKW(2), 5000, t=1.0)
    double, single = ClosedFormScore(2, ridge=1e-2), ClosedFormScore(2, ridge=1e-2)
    double.solve(v)
    single.solve(v.float())
    assert single(v.float()).dtype == torch.float32
    # float32 means over 5,000 particles, times the condition 1/ridge of the solve.
    assert fisher(single(v.float()).double(), double(v)) < 1e-6


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"ridge": 0.0}, "'ridge' must be positive"),
        ({"num_features": 0}, "'num_features' must be"),
        ({"features": "wavelets"}, "'features' must be one of tanh, fourier"),
        ({"features": torch.nn.Linear(3, 4)}, r"'features' must map \(N, 2\)"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        ClosedFormScore(2, **arguments)


@pytest.mark.parametrize(
    ("v", "message"),
    [
        (torch.full((10, 2), torch.nan), "'v' must be finite"),
        (torch.zeros(3, 2), "'v' must have shape"),
        (torch.ones(10, 2), "'v' must have a non-singular covariance"),
    ],
)
def test_particles_that_have_no_score_are_refused(v, message):
    with pytest.raises(ValueError, match=message):
        ClosedFormScore(2).solve(v)
