"""Deposit: totals, symmetries, both backends, derivatives, and memory that does not grow with the stencil."""

from __future__ import annotations

import re
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import graphlandau.nn.conv.grid_layer as grid_layer
from graphlandau.fields import Grid
from graphlandau.graphs import Stencil, particle_cells
from graphlandau.nn import Deposit, Gather


def box(d: int) -> Grid:
    return Grid((3.0, 2.0, 5.0)[:d], (6, 5, 4)[:d], origin=(-1.0, 0.5, 2.0)[:d])


def example(n: int, d: int, seed: int, dtype: torch.dtype = torch.float64, q: int | None = None):
    """Positions in several boxes, in none of the corners of a spline, and values of both signs."""
    generator = torch.Generator().manual_seed(seed)
    pos = 12 * torch.rand(n, d, generator=generator, dtype=torch.float64) - 6
    values = torch.randn(n, *([] if q is None else [q]), generator=generator, dtype=torch.float64)
    return pos.to(dtype), values.to(dtype)


cases = given(
    n=st.integers(1, 30),
    d=st.integers(1, 3),
    order=st.integers(0, 3),
    q=st.sampled_from([None, 1, 3]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    seed=st.integers(0, 2**31),
)


@cases
@settings(max_examples=60, deadline=None)
def test_the_total_is_that_of_the_particles(n, d, order, q, dtype, seed):
    pos, values = example(n, d, seed, dtype, q)
    deposited = Deposit(box(d), order)(pos, values)
    assert deposited.shape == (*box(d).shape, *values.shape[1:])
    assert deposited.dtype == dtype
    total = deposited.double().flatten(0, d - 1).sum(0)
    # Weights of d splines, each with a rounding error below 4 eps, times 30 values of up to 5.
    torch.testing.assert_close(total, values.double().sum(0), rtol=0, atol=12 * torch.finfo(dtype).eps * 30 * 5)


@cases
@settings(max_examples=60, deadline=None)
def test_both_backends_are_the_sum_over_the_edges(n, d, order, q, dtype, seed):
    pos, values = example(n, d, seed, dtype, q)
    grid = box(d)
    stencil = particle_cells(pos, grid, order)
    matrix = torch.zeros(n, grid.nodes, dtype=dtype)
    matrix.index_put_(tuple(stencil.edge_index()), stencil.edge_weight(), accumulate=True)
    want = (matrix.T.double() @ values.double()).to(dtype).view(*grid.shape, *values.shape[1:])
    tolerance = {"rtol": 0, "atol": 12 * torch.finfo(dtype).eps * 30}
    for backend in ("fused", "edges", "auto"):
        layer = Deposit(grid, order, backend)
        torch.testing.assert_close(layer(pos, values), want, **tolerance)
        torch.testing.assert_close(layer(pos, values, stencil=stencil), want, **tolerance)


@cases
@settings(max_examples=40, deadline=None)
def test_follows_the_particles(n, d, order, q, dtype, seed):
    """Permutation changes nothing; motion by whole cells moves the grid; channels do not mix."""
    pos, values = example(n, d, seed, torch.float64, q)
    grid = box(d)
    deposit = Deposit(grid, order)
    deposited = deposit(pos, values)
    shuffle = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    tolerance = {"rtol": 0, "atol": 1e-12}
    torch.testing.assert_close(deposit(pos[shuffle], values[shuffle]), deposited, **tolerance)
    cells = (2, -1, 3)[:d]
    step = torch.tensor([k * h for k, h in zip(cells, grid.spacing, strict=True)], dtype=torch.float64)
    if order >= 1:
        # At order 0 rounding may move a particle that is half way between two nodes to the other one.
        moved = deposited.roll(cells, tuple(range(d)))
        torch.testing.assert_close(deposit(pos + step, values), moved, **tolerance)
    if q is not None:
        torch.testing.assert_close(deposit(pos, values[:, 0]), deposited[..., 0], **tolerance)


@pytest.mark.parametrize("order", [0, 1, 2, 3])
def test_float32_sums_of_many_equal_terms_are_not_biased(order):
    """Of 200,000 particles at one place a running float32 sum is off by 1e-3 (measured); ours by the last rounding."""
    n = 200_000
    deposited = Deposit(Grid(1.0, 8), order)(torch.full((n, 1), 0.5), torch.full((n,), 1 / n))
    assert float(deposited.double().sum()) == pytest.approx(n * float(torch.tensor(1 / n)), rel=2e-7)


@pytest.mark.parametrize("backend", ["fused", "edges"])
@pytest.mark.parametrize(("d", "order"), [(1, 1), (1, 2), (1, 3), (2, 1), (2, 3), (3, 1), (3, 2)])
def test_derivatives(d, order, backend, monkeypatch):
    """Particles in two parts: finite differences in values and positions, and once more of the derivatives."""
    monkeypatch.setattr(sys.modules[Stencil.__module__], "PARTICLES_AT_ONCE", 2)
    pos, values = example(3, d, 5, q=2)
    layer = Deposit(box(d), order, backend)
    inputs = (pos.requires_grad_(), values.requires_grad_())
    torch.autograd.gradcheck(layer, inputs, fast_mode=True)
    torch.autograd.gradgradcheck(layer, inputs, fast_mode=True)


@pytest.mark.parametrize("backend", ["fused", "edges"])
def test_function_transforms(backend):
    """jvp is the product with the Jacobian of reverse mode; a batch by vmap is one call each."""
    pos, values = example(4, 2, 7)
    layer = Deposit(box(2), 2, backend)
    along = torch.ones_like(pos)
    _, tangent = torch.func.jvp(lambda x: layer(x, values), (pos,), (along,))
    jacobian = torch.autograd.functional.jacobian(lambda x: layer(x, values), pos)
    assert isinstance(jacobian, torch.Tensor)
    torch.testing.assert_close(tangent, (jacobian * along).sum((-1, -2)))
    several = torch.stack([values, 2 * values, values**2])
    batched = torch.func.vmap(lambda q: layer(pos, q))(several)
    torch.testing.assert_close(batched, torch.stack([layer(pos, q) for q in several]))


@pytest.mark.parametrize("order", [0, 1, 2, 3])
def test_parts_of_the_particles_add_up(order, monkeypatch):
    grid = box(2)
    pos, values = example(30, 2, 3, q=2)
    field = torch.randn(*grid.shape, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    whole = Deposit(grid, order)(pos, values), Gather(grid, order)(pos, field)
    monkeypatch.setattr(sys.modules[Stencil.__module__], "PARTICLES_AT_ONCE", 7)
    parts = Deposit(grid, order)(pos, values), Gather(grid, order)(pos, field)
    torch.testing.assert_close(parts, whole, rtol=0, atol=1e-14)


@pytest.mark.parametrize(("layer", "q"), [(Deposit, None), (Deposit, 2), (Gather, 2)])
def test_nothing_is_saved_for_each_edge(layer, q):
    """In 3D at order 3 there are 64 edges a particle; the stencil has 12 nodes and 12 weights."""
    n, grid = 1000, box(3)
    pos, values = example(n, 3, 0, q=q)
    field = torch.zeros(*grid.shape, q or 1, dtype=torch.float64)
    carried = (values if layer is Deposit else field).requires_grad_()
    stencil = particle_cells(pos, grid, 3)

    def saved(backend: str) -> int:
        sizes: dict[int, int] = {}

        def pack(x: torch.Tensor) -> torch.Tensor:
            sizes[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
            return x

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
            layer(grid, 3, backend)(pos, carried, stencil=stencil).sum()
        return sum(sizes.values())

    assert saved("fused") <= 8 * (24 * n + carried.numel())
    assert saved("edges") >= 8 * 64 * n


class Squares(Deposit):
    """A message of its own."""

    def message(self, values_j, weight):
        return values_j * weight[:, None] ** 2


def test_a_message_of_its_own_is_passed_along_edges():
    grid, pos = Grid(4.0, 4), torch.tensor([[0.25]])
    assert Squares(grid)(pos, torch.ones(1)).tolist() == [0.5625, 0.0625, 0.0, 0.0]
    assert Deposit(grid)(pos, torch.ones(1)).tolist() == [0.75, 0.25, 0.0, 0.0]


def test_repr_shows_the_arguments():
    assert repr(Deposit(Grid(1.0, 4), 2)) == f"Deposit({Grid(1.0, 4)}, order=2, backend='auto')"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((1.0,), "'grid' must be a Grid (got float)"),
        ((Grid(1.0, 4), 4), "'order' must be 0, 1, 2 or 3 (got 4)"),
        ((Grid(1.0, 4), 1, "dense"), "'backend' must be one of auto, fused, edges (got 'dense')"),
    ],
)
def test_refuses_bad_arguments(arguments, text):
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        Deposit(*arguments)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (torch.ones(4), "'values' must have shape (3,) or (3, q) with q >= 1 (got (4,))"),
        (torch.ones(3, 0), "'values' must have shape (3,) or (3, q) with q >= 1 (got (3, 0))"),
        (torch.ones(3, 1, 1), "'values' must have shape (3,) or (3, q) with q >= 1 (got (3, 1, 1))"),
        (1.0, "'values' must have shape (3,) or (3, q) with q >= 1 (got float)"),
        (
            torch.ones(3, dtype=torch.float64),
            "'values' must have the dtype of 'pos', torch.float32 (got torch.float64)",
        ),
        (torch.tensor([0.0, torch.nan, 0.0]), "'values' must be finite (got 1 non-finite of 3 entries)"),
    ],
)
def test_refuses_bad_values(values, text):
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        Deposit(Grid(1.0, 4))(torch.zeros(3, 1), values)


