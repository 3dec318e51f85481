"""Batches of plasmas through scores and their objectives: the same as each plasma alone."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.data import Batch

from graphlandau.base import distributed
from graphlandau.base.state import particle_state
from graphlandau.graphs import KNNGraph
from graphlandau.nn import ClosedFormScore, GaussianScore, GNNScore, MLPScore, ResidualScore, ScoreModel, as_score_model
from graphlandau.nn.score.gated import GatedScore
from graphlandau.nn.score.whitened import WhitenedScore
from graphlandau.objectives import collision_weighted, denoising, explicit, hutchinson, implicit


class Pull(torch.nn.Module):
    """A stranger's module that couples particles and knows nothing of batches."""

    def forward(self, v):
        return v.mean(0) - v


class Cubic(ScoreModel):
    """A pointwise model of one's own that knows nothing of batches."""

    d = 2

    def forward(self, v):
        return -v - 0.1 * v**3


MODELS = {
    "gaussian": lambda: GaussianScore(2),
    "mlp": lambda: MLPScore(2, width=8, depth=2),
    "residual": lambda: ResidualScore(2, width=8, depth=2),
    "gnn_k": lambda: GNNScore(2, k=3, width=4),
    "gnn_radius": lambda: GNNScore(2, radius=1.0, width=4),
    "closed_form": lambda: ClosedFormScore(2),
    "stranger": lambda: as_score_model(Pull(), 2),
    "own": Cubic,
}


def some_model(name: str) -> ScoreModel:
    torch.manual_seed(0)
    model = MODELS[name]().double()
    for p in model.parameters():
        p.data += 0.3 * torch.randn_like(p)
    if isinstance(model, ClosedFormScore):
        model.solve(2 * torch.randn(200, 2, dtype=torch.float64).tanh())
    return model


def some_plasmas(sizes: list[int], seed: int, weighted: bool = False) -> list:
    """Plasmas of different sizes, means and temperatures."""
    g = torch.Generator().manual_seed(seed)
    plasmas = []
    for n in sizes:
        mean, spread = torch.randn(2, generator=g).double(), 0.5 + torch.rand(2, generator=g).double()
        v = mean + spread * torch.randn(n, 2, generator=g, dtype=torch.float64)
        weight = 0.1 + torch.rand(n, generator=g, dtype=torch.float64) if weighted else None
        plasmas.append(particle_state(v, weight=weight))
    return plasmas


def conditioned(model: ScoreModel, state) -> ScoreModel:
    """A copy that has seen these particles."""
    model = copy.deepcopy(model)
    if not isinstance(model, WhitenedScore):
        return model
    batch = state.get("batch")
    model.condition(state.v, state.get("weight"), **({} if batch is None else {"batch": batch}))
    return model


cases = given(
    name=st.sampled_from(sorted(MODELS)),
    sizes=st.lists(st.integers(5, 14), min_size=1, max_size=4),
    weighted=st.booleans(),
    seed=st.integers(0, 2**31),
)


@cases
@settings(deadline=None, max_examples=25)
def test_score_and_jacobian_are_those_of_each_plasma_alone(name, sizes, weighted, seed):
    model, plasmas = some_model(name), some_plasmas(sizes, seed, weighted)
    together = Batch.from_data_list(plasmas)
    both = conditioned(model, together)
    # In any order of the particles.
    order = torch.randperm(sum(sizes), generator=torch.Generator().manual_seed(seed))
    v, batch = together.v[order], together.batch[order]
    s, jacobian = both.evaluate_with_jacobian(v, batch)
    torch.testing.assert_close(both.evaluate(v, batch), s)
    torch.testing.assert_close(both.value_and_divergence(v, batch)[1], jacobian.diagonal(dim1=1, dim2=2).sum(1))
    for b, plasma in enumerate(plasmas):
        expected = conditioned(model, plasma).value_and_jacobian(plasma.v)
        back = torch.argsort(order[batch == b])
        torch.testing.assert_close((s[batch == b][back], jacobian[batch == b][back]), expected)


def objective(name: str, model: ScoreModel, state, generator: torch.Generator) -> torch.Tensor:
    if name == "implicit":
        return implicit(model, state)
    if name == "hutchinson":
        return hutchinson(model, state, generator=generator)
    if name == "denoising":
        return denoising(model, state, 0.3, generator=generator)
    if name == "explicit":
        return explicit(model, state, torch.sin(state.v))
    diffusion = torch.eye(2).double() + state.v[:, :, None] * state.v[:, None]
    return collision_weighted(model, state, diffusion, torch.cos(state.v))


