"""What a user's own pair layer gets: one message, the same sum on every backend, gradients, and plain refusals."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.nn import MessagePassing

import graphlandau.nn.conv.pairwise as pairwise
from graphlandau.base.errors import InvalidArgument
from graphlandau.graphs.partition import Partition
from graphlandau.nn import BlobScore, JKOAction, LandauDrift, PairwiseLayer
from graphlandau.nn.pairs import choice, complete_edges, keops_available

KEOPS = pytest.param(
    "keops", marks=[pytest.mark.slow, pytest.mark.skipif(not keops_available()[0], reason="KeOps does not work here")]
)
EXACT = ["dense", "edges", KEOPS]


class Attraction(PairwiseLayer):
    """As in the documentation: plain torch along the last axis."""

    def __init__(self, range=0.7, **options):
        super().__init__(**options)
        self.range = range

    def message(self, v_i, v_j, weight_j):
        z = v_j - v_i
        r2 = (z * z).sum(-1, keepdim=True)
        return weight_j * z * torch.exp(-r2 / self.range**2)


class Alignment(PairwiseLayer):
    """Two quantities of other widths, no weight, and every kind of arithmetic."""

    def message(self, v_i, v_j, q_j, q_i):
        z = v_i - v_j
        near = 1 / (1.0 + z.square().sum(-1, keepdim=True)) ** 1.5
        return (q_j - q_i) * near * (2 - (z + 0.1).norm(dim=-1, keepdim=True).sin().abs())


def by_hand(layer, quantities, weight, pairs):
    """The message of every pair, one by one, on plain rows."""
    names = dict(quantities) | {"weight": weight[:, None]}
    total = None
    for i, j in pairs:
        given = {f"{name}_i": x[i : i + 1] for name, x in names.items()}
        given |= {f"{name}_j": x[j : j + 1] for name, x in names.items()}
        wanted = layer.message.__code__.co_varnames[1 : layer.message.__code__.co_argcount]
        term = layer.message(**{name: given[name] for name in wanted})
        total = torch.zeros(len(weight), term.size(1), dtype=term.dtype) if total is None else total
        total[i] += term[0]
    return total


def make(kind, n, d, seed):
    generator = torch.Generator().manual_seed(seed)
    draw = lambda *size: torch.randn(*size, generator=generator, dtype=torch.float64)  # noqa: E731
    weight = 0.2 + torch.rand(n, generator=generator, dtype=torch.float64)
    quantities = {"v": draw(n, d)} | ({"q": draw(n, 2)} if kind is Alignment else {})
    return quantities, weight / weight.sum(), torch.randint(4, (n,), generator=generator)


@pytest.mark.parametrize("kind", [Attraction, Alignment])
@settings(max_examples=25, deadline=None)
@given(n=st.integers(2, 14), d=st.integers(1, 4), seed=st.integers(0, 2**20))
def test_is_the_sum_of_the_message_over_all_pairs_blocks_and_edges(kind, n, d, seed):
    """Against a loop over pairs, on tiles and on edges; blocks of any sizes, some with one particle."""
    quantities, weight, batch = make(kind, n, d, seed)
    distinct = [(i, j) for i in range(n) for j in range(n) if i != j]
    inside = [(i, j) for i, j in distinct if batch[i] == batch[j]]
    share = Partition.from_batch(batch, weight[:, None]).normalised(weight, weight[:, None])
    generator = torch.Generator().manual_seed(seed)
    edges = torch.randint(n, (2, 3 * n), generator=generator)
    for backend in ("dense", "edges"):
        layer = kind(backend=backend)
        given = tuple(quantities.values())
        # These messages vanish between a particle and itself, so that loops make no difference.
        torch.testing.assert_close(layer(*given, weight=weight), by_hand(layer, quantities, weight, distinct))
        found = layer(*given, weight=weight, batch=batch)
        expected = by_hand(layer, quantities, share, inside) if inside else torch.zeros_like(found)
        torch.testing.assert_close(found, expected)
    layer = kind()
    along = [(int(i), int(j)) for j, i in edges.T]
    torch.testing.assert_close(
        layer(*given, weight=weight, edge_index=edges), by_hand(layer, quantities, weight, along)
    )


@pytest.mark.parametrize("backend", EXACT)
@pytest.mark.parametrize("kind", [Attraction, Alignment])
def test_gradients_of_every_backend(kind, backend):
    """In the quantities and the weights, complete and in uneven blocks, with the gradients along edges."""
    quantities, weight, batch = make(kind, 11, 3, 0)
    found = []
    for each in (backend, "edges"):
        for blocks in (None, batch):
            inputs = [x.clone().requires_grad_() for x in (*quantities.values(), weight)]
            out = kind(backend=each)(*inputs[:-1], weight=inputs[-1], batch=blocks)
            found.append(torch.autograd.grad((out**2).sum(), inputs, allow_unused=True))
    for got, want in zip(found[:2], found[2:], strict=True):
        for a, b in zip(got, want, strict=True):
            assert (a is None) == (b is None)
            if a is not None and b is not None:
                torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)


def test_forward_mode_and_second_derivatives_on_tiles():
    """Directional derivatives against differences, and a gradient of a gradient."""
    quantities, _, _ = make(Attraction, 9, 2, 1)
    v, layer = quantities["v"], Attraction(backend="dense")
    direction = torch.ones_like(v) * torch.arange(9.0, dtype=v.dtype)[:, None]
    tangent = torch.func.jvp(layer, (v,), (direction,))[1]
    torch.testing.assert_close(
        tangent, (layer(v + 1e-6 * direction) - layer(v - 1e-6 * direction)) / 2e-6, rtol=1e-6, atol=1e-7
    )
    assert torch.autograd.gradcheck(lambda x: torch.func.vjp(layer, x)[1](direction)[0], v.clone().requires_grad_())


# Subclasses of the layers of this package


class HalfDrift(LandauDrift):
    """Half of every collision."""

    def message(self, v_i, v_j, s_i, s_j, weight_j):
        return 0.5 * super().message(v_i, v_j, s_i, s_j, weight_j)


class HalfAction(JKOAction):
    """Half of every pair's loss."""

    def message(self, v_i, v_j, u_i, u_j, jac_u_i, weight_j):
        return 0.5 * super().message(v_i, v_j, u_i, u_j, jac_u_i, weight_j)


