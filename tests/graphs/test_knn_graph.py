"""The k-nearest-neighbour transform, and what its direction costs a drift."""

from __future__ import annotations

import pytest
import torch
from invariants import assert_conserves, assert_dissipates, direct_sum, particles
from torch_geometric.data import Data

from graphlandau.base.errors import InvalidArgument
from graphlandau.base.state import particle_state
from graphlandau.graphs import KNNGraph, RadiusGraph, knn_edges
from graphlandau.nn import LandauDrift


def as_set(edges):
    return {tuple(e) for e in edges.T.tolist()}


@pytest.mark.parametrize("on", ["v", "pos"])
def test_sets_the_edges_of_its_key(on):
    state = particle_state(particles(40, 3)[0])
    state.pos = particles(40, 1, seed=1)[0]
    box = 2.0 if on == "pos" else None
    assert torch.equal(KNNGraph(5, on, box)(state).edge_index, knn_edges(state[on], 5, box=box))
    assert "edge_index" not in state


def test_neighbours_in_the_blocks_of_the_state():
    state = particle_state(particles(40, 3)[0])
    state.batch = torch.arange(40) % 3
    edges = KNNGraph(5)(state).edge_index
    assert torch.equal(edges, knn_edges(state.v, 5, batch=state.batch))
    assert torch.equal(state.batch[edges[0]], state.batch[edges[1]])


def test_undirected_is_the_union_with_the_transpose():
    """Each edge in both directions, once, in the order of knn_edges."""
    state = particle_state(particles(60, 3)[0])
    directed, both = (KNNGraph(4, undirected=u)(state).edge_index for u in (False, True))
    assert as_set(both) == as_set(directed) | as_set(directed.flip(0))
    assert as_set(directed) != as_set(directed.flip(0))
    assert both.size(1) == len(as_set(both))
    assert bool((torch.diff(60 * both[1] + both[0]) > 0).all())


@pytest.mark.parametrize("gamma", [-3.0, 0.0])
def test_drift_keeps_momentum_and_energy_over_the_undirected_graph_only(gamma):
    v, s, weight = particles(60, 3)
    for undirected in (True, False):
        edges = KNNGraph(6, undirected=undirected)(particle_state(v)).edge_index

        def drift(v, s, weight, edges=edges):
            return LandauDrift(gamma)(v, s, edge_index=edges, weight=weight)

        _, magnitude = direct_sum(v, s, weight, gamma, pairs=[(i, j) for j, i in edges.T.tolist()])
        if undirected:
            assert_conserves(drift, v, s, weight, magnitude)
            assert_dissipates(drift, v, s, weight, magnitude)
        else:
            u, work = drift(v, s, weight), float((weight * magnitude).sum())
            # Not rounding: percents of the work of the pairs.
            assert float((weight[:, None] * u).sum(0).norm()) > 1e-2 * work
            assert abs(float((weight * (v * u).sum(1)).sum())) > 1e-3 * work


@pytest.mark.parametrize(
    ("message", "arguments"),
    [
        ("'k' must be an integer >= 1", {"k": 0}),
        ("'on' must be one of v, pos", {"k": 3, "on": "x"}),
        ("'backend' must be one of auto", {"k": 3, "backend": "faiss"}),
    ],
)
def test_refuses_arguments(message, arguments):
    with pytest.raises(ValueError, match=message):
        KNNGraph(**arguments)


def test_refuses_states():
    state = particle_state(particles(5, 2)[0])
    with pytest.raises(ValueError, match=r"'k' must be below the number of particles, 5 \(got 5\)"):
        KNNGraph(5)(state)
    with pytest.raises(ValueError, match="'on' must be 'v' for a state with 'v' and without 'pos'"):
        KNNGraph(2, on="pos")(state)


def test_repr_shows_the_arguments():
    assert repr(KNNGraph(8, "pos", 2.0, True)) == "KNNGraph(k=8, on='pos', box=2.0, undirected=True, backend='auto')"


@pytest.mark.parametrize("graph", [KNNGraph(2), RadiusGraph(1.0)])
def test_a_state_with_positions_alone_is_told_what_to_ask_for(graph):
    with pytest.raises(InvalidArgument, match=r"'on' must be 'pos' for a state with 'pos' and without 'v' \(got 'v'\)"):
        graph(Data(pos=torch.randn(5, 2)))
    with pytest.raises(InvalidArgument, match="'v' must be a tensor"):
        graph(Data())
