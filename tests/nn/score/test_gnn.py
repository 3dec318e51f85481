"""GNNScore: base, symmetries, smoothness, exact derivatives of a model that couples particles, and training."""

from __future__ import annotations

import copy
import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from torch_geometric.data import Data

from graphlandau.nn import GaussianScore, GNNScore, ScoreModel, as_score_model
from graphlandau.nn.equivariance import require_equivariant
from graphlandau.nn.score import base
from graphlandau.objectives import explicit, hutchinson, implicit
from graphlandau.problems import BKWDensity

GRAPHS = [{"k": 5}, {"radius": 1.5}]


def particles(n: int, d: int, seed: int = 0) -> torch.Tensor:
    v = torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return v * torch.linspace(0.6, 1.5, d, dtype=torch.float64) + 2.0


def disturbed(model: GNNScore, seed: int = 3) -> GNNScore:
    generator = torch.Generator().manual_seed(seed)
    for p in model.parameters():
        p.data += 0.4 * torch.randn(p.shape, generator=generator, dtype=p.dtype)
    return model


@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize("mean_node", [True, False])
def test_untrained_it_is_the_gaussian_of_the_particles(graph, mean_node):
    v = particles(40, 3)
    model, gaussian = GNNScore(3, layers=3, mean_node=mean_node, **graph).double(), GaussianScore(3)
    model.condition(v)
    gaussian.condition(v)
    torch.testing.assert_close(model(v), gaussian(v), rtol=0, atol=0)


@given(
    n=st.integers(8, 20),
    d=st.sampled_from((1, 2, 3, 5)),
    graph=st.sampled_from([*GRAPHS, {"k": 1}, {"radius": 1e-3}]),
    layers=st.integers(1, 3),
    depth=st.integers(1, 2),
    mean_node=st.booleans(),
    seed=st.integers(0, 2**20),
)
@settings(deadline=None, max_examples=25)
def test_follows_the_particles(n, d, graph, layers, depth, mean_node, seed):
    model = GNNScore(d, layers=layers, width=4, depth=depth, mean_node=mean_node, **graph).double()
    generator = torch.Generator().manual_seed(seed)
    require_equivariant(disturbed(model, seed), particles(n, d, seed), generator=generator, trials=1)


@pytest.mark.parametrize("graph", GRAPHS)
def test_neighbours_act_and_others_do_not(graph):
    v = torch.cat([particles(8, 2), particles(8, 2, seed=1) + 50.0])
    model = disturbed(GNNScore(2, mean_node=False, **graph).double())
    moved = v.clone()
    moved[0] += 0.1
    change = (model(moved) - model(v)).norm(dim=1)
    assert (change[:8] > 0).sum() > 1
    assert change[8:].abs().max() == 0


@pytest.mark.parametrize("graph", GRAPHS)
def test_continuous_where_the_graph_changes(graph):
    """Along a line on which particle 0 loses and finds neighbours, no step is larger than the slope allows."""
    model = disturbed(GNNScore(2, **graph).double())
    v = particles(30, 2)
    path = torch.zeros(401, 30, 2, dtype=torch.float64) + v
    path[:, 0, 0] += torch.linspace(-2, 2, 401, dtype=torch.float64)
    s = torch.stack([model(at) for at in path])
    edges = [model._graph(at)[0] for at in path]
    changes = sum(not torch.equal(a, b) for a, b in itertools.pairwise(edges))
    assert changes > 10
    # A jump does not shrink with the step: the largest step of the fine path is half that of the coarse one.
    fine = (s[1:] - s[:-1]).flatten(1).norm(dim=1).max()
    coarse = (s[4::4] - s[:-4:4]).flatten(1).norm(dim=1).max()
    assert fine < 0.4 * coarse