class HalfBlob(BlobScore):
    """Half of every pull."""

    def message(self, v_i, v_j, inverse_density_i, inverse_density_j, weight_j):
        return 0.5 * super().message(v_i, v_j, inverse_density_i, inverse_density_j, weight_j)


def plasma(n=24, d=3, seed=2):
    generator = torch.Generator().manual_seed(seed)
    v, s = torch.randn(2, n, d, generator=generator, dtype=torch.float64)
    return v, s, torch.randint(3, (n,), generator=generator)


@pytest.mark.parametrize("backend", ["auto", *EXACT])
@pytest.mark.parametrize("gamma", [0.0, -3.0])
def test_half_a_message_is_half_a_drift(gamma, backend):
    """Complete, in blocks, for test particles, and in the gradients; with auto where moments would be taken too."""
    v, s, batch = plasma()
    half, full = HalfDrift(gamma, 0.3, backend=backend), LandauDrift(gamma, 0.3, backend="dense")
    tolerance = {"rtol": 1e-9, "atol": 1e-11}
    for graph in ({}, {"batch": batch}):
        torch.testing.assert_close(half(v, s, **graph), 0.5 * full(v, s, **graph), **tolerance)
        for got, want in zip(half.partials(v, s, **graph), full.partials(v, s, **graph), strict=True):
            torch.testing.assert_close(got, 0.5 * want, **tolerance)
    at = (v + 0.1, s)
    torch.testing.assert_close(half(v, s, at=at), 0.5 * full(v, s, at=at), **tolerance)
    a = v.clone().requires_grad_()
    got, want = (torch.autograd.grad(layer(a, s).square().sum(), a)[0] for layer in (half, full))
    torch.testing.assert_close(got, 0.25 * want, **tolerance)


