"""Sums over stencils, offset by offset and group by group: both the sums over the edges, adjoint, differentiable."""

from __future__ import annotations

import re
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

import graphlandau.graphs.stencil_sums as stencil_sums
from graphlandau.fields import Grid
from graphlandau.graphs import Stencil, particle_cells
from graphlandau.graphs.stencil_sums import collect, spread

EPS = {torch.float32: 2**-23, torch.float64: 2**-52}


def box(d: int, periodic: bool) -> Grid:
    return Grid((3.0, 2.0, 5.0)[:d], (6, 5, 4)[:d], origin=(-1.0, 0.5, 2.0)[:d], periodic=periodic)


def example(n: int, d: int, order: int, periodic: bool, copies: int, seed: int, dtype=torch.float64) -> Stencil:
    """Particles that crowd in some cells: a power of uniform numbers; each in one of several copies of the grid."""
    generator = torch.Generator().manual_seed(seed)
    grid = box(d, periodic)
    u = torch.rand(n, d, generator=generator, dtype=torch.float64) ** 4
    low, length, h = (torch.tensor(x, dtype=torch.float64) for x in (grid.origin, grid.lengths, grid.spacing))
    pos = low + h + u * (length - 2 * h)
    copy = torch.randint(copies, (n,), generator=generator) if copies > 1 else None
    return particle_cells(pos.to(dtype), grid, order, copy, copies)


