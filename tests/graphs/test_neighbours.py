"""Neighbour search: against all distances, whatever backend, dtype, box, blocks; a constant to every derivative."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import graphlandau.graphs.neighbours as neighbours
from graphlandau.graphs import knn_edges, radius_edges

GPU = pytest.param("cuda", marks=pytest.mark.gpu)


def points(n, d, seed=0, kind="normal"):
    """Normal; on a lattice, where many distances are equal and particles coincide; all in one place; far off."""
    x = torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return {"normal": x, "lattice": (2 * x).round(), "point": 0 * x, "far": x + 1e6}[kind]


def blocks(n, count, seed=0):
    """Labels with gaps, unsorted, at least two particles in each block."""
    label = torch.arange(n) % count
    return 3 * label[torch.randperm(n, generator=torch.Generator().manual_seed(seed))] + 1


def squared(x, batch, box):
    """All squared distances in float64, infinite to itself and to other blocks."""
    z = x.double()[:, None] - x.double()
    if box is not None:
        side = torch.tensor(box, dtype=torch.float64)
        z = (z + side / 2).remainder(side) - side / 2
    distance2 = (z**2).sum(-1).fill_diagonal_(torch.inf)
    return distance2 if batch is None else distance2.masked_fill(batch[:, None] != batch, torch.inf)


def nearest(x, k, batch=None, box=None):
    """A stable sort of all distances: equals in the order of their index."""
    sender = torch.sort(squared(x, batch, box), dim=1, stable=True).indices[:, :k].sort(1).values
    return torch.stack([sender.flatten(), torch.arange(len(x)).repeat_interleave(k)])


def within(x, r, batch=None, box=None):
    return (squared(x, batch, box) <= r * r).nonzero().T.flip(0)


KINDS = st.sampled_from(["normal", "lattice", "point", "far"])
DTYPES = st.sampled_from([torch.float32, torch.float64])


@given(st.integers(2, 40), st.integers(1, 4), KINDS, DTYPES, st.integers(1, 3), st.data(), st.integers(0, 2**31))
@settings(max_examples=80, deadline=None)
def test_knn_is_the_sort_of_all_distances(n, d, kind, dtype, count, data, seed):
    """Also where distances are equal: the lower index is nearer."""
    x = points(n, d, seed, kind).to(dtype)
    batch = blocks(n, count, seed) if n >= 2 * count else None
    smallest = n if batch is None else n // count
    k = data.draw(st.integers(1, smallest - 1))
    assert torch.equal(knn_edges(x, k, batch=batch), nearest(x, k, batch))


@given(
    st.integers(2, 40), st.integers(1, 4), KINDS, DTYPES, st.integers(1, 3), st.floats(0.05, 8), st.integers(0, 2**31)
)
@settings(max_examples=80, deadline=None)
def test_radius_is_the_criterion_on_all_pairs(n, d, kind, dtype, count, r, seed):
    x = points(n, d, seed, kind).to(dtype)
    batch = blocks(n, count, seed) if count > 1 else None
    assert torch.equal(radius_edges(x, r, batch=batch), within(x, r, batch))


@pytest.mark.parametrize("box", [4.0, (4.0, 2.0)])
@pytest.mark.parametrize("batch", [None, blocks(60, 4)])
def test_periodic_box(box, batch):
    """Nearest images, of positions outside the box too; the same after a shift by whole sides."""
    sides = torch.tensor([4.0, 2.0 if isinstance(box, tuple) else 4.0], dtype=torch.float64)
    # Multiples of 1/64: wrapping and shifting them rounds nothing.
    x = (64 * (points(60, 2) * 3)).round() / 64
    moved = x + sides * torch.tensor([[1.0, -2.0]])
    for edges, expected in (
        (lambda y: knn_edges(y, 5, box=box, batch=batch), nearest(x, 5, batch, sides.tolist())),
        (lambda y: radius_edges(y, 1.0, box=box, batch=batch), within(x, 1.0, batch, sides.tolist())),
    ):
        assert torch.equal(edges(x), expected)
        assert torch.equal(edges(moved), expected)


def test_on_the_edge_of_the_box():
    """A position that wraps onto the upper side by rounding is on the lower one."""
    x = torch.tensor([[-1e-20], [0.5], [1.5], [2.0]], dtype=torch.float64)
    assert radius_edges(x, 0.25, box=2.0).tolist() == [[3, 0], [0, 3]]


def test_distances_are_compared_in_float64():
    """At |z| = r the float32 sum of squares errs either way; the edges of a float32 tensor are those of its values."""
    x = points(400, 3).float()
    z = x[0] - x[1:]
    r = float(z.double().norm(dim=1).median())
    assert torch.equal(radius_edges(x, r), radius_edges(x.double(), r))
    assert torch.equal(knn_edges(x + 1e4, 8), knn_edges((x + 1e4).double(), 8))


@pytest.mark.parametrize("edges", [lambda x: knn_edges(x, 4), lambda x: radius_edges(x, 1.0)])
def test_renumbering_particles_renumbers_edges(edges):
    x = points(50, 3)
    order = torch.randperm(50, generator=torch.Generator().manual_seed(1))
    pairs = {tuple(order[e].tolist()) for e in edges(x[order]).T}
    assert pairs == {tuple(e) for e in edges(x).T.tolist()}


def test_radius_graph_is_symmetric_to_the_bit():
    """Distances of both directions of a pair are one number: with r equal to one of them, both edges or none."""
    x = points(100, 3)
    r = float((x[3] - x[8]).norm())
    edges = radius_edges(x, r)
    assert {tuple(e) for e in edges.T.tolist()} == {tuple(e) for e in edges.flip(0).T.tolist()}


def test_no_edges():
    for edges in (radius_edges(points(5, 2), 1e-6), radius_edges(points(1, 2), 1.0)):
        assert edges.shape == (2, 0)
        assert edges.dtype == torch.int64


# The graph is a constant to every derivative.


def pair_energy(x, edges):
    return ((x[edges[0]] - x[edges[1]]) ** 4).sum()


@pytest.mark.parametrize("batch", [None, blocks(12, 2)])
@pytest.mark.parametrize("find", [lambda x, b: knn_edges(x, 3, batch=b), lambda x, b: radius_edges(x, 1.5, batch=b)])
def test_constant_to_derivatives(find, batch):
    """jvp, vmap over tangents, grad, Hessian and autograd are those of the sum over the same edges held fixed."""
    x, tangents = points(12, 2), torch.stack([points(12, 2, seed) for seed in (1, 2, 3)])
    edges = find(x, batch)

    def built(y):
        return pair_energy(y, find(y, batch))

    def fixed(y):
        return pair_energy(y, edges)

    def push(f, t):
        return torch.func.jvp(f, (x,), (t,))

    assert torch.equal(push(built, tangents[0])[1], push(fixed, tangents[0])[1])
    pushed = [torch.func.vmap(lambda t, f=f: push(f, t)[1])(tangents) for f in (built, fixed)]
    assert torch.equal(*pushed)
    assert torch.equal(torch.func.grad(built)(x), torch.func.grad(fixed)(x))
    assert torch.allclose(torch.func.hessian(built)(x), torch.func.hessian(fixed)(x), rtol=1e-14)
    leaf = x.clone().requires_grad_()
    assert not find(leaf, batch).requires_grad
    (gradient,) = torch.autograd.grad(built(leaf), leaf)
    assert torch.equal(gradient, torch.func.grad(fixed)(x))


def test_refuses_vmap_over_the_particles():
    with pytest.raises(ValueError, match=r"'x' must not be batched by vmap.*batch of 3"):
        torch.vmap(lambda y: knn_edges(y, 1))(torch.randn(3, 5, 2))


# torch_cluster


@given(st.integers(2, 200), st.integers(1, 3), KINDS, DTYPES, st.integers(1, 3), st.data(), st.integers(0, 2**31))
@settings(max_examples=60, deadline=None)
def test_torch_cluster_finds_the_same_edges(n, d, kind, dtype, count, data, seed):
    """More than its default of 32 neighbours, and more than our first bound of 64, included."""
    pytest.importorskip("torch_cluster")
    x = points(n, d, seed, kind).to(dtype)
    batch = blocks(n, count, seed) if n >= 2 * count else None
    k = data.draw(st.integers(1, min(20, (n if batch is None else n // count) - 1)))
    r = data.draw(st.floats(0.05, 8))
    assert torch.equal(*(knn_edges(x, k, batch=batch, backend=b) for b in ("torch_cluster", "kdtree")))
    assert torch.equal(*(radius_edges(x, r, batch=batch, backend=b) for b in ("torch_cluster", "kdtree")))


@pytest.mark.parametrize("device", ["cpu", GPU])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e9])
@pytest.mark.parametrize("backend", ["torch_cluster", "auto"])
def test_torch_cluster_at_any_scale_drops_nothing(device, scale, backend):
    """200 coincident particles are 199 neighbours of each other; squared distances beyond 1e10 are distances too."""
    pytest.importorskip("torch_cluster")
    x = scale * torch.cat([points(200, 2, kind="point"), points(100, 2)]).float()
    batch = blocks(300, 2)
    for labels in (None, batch):
        on_device = None if labels is None else labels.to(device)
        found = radius_edges(x.to(device), 0.5 * scale, batch=on_device, backend=backend)
        assert found.device.type == device
        assert torch.equal(found.cpu(), radius_edges(x, 0.5 * scale, batch=labels, backend="kdtree"))
        found = knn_edges(x.to(device), 20, batch=on_device, backend=backend)
        assert torch.equal(found.cpu(), knn_edges(x, 20, batch=labels, backend="kdtree"))


def test_torch_cluster_in_parts(monkeypatch):
    """Receivers in many parts, each of which may find its bound too small."""
    pytest.importorskip("torch_cluster")
    x = torch.cat([points(100, 2), points(200, 2, kind="point")])
    monkeypatch.setattr(neighbours, "RECEIVER_SLOTS", 1000)
    assert torch.equal(radius_edges(x, 0.7, backend="torch_cluster"), within(x, 0.7))


def test_refuses_torch_cluster_where_it_is_missing(monkeypatch):
    monkeypatch.setattr(neighbours, "_cluster_installed", lambda: False)
    with pytest.raises(ImportError, match=r"pip install 'graphlandau\[cluster\]'"):
        knn_edges(points(5, 2), 2, backend="torch_cluster")
    assert torch.equal(knn_edges(points(5, 2), 2), nearest(points(5, 2), 2))


X = points(6, 3)
TWO = torch.tensor([0, 0, 0, 1, 1, 1])


@pytest.mark.parametrize(
    ("message", "call"),
    [
        (r"'k' must be below the number of particles, 6 \(got 6\)", lambda: knn_edges(X, 6)),
        (r"'k' must be below the size of the smallest block, 3 \(got 3\)", lambda: knn_edges(X, 3, batch=TWO)),
        (r"'k' must be an integer >= 1 \(got 0\)", lambda: knn_edges(X, 0)),
        (r"'k' must be an integer >= 1 \(got 2.0\)", lambda: knn_edges(X, 2.0)),
        (r"'r' must be positive \(got 0\)", lambda: radius_edges(X, 0)),
        (r"'r' must be positive \(got nan\)", lambda: radius_edges(X, float("nan"))),
        (r"'box' must be at least twice the radius, 3, on every side \(got 2\)", lambda: radius_edges(X, 1.5, box=2.0)),
        (r"'box' must be one side or one for each of 3 axes \(got 2 sides\)", lambda: knn_edges(X, 1, box=(1.0, 1.0))),
        (r"'box' must be positive \(got -1.0\)", lambda: knn_edges(X, 1, box=-1.0)),
        (r"'x' must be finite \(got 18 non-finite", lambda: knn_edges(X / 0 * 0, 1)),
        (r"'x' must have shape \(N, d\)", lambda: radius_edges(X[:, 0], 1.0)),
        (r"'x' must be float32 or float64", lambda: radius_edges(X.long(), 1.0)),
        (r"'batch' must be an integer tensor of shape \(6,\)", lambda: knn_edges(X, 1, batch=TWO[:4])),
        (r"'backend' must be one of auto, kdtree, torch_cluster", lambda: knn_edges(X, 1, backend="faiss")),
        (
            r"'backend' must be 'kdtree' or 'auto' for a periodic box \(got 'torch_cluster'\)",
            lambda: knn_edges(X, 1, box=9.0, backend="torch_cluster"),
        ),
    ],
)
def test_refuses(message, call):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("backend", ["kdtree", "torch_cluster"])
def test_refuses_too_many_edges(monkeypatch, backend):
    """Before the memory for them is taken; 10 coincident particles make 90."""
    if backend == "torch_cluster":
        pytest.importorskip("torch_cluster")
    monkeypatch.setattr(neighbours, "MAX_EDGES", 89)
    with pytest.raises(ValueError, match=r"'r' must leave at most 89 edges \(got 90\)"):
        radius_edges(points(10, 2, kind="point"), 1.0, backend=backend)


@pytest.mark.parametrize("box", [None, 3.0])
@pytest.mark.parametrize("backend", ["kdtree", "torch_cluster"])
def test_coincident_particles_cost_no_more_than_others(monkeypatch, box, backend):
    """In one place, in two, and in places that all have fewer than k: never a search for all N."""
    if backend == "torch_cluster":
        pytest.importorskip("torch_cluster")
        box = None
    asked = []
    for name in ("_tree_nearest", "_cluster_nearest"):
        search = getattr(neighbours, name)

        def count(particles, candidates, receivers, number, search=search):
            asked.append(receivers.numel() * number)
            return search(particles, candidates, receivers, number)

        monkeypatch.setattr(neighbours, name, count)
    n, k = 600, 7
    two = points(2, 2).repeat(n // 2, 1)
    for x in (points(n, 3, kind="point"), two, points(n // 4, 2).repeat(4, 1)):
        asked.clear()
        edges = knn_edges(x, k, box=box, backend=backend)
        assert sum(asked) <= 3 * n * (k + 2)
        assert torch.equal(edges, nearest(x, k, box=None if box is None else [box] * x.size(1)))


def test_many_coincident_particles_in_blocks():
    """30,000 in one place, a quarter of them in each block: a second, where all pairs would take 7 GB a block."""
    x, batch = torch.ones(30_000, 3), torch.arange(30_000) % 4
    edges = knn_edges(x, 3, batch=batch)
    for b in range(4):
        own = edges[:, batch[edges[1]] == b]
        assert set(own[0].tolist()) == {b, b + 4, b + 8, b + 12}
    assert edges.size(1) == 90_000