@pytest.mark.parametrize("backend", ["auto", *EXACT])
@pytest.mark.parametrize("gamma", [0.0, -3.0])
def test_half_a_message_is_half_an_action(gamma, backend):
    v, u, batch = plasma()
    jac = torch.randn(24, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for graph in ({}, {"batch": batch}):
        half, full = HalfAction(gamma, backend=backend), JKOAction(gamma, backend="dense")
        torch.testing.assert_close(half(v, u, jac, **graph), 0.5 * full(v, u, jac, **graph))


@pytest.mark.parametrize("backend", ["auto", "dense", KEOPS])
@pytest.mark.parametrize("correct", [False, True])
def test_half_a_message_is_half_a_blob(correct, backend):
    """Score, and its Jacobian at the particles and elsewhere, which are differentiated."""
    v, _, batch = plasma()
    half, full = HalfBlob(0.6, correct, backend=backend), BlobScore(0.6, correct, backend="dense")
    for graph in ({}, {"batch": batch}, {"at": v + 0.1}):
        if "at" not in graph:
            torch.testing.assert_close(half(v, **graph), 0.5 * full(v, **graph))
        for got, want in zip(half.value_and_jacobian(v, **graph), full.value_and_jacobian(v, **graph), strict=True):
            torch.testing.assert_close(got, 0.5 * want, rtol=1e-8, atol=1e-10)


def test_a_message_without_the_symmetry_gets_the_scores_as_they_are():
    """The original ignores s -> s + a + b v, and uses that; a friction with the scores themselves must see them."""

    class Friction(LandauDrift):
        def message(self, v_i, v_j, s_i, s_j, weight_j):
            return s_j * weight_j

    v, s, _ = plasma()
    expected = (s + 3.0).mean(0).expand_as(s)
    torch.testing.assert_close(Friction(-3.0, backend="dense")(v, s + 3.0), expected)


@pytest.mark.parametrize("make", [lambda b: HalfDrift(0.0, backend=b), lambda b: HalfAction(0.0, backend=b)])
def test_evaluations_of_another_message_are_refused_by_name(make):
    v, s, _ = plasma()
    jac = () if isinstance(make("auto"), LandauDrift) else (torch.zeros(24, 3, 3, dtype=torch.float64),)
    with pytest.raises(
        InvalidArgument, match=r"'backend' must be dense, .* Half\w+, which has a message of its own \(got 'moments'"
    ):
        make("moments")(v, s, *jac)


def test_the_mesh_is_refused_by_name_and_not_taken(monkeypatch):
    v, s, _ = plasma()
    with pytest.raises(InvalidArgument, match=r"HalfDrift, which has a message of its own.*'mesh'"):
        HalfDrift(-3.0, backend="mesh")(v, s)
    with pytest.raises(InvalidArgument, match=r"HalfBlob, which has a message of its own.*'mesh'"):
        HalfBlob(0.5, backend="mesh")(v)
    assert HalfDrift(-3.0).chosen_backend(3, 10**7) == "dense"
    assert HalfBlob(0.5).chosen_backend(3, 10**7) == "dense"
    assert BlobScore(0.5).chosen_backend(3, 10**7) == "mesh"


def test_what_is_known_of_the_original_only_is_refused():
    v, _, _ = plasma()
    with pytest.raises(
        InvalidArgument, match=r"'message' must be that of LandauDrift for its diffusion \(got HalfDrift\)"
    ):
        HalfDrift(-3.0).diffusion(v)
    with pytest.raises(
        InvalidArgument, match=r"'message' must be that of JKOAction for its Gram matrix \(got HalfAction\)"
    ):
        HalfAction(-3.0).gram(v, v)


def test_the_error_of_a_subclass_is_that_of_its_own_message():
    v, s, _ = plasma(200)
    layer = HalfDrift(-3.0)
    assert layer.error(v, s) < 1e-12
    assert layer.error(v, s, drift=LandauDrift(-3.0)(v, s)) == pytest.approx(1.0)


# What only propagate does


def test_message_hooks_fire_and_their_result_counts():
    v, s, batch = plasma()
    layer, seen = LandauDrift(-3.0), []
    plain = layer(v, s, batch=batch)
    handle = layer.register_message_forward_hook(lambda module, inputs, out: seen.append(out) or 2 * out)
    torch.testing.assert_close(layer(v, s, batch=batch), 2 * plain, rtol=1e-9, atol=1e-12)
    assert layer.used == "edges"
    assert len(seen) == 1
    handle.remove()
    assert torch.equal(layer(v, s, batch=batch), plain)


@pytest.mark.parametrize("kind", ["propagate", "message", "aggregate"])
@pytest.mark.parametrize("when", ["forward_pre_hook", "forward_hook"])
def test_every_hook_makes_auto_take_edges(kind, when):
    layer = LandauDrift(0.0)
    assert layer.chosen_backend(3, 100) == "moments"
    getattr(layer, f"register_{kind}_{when}")(lambda *_: None)
    assert layer.chosen_backend(3, 100) == "edges"
    v, s, _ = plasma()
    torch.testing.assert_close(layer(v, s), LandauDrift(0.0)(v, s), rtol=1e-9, atol=1e-12)


def test_a_blob_with_hooks_meets_itself_too():
    v, _, batch = plasma()
    layer = BlobScore(0.5)
    expected = layer(v, batch=batch)
    layer.register_message_forward_hook(lambda *_: None)
    torch.testing.assert_close(layer(v, batch=batch), expected)


def test_hooks_are_refused_on_another_backend():
    v, s, _ = plasma()
    layer = LandauDrift(-3.0, backend="dense")
    layer.register_message_forward_hook(lambda *_: None)
    with pytest.raises(InvalidArgument, match=r"'backend' must be 'edges' or 'auto' for a layer with registered hooks"):
        layer(v, s)


def test_an_update_of_ones_own_is_honoured():
    class Doubled(LandauDrift):
        def update(self, inputs):
            return 2 * inputs

    v, s, _ = plasma()
    torch.testing.assert_close(Doubled(0.0)(v, s), 2 * LandauDrift(0.0)(v, s), rtol=1e-9, atol=1e-12)
    with pytest.raises(InvalidArgument, match="a layer with a method 'update' of its own"):
        Doubled(-3.0, backend="dense")(v, s)


def test_parameters_of_a_message_are_trained():
    """They are no arguments of a tile: the sum goes along edges, where autograd sees them."""

    class Learned(PairwiseLayer):
        def __init__(self, **options):
            super().__init__(**options)
            self.scale = torch.nn.Parameter(torch.tensor(2.0, dtype=torch.float64))

        def message(self, v_i, v_j, weight_j):
            return self.scale * (v_j - v_i) * weight_j

    v, _, _ = plasma()
    layer = Learned()
    layer(v).square().sum().backward()
    expected = 2 * float(layer(v).detach().square().sum()) / 2.0
    assert float(layer.scale.grad) == pytest.approx(expected)
    with pytest.raises(InvalidArgument, match="a layer with parameters to train"):
        Learned(backend="dense")(v)


# Bad messages


def layer_of(function, base=PairwiseLayer, **options):
    function.__name__ = "message"
    return type("Mine", (base,), {"message": function})(**options)


def test_refuses_a_message_of_another_width():
    v, s, _ = plasma()
    layer = layer_of(lambda self, v_i, v_j, s_i, s_j, weight_j: weight_j, LandauDrift, gamma=-3.0)
    with pytest.raises(InvalidArgument, match=r"'message' of Mine must return 3 columns \(got 1\)"):
        layer(v, s)


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda self, v_i, v_j: (v_i - v_j).sum(-1) * v_j, "must broadcast along the last axis .*got RuntimeError"),
        (lambda self, v_i, v_j: (v_i * v_j).sum(-1), r"must return \(E, q\) for E edges \(got \(2,\)"),
        (lambda self, v_i, v_j: torch.einsum("ea,ea->e", v_i, v_j)[:, None], "'edges' takes any message"),
        (lambda self, v_i, v_j: (v_i - v_j).flip(-1), "'edges' takes any message"),
        (lambda self, v_i, v: v_i, r"must have arguments NAME_i and NAME_j \(got v\)"),
        (lambda self, v_i, v_i_=None: v_i, "must have arguments NAME_i and NAME_j"),
        (lambda self, v_i, s_i: v_i, r"must use some of .*weight_j \(got none\)"),
        (lambda self, v_i, v_j: 1.0, r"must return \(E, q\) for E edges \(got float"),
    ],
)
def test_refuses_a_message_that_does_not_broadcast(function, said):
    v, s, _ = plasma()
    layer = layer_of(function)
    quantities = (v, s) if "s_i" in function.__code__.co_varnames else (v,)
    with pytest.raises(InvalidArgument, match=said):
        layer(*quantities)