def numbers(*shape: int, seed: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def matrix(stencil: Stencil) -> torch.Tensor:
    """The weights of all edges, particles by nodes."""
    out = torch.zeros(stencil.particles, stencil.nodes, dtype=torch.float64)
    return out.index_put_(tuple(stencil.edge_index()), stencil.edge_weight().double(), accumulate=True)


def by_groups(monkeypatch: pytest.MonkeyPatch, *, piece: int = 2**19) -> None:
    """Take groups whatever they cost, in pieces of so many numbers."""
    for bound in ("FEW_NODES", "MANY_TERMS", "MANY_TERMS_IN_FULL_CELLS", "MANY_EDGES"):
        monkeypatch.setattr(stencil_sums, bound, 0)
    monkeypatch.setattr(stencil_sums, "PIECE", piece)


cases = given(
    n=st.integers(1, 200),
    d=st.integers(1, 3),
    order=st.integers(0, 3),
    periodic=st.booleans(),
    copies=st.sampled_from([1, 3]),
    q=st.integers(1, 4),
    piece=st.sampled_from([1, 500, 2**19]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    seed=st.integers(0, 2**31),
)


@cases
@settings(max_examples=80, deadline=None)
def test_both_ways_are_the_sums_over_the_edges(n, d, order, periodic, copies, q, piece, dtype, seed):
    stencil = example(n, d, order, periodic, copies, seed, dtype)
    values, field = numbers(n, q, seed=seed, dtype=dtype), numbers(stencil.nodes, q, seed=seed + 1, dtype=dtype)
    weights = matrix(stencil)
    groups = stencil.groups
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stencil_sums, "PIECE", piece)
        by_offset = stencil_sums._spread_by_offset(stencil, values), stencil_sums._collect_by_offset(stencil, field)
        by_group = (
            stencil_sums._spread_by_group(stencil, values, groups),
            stencil_sums._collect_by_group(stencil, field, groups),
        )
    for at_nodes, at_particles in (by_offset, by_group):
        assert at_nodes.dtype == at_particles.dtype == dtype
        # Roundings, relative to the sum of absolute values: d + 1 of a term and its result, and one for each term that
        # is added in the dtype (at particles) or a few of float64 (at nodes).
        for got, want, scale, terms in (
            (at_nodes, weights.T @ values.double(), weights.T @ values.double().abs(), 4),
            (at_particles, weights @ field.double(), weights @ field.double().abs(), (order + 1) ** d),
        ):
            assert bool(((got.double() - want).abs() <= (d + 2 + terms) * EPS[dtype] * scale).all())


@pytest.mark.parametrize("d", [2, 3])
def test_the_sums_are_adjoint_and_conserve_the_total(d, monkeypatch):
    """Weights of a particle sum to 1; what is spread and what is collected are one bilinear form."""
    by_groups(monkeypatch, piece=2000)
    stencil = example(3000, d, 3, False, 2, seed=0)
    values, field = numbers(3000, 3, seed=1), numbers(stencil.nodes, 3, seed=2)
    at_nodes, at_particles = spread(stencil, values), collect(stencil, field)
    # 9,000 values of some 1, whose rounded sums differ by a few eps times the square root of their number.
    torch.testing.assert_close(at_nodes.sum(0), values.sum(0), rtol=0, atol=1e-11)
    torch.testing.assert_close((at_nodes * field).sum(0), (values * at_particles).sum(0), rtol=0, atol=1e-11)
    one = torch.ones(stencil.nodes, 1, dtype=torch.float64)
    torch.testing.assert_close(collect(stencil, one), torch.ones(3000, 1, dtype=torch.float64), rtol=0, atol=1e-14)
    for copy in range(2):
        own = stencil.copy == copy
        part = at_nodes[copy * stencil.grid.nodes : (copy + 1) * stencil.grid.nodes]
        torch.testing.assert_close(part.sum(0), values[own].sum(0), rtol=0, atol=1e-11)


def test_float32_sums_of_many_equal_terms_are_not_biased(monkeypatch):
    """Sums within and over groups run in float64: 200,000 equal terms are off by the last rounding."""
    by_groups(monkeypatch)
    n, grid = 200_000, Grid((1.0, 1.0), 8)
    stencil = particle_cells(torch.full((n, 2), 0.5), grid, 3)
    total = spread(stencil, torch.full((n, 1), 1 / n)).double().sum()
    assert float(total) == pytest.approx(n * float(torch.tensor(1 / n)), rel=2e-7)


@pytest.mark.parametrize(("d", "order", "periodic"), [(2, 2, True), (2, 1, False), (2, 3, True), (3, 2, False)])
def test_derivatives_by_group_are_those_by_offset_and_of_differences(d, order, periodic, monkeypatch):
    """Finite differences in values, field and weights, and those of the derivatives; the same numbers either way."""
    stencil = example(9, d, order, periodic, 2, seed=5)
    values, field = numbers(9, 2, seed=6), numbers(stencil.nodes, 2, seed=7)

    def rebuilt(*weight: torch.Tensor) -> Stencil:
        return Stencil(stencil.grid, order, stencil.index, weight, stencil.copy, stencil.copies)

    def both(values: torch.Tensor, field: torch.Tensor, *weight: torch.Tensor):
        return spread(rebuilt(*weight), values), collect(rebuilt(*weight), field)

    inputs = tuple(x.clone().requires_grad_() for x in (values, field, *stencil.weight))
    outside = numbers(stencil.nodes, 2, seed=8), numbers(9, 2, seed=9)
    offset = torch.autograd.grad(both(*inputs), inputs, outside)
    by_groups(monkeypatch, piece=200)
    assert stencil_sums._groups(stencil, values) is not None
    torch.autograd.gradcheck(both, inputs, fast_mode=True)
    torch.autograd.gradgradcheck(both, inputs, fast_mode=True)
    group = torch.autograd.grad(both(*inputs), inputs, outside)
    torch.testing.assert_close(group, offset, rtol=1e-13, atol=1e-13)


def test_function_transforms_do_without_groups(monkeypatch):
    """Forward mode and vmap are those of the sums over the edges."""
    by_groups(monkeypatch)
    stencil = example(40, 2, 3, True, 1, seed=10)
    values = numbers(3, 40, 2, seed=11)
    want = torch.stack([spread(stencil, x) for x in values])
    torch.testing.assert_close(torch.func.vmap(lambda x: spread(stencil, x))(values), want, rtol=0, atol=1e-13)
    out = torch.func.jvp(lambda x: spread(stencil, x), (values[0],), (values[1],))
    torch.testing.assert_close(torch.stack(out), want[:2], rtol=0, atol=1e-13)


@pytest.mark.parametrize(
    ("d", "order", "q", "n", "grouped"),
    [
        (3, 3, 4, 10_000, True),
        (3, 3, 4, 1_000, False),  # few particles
        (3, 3, 1, 10_000, True),  # few columns, full cells
        (3, 3, 1, 2_000, False),
        (3, 1, 3, 200_000, False),  # few nodes, few columns
        (3, 1, 9, 200_000, True),
        (2, 3, 3, 20_000, True),
        (2, 3, 1, 200_000, False),
        (2, 1, 27, 200_000, False),  # four nodes
        (1, 3, 27, 200_000, False),
    ],
)
def test_groups_are_taken_where_they_pay(d, order, q, n, grouped):
    stencil = particle_cells(torch.zeros(n, d), Grid((2.0,) * d, 8, origin=-1.0), order)
    assert (stencil_sums._groups(stencil, torch.zeros(n, q)) is not None) == grouped


def test_nothing_grows_with_the_edges(monkeypatch):
    """64 edges a particle: the largest tensor has no more numbers than the weights of the stencil."""
    by_groups(monkeypatch)
    n, q = 30_000, 4
    stencil = example(n, 3, 3, False, 1, seed=12)
    largest = 0

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            nonlocal largest
            out = func(*args, **(kwargs or {}))
            for x in out if isinstance(out, tuple | list) else (out,):
                if isinstance(x, torch.Tensor):
                    largest = max(largest, x.untyped_storage().nbytes() // x.element_size())
            return out

    with Watch():
        collect(stencil, spread(stencil, numbers(n, q, seed=13)))
    places = stencil.groups.particle.numel()
    assert largest <= max(12 * places, stencil_sums.PIECE) < 32 * n


@pytest.mark.parametrize(
    ("copy", "copies", "text"),
    [
        (torch.tensor([0, 2, 1]), 2, "'copy' must be from 0 to 1 (got 2)"),
        (torch.tensor([0, -1, 1]), 2, "'copy' must be from 0 to 1 (got -1)"),
        (torch.zeros(3), 2, "'copy' must be int64 of shape (3,) (got torch.float32 (3,))"),
        (torch.tensor([0, 1]), 2, "'copy' must be int64 of shape (3,) (got torch.int64 (2,))"),
        (None, 0, "'copies' must be an integer >= 1 (got 0)"),
    ],
)
def test_refuses_copies_that_do_not_fit(copy, copies, text):
    with pytest.raises(ValueError, match=re.escape(text)):
        particle_cells(torch.zeros(3, 1), Grid(1.0, 4), 1, copy, copies)


def test_parts_of_a_stencil_keep_their_copies(monkeypatch):
    stencil = example(20, 2, 3, True, 3, seed=14)
    monkeypatch.setattr(sys.modules[Stencil.__module__], "PARTICLES_AT_ONCE", 7)
    nodes = torch.cat([part.node((1, 2)) for (part,) in stencil.parts()])
    assert torch.equal(nodes, stencil.node((1, 2)))