def test_refuses_the_stencil_of_another_grid():
    pos = torch.zeros(3, 1)
    with pytest.raises(
        ValueError, match=r"'stencil' must be that of 3 particles at order 1 on Grid.* \(got 3 at order 2"
    ):
        Deposit(Grid(1.0, 4))(pos, torch.ones(3), stencil=particle_cells(pos, Grid(1.0, 4), 2))


def test_refuses_to_leave_out_a_message_of_its_own():
    text = "'backend' must be 'auto' or 'edges' for Squares, which has a message of its own (got 'fused')"
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        Squares(Grid(1.0, 4), 1, "fused")


def test_refuses_to_list_too_many_edges(monkeypatch):
    monkeypatch.setattr(grid_layer, "MAX_EDGES", 5)
    with pytest.raises(ValueError, match=r"'backend' must not be 'edges' for 6 edges \(at most 5\); 'fused' needs no"):
        Deposit(Grid(1.0, 4), 1, "edges")(torch.zeros(3, 1), torch.ones(3))


@given(
    sizes=st.lists(st.integers(1, 12), min_size=1, max_size=4),
    d=st.integers(1, 3),
    order=st.integers(0, 3),
    q=st.sampled_from([None, 2]),
    backend=st.sampled_from(["fused", "edges"]),
    seed=st.integers(0, 2**31),
)
@settings(deadline=None, max_examples=40)
def test_a_batch_of_plasmas_has_the_sums_of_each_alone(sizes, d, order, q, backend, seed):
    pos, values = example(sum(sizes), d, seed, q=q)
    order_of_rows = torch.randperm(sum(sizes), generator=torch.Generator().manual_seed(seed))
    batch = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))[order_of_rows]
    layer = Deposit(box(d), order, backend)
    sums = layer(pos, values, batch=batch)
    shared = layer(pos, values, batch=batch, stencil=layer.stencil(pos, batch=batch))
    assert torch.equal(sums, shared)
    for b in range(len(sizes)):
        torch.testing.assert_close(sums[b], layer(pos[batch == b], values[batch == b]))


def test_a_plasma_without_particles_has_an_empty_grid():
    sums = Deposit(box(1))(torch.zeros(2, 1), torch.ones(2), batch=torch.tensor([2, 0]))
    assert sums.flatten(1).sum(1).tolist() == [1.0, 0.0, 1.0]


@pytest.mark.bad_input
def test_refuses_what_is_no_batch():
    layer, pos, values = Deposit(box(1)), torch.zeros(2, 1), torch.ones(2)
    with pytest.raises(ValueError, match=r"'batch' must be an integer tensor of shape \(2,\)"):
        layer(pos, values, batch=torch.zeros(3, dtype=torch.long))
    with pytest.raises(ValueError, match="'copy' must be from 0"):
        layer(pos, values, batch=torch.tensor([-1, 0]))
    batch = torch.tensor([0, 1])
    with pytest.raises(ValueError, match="must be on a copy of the grid for each of 2 plasmas"):
        layer(pos, values, batch=batch, stencil=layer.stencil(pos))
    with pytest.raises(ValueError, match="must be on one copy of the grid"):
        layer(pos, values, stencil=layer.stencil(pos, batch=batch))