def test_refuses_what_the_message_does_not_name():
    v, s, _ = plasma()
    with pytest.raises(InvalidArgument, match=r"'quantities' must be v \(got 2 tensors\)"):
        Attraction()(v, s)
    with pytest.raises(InvalidArgument, match=r"'q' must have shape \(24, k\)"):
        Alignment()(v, s[:5])
    with pytest.raises(NotImplementedError, match="PairwiseLayer needs a method 'message'"):
        PairwiseLayer().message()


def test_edges_take_a_message_that_tiles_do_not():
    v, _, _ = plasma()
    layer = layer_of(lambda self, v_i, v_j: torch.einsum("ea,ea->e", v_i, v_j)[:, None], backend="edges")
    torch.testing.assert_close(layer(v)[:, 0], (v @ v.T).fill_diagonal_(0).sum(1))


# Graphs and backends


@pytest.mark.parametrize("labels", [[0] * 5, [3, 1, 3, 3, 0, 1, 9]])
def test_complete_edges(labels):
    """All ordered pairs inside each block, once, without loops."""
    batch = torch.tensor(labels)
    edges = complete_edges(Partition.from_batch(batch, torch.zeros(len(labels), 1)))
    n = range(len(labels))
    expected = {(j, i) for i in n for j in n if i != j and labels[i] == labels[j]}
    assert edges.size(1) == len(expected)
    assert {tuple(e) for e in edges.T.tolist()} == expected


