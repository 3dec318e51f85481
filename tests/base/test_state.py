"""The state of a plasma: what is refused, and how PyG batches and cuts it."""

from __future__ import annotations

import math

import pytest
import torch
from torch_geometric.data import Batch, Data
from torch_geometric.loader import DataLoader

from graphlandau.base.state import ParticleState, particle_state, start_of


def plasma(n: int, cells: int, seed: int = 0) -> ParticleState:
    """Particles on a line with log-densities, forces and the field of a grid of so many cells."""
    generator = torch.Generator().manual_seed(seed)
    v, pos, force, field, log_f = (torch.randn(m, 1, generator=generator) for m in (n, n, n, cells, n))
    return particle_state(v, t=0.5 * seed, pos=pos, log_f=log_f[:, 0], force=force, field=field)


def test_weights_are_normalised_where_they_are_checked():
    weight = torch.tensor([1.0, 3.0])
    torch.testing.assert_close(particle_state(torch.zeros(2, 1), weight=weight).weight, weight / 4)
    assert particle_state(torch.zeros(2, 1), weight=weight, checked=False).weight is weight


def test_what_is_not_given_is_not_there():
    state = particle_state(torch.zeros(2, 3), t=1, pos=None, field=None, checked=False)
    assert set(state.to_dict()) == {"v", "t", "num_nodes"}
    assert isinstance(state, Data)
    assert isinstance(state.t, float)


@pytest.mark.parametrize(
    ("tensors", "named"),
    [
        ({"v": torch.zeros(1, 2)}, "'v' must have shape"),
        ({"v": torch.tensor([[0.0], [math.nan]])}, "'v' must be finite"),
        ({"v": torch.zeros(3, 2), "pos": torch.zeros(2, 1)}, r"'pos' must have a row for each of the 3 particles"),
        ({"v": torch.zeros(3, 2), "weight": torch.tensor([1.0, -1.0, 1.0])}, "'weight' must be non-negative"),
        ({"v": torch.zeros(3, 2), "log_f": torch.zeros(3, 1)}, r"'log_f' must have shape \(3,\)"),
        ({"v": torch.zeros(3, 2), "log_f": torch.tensor([0.0, math.inf, 0.0])}, "'log_f' must be finite"),
    ],
)
def test_refuses_what_does_not_fit_unless_unchecked(tensors, named):
    with pytest.raises(ValueError, match=named):
        particle_state(**tensors)
    particle_state(**tensors, checked=False)


@pytest.mark.parametrize("cells", [5, 7])
def test_a_batch_joins_particles_and_stacks_fields(cells: int):
    """Also for a grid of as many cells as there are particles, which PyG would take for a node attribute."""
    states = [plasma(5, cells, seed=0), plasma(7, cells, seed=1)]
    batch = Batch.from_data_list(states)
    assert batch.batch.tolist() == 5 * [0] + 7 * [1]
    assert batch.num_nodes == 12
    assert batch.t.tolist() == [0.0, 0.5]
    for key in ("v", "pos", "log_f", "force"):
        torch.testing.assert_close(batch[key], torch.cat([state[key] for state in states]), rtol=0, atol=0)
        assert all(state.is_node_attr(key) for state in states)
    assert not any(state.is_node_attr("field") or state.is_edge_attr("field") for state in states)
    torch.testing.assert_close(batch.field, torch.stack([state.field for state in states]), rtol=0, atol=0)
    for k, state in enumerate(states):
        again = batch.get_example(k)
        assert isinstance(again, ParticleState)
        torch.testing.assert_close(again.field, state.field, rtol=0, atol=0)
        torch.testing.assert_close(again.v, state.v, rtol=0, atol=0)


def test_a_loader_serves_states():
    loader = DataLoader([plasma(4, 3, seed) for seed in range(5)], batch_size=2)
    assert [batch.num_graphs for batch in loader] == [2, 2, 1]
    assert [tuple(batch.field.shape) for batch in loader] == [(2, 3, 1), (2, 3, 1), (1, 3, 1)]


@pytest.mark.parametrize("cells", [5, 7])
def test_some_of_the_particles_keep_the_field(cells: int):
    state = plasma(5, cells)
    some = state.subgraph(torch.tensor([4, 1]))
    torch.testing.assert_close(some.v, state.v[[4, 1]], rtol=0, atol=0)
    assert some.num_nodes == 2
    torch.testing.assert_close(some.field, state.field, rtol=0, atol=0)


def test_start_is_what_the_state_carries_along():
    state = plasma(3, 4)
    assert start_of(state) is state.v
    state.v0 = state.v + 1
    assert start_of(state) is state.v0
