"""The radius transform: its edges, and conservation over them."""

from __future__ import annotations

import pytest
import torch
from invariants import assert_conserves, assert_dissipates, direct_sum, particles

from graphlandau.base.state import particle_state
from graphlandau.graphs import RadiusGraph, radius_edges
from graphlandau.nn import LandauDrift


@pytest.mark.parametrize("on", ["v", "pos"])
def test_sets_the_edges_of_its_key(on):
    state = particle_state(particles(40, 3)[0])
    state.pos = particles(40, 1, seed=1)[0]
    box = 2.0 if on == "pos" else None
    assert torch.equal(RadiusGraph(0.9, on, box)(state).edge_index, radius_edges(state[on], 0.9, box=box))
    assert "edge_index" not in state


def test_neighbours_in_the_blocks_of_the_state():
    state = particle_state(particles(40, 3)[0])
    state.batch = torch.arange(40) % 3
    edges = RadiusGraph(1.2)(state).edge_index
    assert torch.equal(edges, radius_edges(state.v, 1.2, batch=state.batch))
    assert torch.equal(state.batch[edges[0]], state.batch[edges[1]])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("blocks", [1, 3])
def test_drift_keeps_momentum_and_energy(dtype, blocks):
    """Every pair is there in both directions, so Landau's drift keeps both, for any score and weights."""
    v, s, weight = particles(60, 3, dtype=dtype)
    state = particle_state(v)
    state.batch = torch.arange(60) % blocks
    edges = RadiusGraph(1.3)(state).edge_index
    assert edges.size(1) > 100

    def drift(v, s, weight):
        return LandauDrift(-3.0)(v, s, edge_index=edges, weight=weight)

    _, magnitude = direct_sum(v, s, weight, -3.0, pairs=[(i, j) for j, i in edges.T.tolist()])
    assert_conserves(drift, v, s, weight, magnitude)
    assert_dissipates(drift, v, s, weight, magnitude)


@pytest.mark.parametrize(
    ("message", "arguments"),
    [
        ("'r' must be positive", {"r": -1.0}),
        ("'on' must be one of v, pos", {"r": 1.0, "on": "x"}),
        ("'backend' must be one of auto", {"r": 1.0, "backend": "faiss"}),
    ],
)
def test_refuses_arguments(message, arguments):
    with pytest.raises(ValueError, match=message):
        RadiusGraph(**arguments)


def test_refuses_a_state_without_its_key():
    with pytest.raises(ValueError, match="'on' must be 'v' for a state with 'v' and without 'pos'"):
        RadiusGraph(1.0, on="pos")(particle_state(particles(5, 2)[0]))


def test_repr_shows_the_arguments():
    assert repr(RadiusGraph(0.5)) == "RadiusGraph(r=0.5, on='v', box=None, backend='auto')"


def test_repr_is_short():
    assert repr(RadiusGraph(0.1 + 0.2, "pos")) == "RadiusGraph(r=0.3, on='pos', box=None, backend='auto')"