@pytest.mark.parametrize("layer", [lambda: LandauDrift(-3.0, backend="keops"), lambda: BlobScore(backend="keops")])
def test_keops_is_refused_at_construction_with_the_cure(monkeypatch, layer):
    monkeypatch.setattr(pairwise, "keops_available", lambda: (False, "No module named 'pykeops'"))
    with pytest.raises(ImportError, match=r"pip install 'graphlandau\[keops\]'.*No module named 'pykeops'"):
        layer()


@pytest.mark.parametrize("works", [True, False])
def test_auto_on_cuda_takes_keops_where_it_works(monkeypatch, works):
    """For exact sums; moments and mesh are faster still. On a CPU tiles are."""
    monkeypatch.setattr(choice, "keops_available", lambda: (works, ""))
    exact = "keops" if works else "dense"
    assert LandauDrift(-3.0).chosen_backend(3, 1000, "cuda:1") == exact
    assert LandauDrift(0.0).chosen_backend(3, 1000, "cuda") == "moments"
    assert LandauDrift(-3.0).chosen_backend(3, 10**6, "cuda") == "mesh"
    assert BlobScore().chosen_backend(3, 1000, "cuda") == exact
    assert Attraction().chosen_backend(3, 1000, "cuda") == exact
    assert JKOAction(-3.0).chosen_backend(3, 10**6, "cuda") == exact
    assert LandauDrift(-3.0).chosen_backend(3, 1000, "cpu") == "dense"


def test_is_a_message_passing_layer_and_says_its_backend():
    assert isinstance(Attraction(), MessagePassing)
    with pytest.raises(InvalidArgument, match=r"'backend' must be one of auto, dense, keops, edges \(got 'mesh'\)"):
        Attraction(backend="mesh")