@cases
@settings(deadline=None, max_examples=10)
@pytest.mark.parametrize("loss", ["implicit", "hutchinson", "denoising", "explicit", "collision_weighted"])
def test_an_objective_is_the_mean_over_the_plasmas(loss, name, sizes, weighted, seed):
    model, plasmas = some_model(name), some_plasmas(sizes, seed, weighted)
    together = Batch.from_data_list(plasmas)

    generator = torch.Generator()

    def drawn(draw, n):
        """Noise of each plasma as if it were alone."""
        return torch.cat([draw(size) for size in (sizes if n == sum(sizes) else [n]) if generator.manual_seed(1)])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(distributed, "drawn", drawn)
        found = objective(loss, conditioned(model, together), together, generator)
        alone = [objective(loss, conditioned(model, p), p, generator) for p in plasmas]
    torch.testing.assert_close(found, torch.stack(alone).mean())


def test_gradients_of_many_chunks_are_those_of_one(monkeypatch):
    model, together = some_model("residual"), Batch.from_data_list(some_plasmas([9, 30, 12], 3))
    model = conditioned(model, together)
    weights = list(model.parameters())
    whole = torch.autograd.grad(implicit(model, together), weights)
    monkeypatch.setattr("graphlandau.base.chunks.TRAINING_ROWS", 7)
    torch.testing.assert_close(torch.autograd.grad(implicit(model, together), weights), whole)


@pytest.mark.parametrize("name", ["residual", "gnn_k"])
def test_each_plasma_has_a_gate_of_its_own(name):
    model, plasmas = some_model(name), some_plasmas([40, 12, 25], 5)
    together = Batch.from_data_list(plasmas)
    both = conditioned(model, together)
    both.judge(together.v, batch=together.batch)
    gates = []
    for plasma in plasmas:
        alone = conditioned(model, plasma)
        alone.judge(plasma.v)
        assert isinstance(alone, GatedScore)
        gates.append(float(alone.gate))
    assert isinstance(both, GatedScore)
    assert both.gate.tolist() == gates


@pytest.mark.parametrize("graph", [{"k": 3}, {"radius": 1.0}])
def test_a_graph_network_takes_the_edges_that_it_is_given(graph):
    model = some_model("gnn_k") if "k" in graph else some_model("gnn_radius")
    together = Batch.from_data_list(some_plasmas([9, 14], 2))
    model = conditioned(model, together)
    assert isinstance(model, GNNScore)
    edges = model._graph(model.whiten(together.v, together.batch), together.batch)[0]
    given_edges = model.evaluate(together.v, together.batch, edges[:, torch.randperm(edges.size(1))])
    torch.testing.assert_close(given_edges, model.evaluate(together.v, together.batch))


def test_the_edges_of_a_transform_reach_the_network_through_the_objective():
    plasmas = [KNNGraph(k=4)(p) for p in some_plasmas([9, 14], 2)]
    together = Batch.from_data_list(plasmas)
    model = some_model("gnn_k")
    alone = [implicit(conditioned(model, p), p) for p in plasmas]
    torch.testing.assert_close(implicit(conditioned(model, together), together), torch.stack(alone).mean())
    together.edge_index = None
    without = implicit(conditioned(model, together), together)
    assert not torch.allclose(without, torch.stack(alone).mean())


@pytest.mark.parametrize("name", ["gaussian", "residual", "gnn_radius"])
def test_a_state_of_any_number_of_plasmas_is_loaded(name):
    together = Batch.from_data_list(some_plasmas([9, 14, 6], 2))
    model = conditioned(some_model(name), together)
    fresh = MODELS[name]().double()
    fresh.load_state_dict(model.state_dict())
    torch.testing.assert_close(fresh.evaluate(together.v, together.batch), model.evaluate(together.v, together.batch))
    fresh.load_state_dict(MODELS[name]().double().state_dict())
    assert fresh(together.v).shape == together.v.shape


@pytest.mark.bad_input
def test_a_batch_that_does_not_fit_is_refused():
    together = Batch.from_data_list(some_plasmas([9, 14], 2))
    model = GaussianScore(2)
    model.condition(together.v, batch=together.batch)
    with pytest.raises(ValueError, match="'batch' must be given to a score conditioned on 2 plasmas"):
        model(together.v)
    with pytest.raises(ValueError, match=r"'batch' must be from 0 to 1 \(got 2\)"):
        model(together.v, batch=together.batch + 1)
    with pytest.raises(ValueError, match="'batch' must not be below 0"):
        model.condition(together.v, batch=together.batch - 1)
    with pytest.raises(ValueError, match="N >= 4"):
        model.condition(together.v, batch=torch.cat([torch.zeros(22), torch.ones(1)]).long())
