"""The Landau drift on every backend: invariants, the direct sum, graphs, refusals."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from invariants import (
    TOLERANCE,
    assert_close,
    assert_conserves,
    assert_dissipates,
    assert_equivariant,
    assert_rests_at_equilibrium,
    assert_scales,
    cases,
    direct_sum,
    particles,
)
from torch_geometric.utils import dense_to_sparse, to_undirected

from graphlandau.nn import LandauDrift

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
DTYPES = st.sampled_from((torch.float64, torch.float32))
# Uneven, unsorted, with gaps in the numbering and one block of a single particle.
BATCH = torch.tensor([7, 2, 7, 2, 2, -1, 7, 7, 2, 9, 9, 7])


def backends(gamma: float) -> list[str]:
    return ["dense", "edges"] + ["moments"] * (gamma == 0)


def drift_of(gamma: float, backend: str):
    layer = LandauDrift(gamma, backend=backend)
    return lambda v, s, weight: layer(v, s, weight=weight)


def pairs_inside(batch: torch.Tensor) -> list[tuple[int, int]]:
    return [(i, j) for i in range(len(batch)) for j in range(len(batch)) if batch[i] == batch[j]]


@given(cases(), DTYPES)
@settings(max_examples=25, deadline=None)
def test_conserves_and_dissipates(case, dtype):
    """Momentum and energy for any score and weights, and entropy production of the right sign."""
    n, d, gamma, seed = case
    v, s, weight = particles(n, d, seed, dtype)
    magnitude = direct_sum(v, s, weight, gamma)[1]
    for backend in backends(gamma):
        assert_conserves(drift_of(gamma, backend), v, s, weight, magnitude)
        assert_dissipates(drift_of(gamma, backend), v, s, weight, magnitude)


@given(cases(), DTYPES)
@settings(max_examples=15, deadline=None)
def test_maxwellians_rest(case, dtype):
    n, d, gamma, seed = case
    v, _, weight = particles(n, d, seed, dtype)
    for backend in backends(gamma):
        assert_rests_at_equilibrium(drift_of(gamma, backend), v, weight, gamma)


@given(cases())
@settings(max_examples=15, deadline=None)
def test_symmetries(case):
    """Rotations, permutations, translations and boosts; scaling without softening (float64)."""
    n, d, gamma, seed = case
    v, s, weight = particles(n, d, seed)
    magnitude = direct_sum(v, s, weight, gamma)[1]
    for backend in backends(gamma):
        assert_equivariant(drift_of(gamma, backend), v, s, weight, magnitude, seed)
        assert_scales(drift_of(gamma, backend), v, s, weight, magnitude, gamma)


@given(cases(), DTYPES, st.booleans())
@settings(max_examples=25, deadline=None)
def test_equals_the_direct_sum(case, dtype, weighted):
    """A loop over pairs without softening; strength 1/16 multiplies."""
    n, d, gamma, seed = case
    v, s, weight = particles(n, d, seed, dtype)
    weight = weight if weighted else torch.full_like(weight, 1 / n)
    expected, magnitude = direct_sum(v, s, weight, gamma, 1 / 16)
    for backend in ["auto", *backends(gamma)]:
        actual = LandauDrift(gamma, 1 / 16, backend=backend)(v, s, weight=weight if weighted else None)
        assert actual.dtype == dtype
        assert actual.shape == v.shape
        assert_close(backend, actual, expected, magnitude, TOLERANCE[dtype])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("d", [2, 3, 5, 10])
@pytest.mark.parametrize("gamma", [-4.0, -3.0, -1.5, 0.0, 1.0])
def test_backends_agree(gamma, d, device):
    """float64, 1e-10 relative to the summed magnitude, on the complete graph and in blocks."""
    v, s, weight = (x.to(device) for x in particles(60, d, seed=d))
    batch = torch.randint(0, 5, (60,), generator=torch.Generator().manual_seed(d)).to(device)
    for graph in ({}, {"batch": batch}, {"weight": weight}, {"batch": batch, "weight": weight}):
        reference = LandauDrift(gamma, backend="edges")(v, s, **graph)
        scale = float(reference.norm(dim=1).mean())
        for backend in backends(gamma):
            actual = LandauDrift(gamma, backend=backend)(v, s, **graph)
            assert_close(f"{backend} {list(graph)}", actual, reference, scale, 1e-10)


@pytest.mark.parametrize("gamma", [-3.0, 0.0, 1.0])
@pytest.mark.parametrize("backend", ["auto", "dense", "edges", "moments"])
def test_blocks_are_separate_systems(gamma, backend):
    """Weights are made to sum to 1 inside each block; a lone particle does not move."""
    if backend not in ["auto", *backends(gamma)]:
        pytest.skip("moments is for gamma = 0")
    v, s, weight = particles(12, 3)
    layer = LandauDrift(gamma, backend=backend)
    blocked = layer(v, s, batch=BATCH, weight=weight)
    for label in (7, 2, 9):
        inside = label == BATCH
        alone = layer(v[inside], s[inside], weight=weight[inside] / weight[inside].sum())
        assert torch.allclose(blocked[inside], alone, rtol=1e-12, atol=1e-14)
    assert not blocked[BATCH == -1].any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("gamma", [-3.0, 0.0])
def test_blocks_conserve_one_by_one(gamma, dtype):
    """Momentum and energy of every block, against the direct sum of its own pairs."""
    v, s, _ = particles(12, 3, dtype=dtype)
    expected, magnitude = direct_sum(v, s, torch.ones(12), gamma, pairs=pairs_inside(BATCH))
    size = (BATCH[:, None] == BATCH).sum(1)
    u = LandauDrift(gamma)(v, s, batch=BATCH)
    crowd = size > 1
    share = size[crowd, None]
    assert_close("blocks", u[crowd], expected[crowd] / share, magnitude[crowd] / share[:, 0], TOLERANCE[dtype])
    for label in BATCH.unique():
        inside = label == BATCH
        work = TOLERANCE[dtype] * float(magnitude[inside].sum()) + 1e-30
        assert float(u[inside].sum(0).norm()) <= work
        assert float((u * v)[inside].sum().abs()) <= work * float(v[inside].norm(dim=1).max())


@pytest.mark.parametrize("gamma", [-4.0, -3.0, 0.0, 1.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_two_particles(gamma, dtype):
    """They exchange momentum at right angles to their relative velocity."""
    v, s, _ = particles(2, 2, dtype=dtype)
    for backend in backends(gamma):
        u = LandauDrift(gamma, backend=backend)(v, s)
        size = float(u.norm())
        assert size > 0
        assert torch.allclose(u[0], -u[1], rtol=0, atol=1e-6 * size)
        assert abs(float(u[0] @ (v[0] - v[1]))) <= 1e-6 * size * float((v[0] - v[1]).norm())


# Sparse graphs


def random_graph(n: int, seed: int, undirected: bool) -> torch.Tensor:
    adjacency = torch.rand(n, n, generator=torch.Generator().manual_seed(seed)) < 0.3
    edges, _ = dense_to_sparse(adjacency.fill_diagonal_(False).float())
    return to_undirected(edges, num_nodes=n) if undirected else edges


@given(cases(), st.booleans())
@settings(max_examples=20, deadline=None)
def test_edges_are_the_pairs_given(case, undirected):
    """Row 0 sends, row 1 receives; weights are taken as given, 1/N where absent."""
    n, d, gamma, seed = case
    v, s, weight = particles(n, d, seed)
    edges = random_graph(n, seed, undirected)
    pairs = [(int(i), int(j)) for j, i in edges.T]
    for w in (None, 2 * weight):
        senders = torch.full((n,), 1 / n, dtype=v.dtype) if w is None else w
        expected, magnitude = direct_sum(v, s, senders, gamma, pairs=pairs)
        actual = LandauDrift(gamma)(v, s, edge_index=edges, weight=w)
        assert_close("edges", actual, expected, magnitude.clamp_min(1e-9), 1e-12)


@pytest.mark.parametrize("uniform", [True, False])
@pytest.mark.parametrize("gamma", [-3.0, 0.0])
def test_undirected_graph_conserves(gamma, uniform):
    """Momentum and energy survive for any weights when every pair meets both ways: w_i w_j is symmetric."""
    v, s, weight = particles(12, 3)
    edges = random_graph(12, 5, undirected=True)
    weight = torch.full_like(weight, 1 / 12) if uniform else weight
    pairs = [(int(i), int(j)) for j, i in edges.T]
    magnitude = direct_sum(v, s, weight, gamma, pairs=pairs)[1]

    def drift(v, s, weight):
        return LandauDrift(gamma)(v, s, edge_index=edges, weight=weight)

    assert_conserves(drift, v, s, weight, magnitude)
    assert_dissipates(drift, v, s, weight, magnitude)


@pytest.mark.parametrize("what", ["directed graph", "weights renormalised per receiver"])
def test_what_breaks_conservation_on_a_graph(what):
    """Why weights are taken as given, and why a kNN graph must be symmetrised."""
    v, s, weight = particles(12, 3)
    edges = random_graph(12, 5, undirected=what != "directed graph")
    magnitude = direct_sum(v, s, weight, -3.0)[1]

    def drift(v, s, weight):
        u = LandauDrift(-3.0)(v, s, edge_index=edges, weight=weight)
        if what == "directed graph":
            return u
        received = torch.zeros_like(weight).index_add(0, edges[1], weight[edges[0]])
        return u / received.clamp_min(1e-9)[:, None]

    with pytest.raises(AssertionError, match="momentum"):
        assert_conserves(drift, v, s, weight, magnitude)


def test_complete_graph_as_edges_and_self_loops():
    """All formats of the same graph give the same drift; a loop adds nothing, no edges give no drift."""
    v, s, _ = particles(8, 3)
    layer = LandauDrift(-3.0)
    complete = torch.cartesian_prod(torch.arange(8), torch.arange(8)).T
    assert torch.allclose(layer(v, s, edge_index=complete), layer(v, s), rtol=1e-12, atol=1e-14)
    without = complete[:, complete[0] != complete[1]]
    assert torch.equal(layer(v, s, edge_index=without), layer(v, s, edge_index=complete))
    assert not layer(v, s, edge_index=torch.empty(2, 0, dtype=torch.long)).any()


# What a user sees


def test_repr_shows_the_arguments():
    shown = "LandauDrift(gamma=-3.0, strength=0.0625, backend='auto', eps=None, tolerance=0.001)"
    assert repr(LandauDrift(-3.0, 1 / 16)) == shown


def test_no_parameters_and_inside_a_module():
    net = torch.nn.ModuleDict({"drift": LandauDrift(0.0)})
    assert not list(net.parameters())
    assert not net.state_dict()


V, S, W = particles(6, 3)
EDGES = torch.tensor([[0, 1], [1, 0]])
NAN = float("nan")


@pytest.mark.parametrize(
    ("message", "arguments"),
    [
        ("'v' must be finite", {"v": V * NAN}),
        ("'v' must have shape", {"v": V[:1], "s": S[:1]}),
        ("'v' must have shape", {"v": V[:, :1], "s": S[:, :1]}),
        ("'v' must have shape", {"v": V[0], "s": S[0]}),
        ("'v' must be float32 or float64", {"v": V.long(), "s": S.long()}),
        ("'s' must be finite", {"s": S / 0}),
        ("'s' must have the shape and dtype of 'v'", {"s": S[:, :1]}),
        ("'s' must have the shape and dtype of 'v'", {"s": S[:5]}),
        ("'s' must have the shape and dtype of 'v'", {"s": S.float()}),
        ("'weight' must", {"weight": W[:5]}),
        ("'weight' must", {"weight": W[:, None]}),
        ("'weight' must", {"weight": W.float()}),
        ("'weight' must", {"weight": -W}),
        ("'weight' must", {"weight": 0 * W}),
        ("'weight' must be finite", {"weight": W * NAN}),
        ("'weight' must", {"weight": [1.0] * 6}),
        ("'weight' must have a positive sum in every block", {"weight": W * (W.max() > W), "batch": W.argsort()}),
        ("'batch' must", {"batch": torch.zeros(5).long()}),
        ("'batch' must", {"batch": torch.zeros(6)}),
        ("'batch' must", {"batch": [0] * 6}),
        ("'edge_index' and 'batch'", {"edge_index": EDGES, "batch": torch.zeros(6).long()}),
        ("'edge_index' must", {"edge_index": EDGES + 5}),
        ("'edge_index' must", {"edge_index": EDGES - 1}),
        ("'edge_index' must", {"edge_index": EDGES.float()}),
        ("'edge_index' must", {"edge_index": torch.zeros(3, 2).long()}),
    ],
)
@pytest.mark.parametrize("call", ["forward", "partials"])
def test_refuses_tensors(call, message, arguments):
    with pytest.raises(ValueError, match=message):
        getattr(LandauDrift(-3.0), call)(**{"v": V, "s": S, **arguments})


@pytest.mark.parametrize("backend", ["dense", "moments"])
def test_refuses_a_graph_on_other_backends(backend):
    with pytest.raises(ValueError, match="'edge_index' needs backend 'edges'"):
        LandauDrift(0.0, backend=backend)(V, S, edge_index=EDGES)


@pytest.mark.parametrize(
    ("message", "arguments"),
    [
        ("'gamma'", {"gamma": -9}),
        ("'strength'", {"strength": 0.0}),
        ("'strength'", {"strength": -1.0}),
        ("'eps'", {"eps": 0.0}),
        ("'backend' must be one of", {"backend": "cuda"}),
        ("'backend' must not be 'moments'", {"backend": "moments"}),
    ],
)
def test_refuses_arguments(message, arguments):
    with pytest.raises(ValueError, match=message):
        LandauDrift(**{"gamma": -3.0, **arguments})


@pytest.mark.parametrize("shape", [(6, 3), (3, 3), (6, 3, 2), (5, 3, 3)])
def test_jacobian_refuses_a_jacobian_of_another_shape(shape):
    with pytest.raises(ValueError, match="'jac_s' must"):
        LandauDrift(-3.0).jacobian(V, S, torch.zeros(shape, dtype=V.dtype))


def test_edges_refuses_an_edge_list_that_would_not_fit():
    v = torch.zeros(8000, 2)
    with pytest.raises(ValueError, match="'backend' must not be 'edges'"):
        LandauDrift(-3.0, backend="edges")(v, v)