def test_radius_sums_estimate_the_same_integral_for_any_number_of_particles():
    """With one constant message c, <x . s + |x|^2> = c (N-1)/(2N) E[w(|z|) |z|^2] over z ~ N(0, 2 I)."""
    radius, c = 1.5, 0.7
    model = GNNScore(2, radius=radius, layers=1, mean_node=False).double()
    torch.nn.init.constant_(model.get_parameter("convs.0.phi.network.lins.1.bias"), c)

    def integrand(r):
        return (1 - (r / radius) ** 2) ** 2 * r**2 * r / 2 * math.exp(-(r**2) / 4)

    # The weight integrates to (2 pi)^(d/2) over the plane: 6 / R^2 for d = 2.
    expected = c / 2 * 6 / radius**2 * quad(integrand, 0, radius)[0]
    for n in (250, 1000):
        estimates = []
        for seed in range(20):
            x = torch.randn(n, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
            with torch.no_grad():
                estimates.append((x * (model(x) + x)).sum(1).mean() * n / (n - 1))
        estimates = torch.stack(estimates)
        # Four standard errors of the mean of 20 plasmas.
        assert abs(float(estimates.mean()) - expected) < 4 * float(estimates.std()) / 20**0.5


@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize("d", [1, 2, 3])
def test_derivatives_are_the_own_blocks_of_the_whole_jacobian(graph, d):
    model, v = disturbed(GNNScore(d, layers=3, **graph).double()), particles(13, d)
    model.condition(v)
    full = torch.func.jacrev(model)(v)  # (N, d, N, d)
    blocks = torch.einsum("iaib->iab", full)
    assert (full.abs().sum((1, 3)) - blocks.abs().sum((1, 2)).diag() > 1e-6).any()
    s, jacobian = model.value_and_jacobian(v)
    torch.testing.assert_close(s, model(v))
    torch.testing.assert_close(jacobian, blocks)
    torch.testing.assert_close(model.divergence(v), blocks.diagonal(dim1=1, dim2=2).sum(1))


def test_training_sees_the_divergence_of_a_model_that_couples_particles(monkeypatch):
    model, v = disturbed(GNNScore(2, k=4, width=3).double()), particles(12, 2)
    weights = [p for p in model.parameters() if p.requires_grad]
    brute = torch.einsum("iaia->i", torch.func.jacrev(model)(v)).mean()
    expected = torch.autograd.grad(brute, weights)
    for size in (1, 5, 100):
        monkeypatch.setattr(base, "TANGENTS_AT_A_TIME", size)
        torch.testing.assert_close(torch.autograd.grad(model.divergence(v).mean(), weights), expected)


def test_hutchinson_estimates_the_exact_divergence():
    model, state = disturbed(GNNScore(2, k=4).double()), Data(v=particles(20, 2))
    generator = torch.Generator().manual_seed(0)
    losses = torch.stack([hutchinson(model, state, generator=generator).detach() for _ in range(100)])
    # Four standard errors of the mean of 100 draws.
    assert abs(float(losses.mean() - implicit(model, state).detach())) < 4 * float(losses.std()) / 10


def test_coincident_particles_have_derivatives():
    v = particles(10, 2)
    v[1:6] = v[0]
    for model in (GNNScore(2, k=3), GNNScore(2, radius=1.0)):
        model = disturbed(model.double())
        assert model.divergence(v).isfinite().all()
        gradients = torch.autograd.grad(model.divergence(v).sum(), list(model.parameters()), allow_unused=True)
        assert all(g.isfinite().all() for g in gradients if g is not None)


def fit(model: GNNScore, v: torch.Tensor, loss, steps: int) -> None:
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(steps):
        optimiser.zero_grad()
        loss(model, Data(v=v)).backward()
        optimiser.step()


def test_learns_what_the_gaussian_does_not_know():
    """Implicit score matching on 1,000 particles of a BKW plasma; errors on as many others."""
    f = BKWDensity(2, 0.6)
    generator = torch.Generator().manual_seed(0)
    v, fresh = f.sample(1000, generator=generator), f.sample(1000, generator=generator)
    model = GNNScore(2, k=6).double()
    model.condition(v)
    state, target = Data(v=fresh), f.score(fresh)
    with torch.no_grad():
        untrained = float(explicit(model, state, target))
    fit(model, v, lambda model, state: hutchinson(model, state, generator=generator), 60)
    # 0.14 untrained, 0.02 trained.
    assert float(explicit(model, state, target).detach()) < 0.5 * untrained


def test_others_judge_what_was_learned():
    f = BKWDensity(2, 0.56)
    generator = torch.Generator().manual_seed(0)
    v, judges = f.sample(500, generator=generator), f.sample(4000, generator=generator)
    model = GNNScore(2, k=6).double()
    model.condition(v)
    noise = disturbed(copy.deepcopy(model))
    fit(model, v, lambda model, state: explicit(model, state, f.score(state.v)), 100)
    trained = model(judges)
    model.judge(judges)
    assert model.gate == 1
    torch.testing.assert_close(model(judges), trained)
    noise.judge(judges)
    assert noise.gate == 0
    torch.testing.assert_close(noise(judges), -(judges - noise.mean) @ noise.whitening @ noise.whitening)
    noise.condition(v)
    assert noise.gate == 1


def test_a_score_model_of_many_neighbours_is_tried_on_enough_particles():
    assert not as_score_model(GNNScore(2, k=30), 2).pointwise


def test_refuses_both_or_neither_graph():
    for graph in ({}, {"k": 3, "radius": 1.0}):
        with pytest.raises(ValueError, match="'k' or 'radius' must be given"):
            GNNScore(2, **graph)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"k": 0}, "'k' must be an integer >= 1"),
        ({"radius": -1.0}, "'radius' must be positive"),
        ({"k": 3, "layers": 0}, "'layers' must be an integer >= 1"),
        ({"k": 3, "width": 0}, "'width' must be an integer >= 1"),
        ({"k": 3, "depth": 0}, "'depth' must be an integer >= 1"),
        ({"k": 3, "backend": "grid"}, "'backend' must be one of auto, kdtree, torch_cluster"),
    ],
)
def test_refuses_bad_sizes(arguments, message):
    with pytest.raises(ValueError, match=message):
        GNNScore(2, **arguments)


def test_refuses_too_few_or_too_many_particles():
    with pytest.raises(ValueError, match=r"'k' must be below the number of particles, 5 \(got 5\)"):
        GNNScore(2, k=5)(torch.randn(5, 2))
    with pytest.raises(ValueError, match=r"at most 512 particles \(got 513\): train it with objective='hutchinson'"):
        GNNScore(2, k=5).divergence(torch.randn(513, 2))


def test_a_user_s_model_that_couples_particles_has_derivatives():
    class Pull(ScoreModel):
        d = 2
        pointwise = False

        def forward(self, v):
            return v.mean(0) - v

    # Moving one of 4 particles moves the mean by a quarter.
    torch.testing.assert_close(Pull().jacobian(torch.randn(4, 2)), -0.75 * torch.eye(2).expand(4, 2, 2))


def test_repr_is_one_line_with_the_neighbourhood():
    assert repr(GNNScore(2, k=9)) == "GNNScore(d=2, k=9, layers=2, width=8, mean_node=True)"
    assert repr(GNNScore(3, radius=0.1 + 0.2, layers=1, width=4, mean_node=False)) == (
        "GNNScore(d=3, radius=0.3, layers=1, width=4, mean_node=False)"
    )
