"""Grid: where its nodes are, and positions brought into the box."""

from __future__ import annotations

import math
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from graphlandau.fields import Grid

DTYPES = st.sampled_from([torch.float32, torch.float64])


@given(
    st.sampled_from([1.0, 0.1, 2 * math.pi, 25.0]),
    st.sampled_from([0.0, -0.3, 7.0]),
    st.floats(-30, 30),
    st.integers(-3, 3),
    DTYPES,
)
@settings(max_examples=100, deadline=None)
def test_wrapped_positions_are_in_the_box_and_congruent(length, origin, boxes, whole, dtype):
    """Also next to both ends, where the remainder of a division may be rounded up to the length."""
    grid = Grid(length, 8, origin=origin)
    ends = torch.tensor([origin + whole * length, origin + boxes * length], dtype=dtype)
    up, down = torch.nextafter(ends, ends + 1), torch.nextafter(ends, ends - 1)
    pos = torch.cat([ends, up, down, torch.tensor([-1e-30, 1e-30], dtype=dtype)])[:, None]
    inside = grid.wrap(pos)
    low, high = torch.tensor([origin, origin + length], dtype=torch.float64).to(dtype)
    assert bool(((inside >= low) & (inside < high)).all())
    turns = (inside.double() - pos.double()) / length
    # The distance to the next integer is the rounding of the position, of up to 33 boxes.
    assert float((turns - turns.round()).abs().max()) < 40 * (1 + 8 / length) * torch.finfo(dtype).eps
    assert torch.equal(grid.wrap(inside), inside)


@given(st.integers(1, 3), DTYPES, st.integers(0, 2**31))
@settings(max_examples=20, deadline=None)
def test_a_position_inside_stays_as_it_is(d, dtype, seed):
    grid = Grid((1.0, 2.0, 0.7)[:d], 4, origin=(0.0, -1.0, 3.0)[:d])
    u = torch.rand(20, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    pos = (0.999 * u * torch.tensor(grid.lengths) + torch.tensor(grid.origin)).to(dtype)
    assert torch.equal(grid.wrap(pos), pos)


def test_the_derivative_of_wrapping_is_the_identity():
    grid = Grid((1.0, 0.1), 4)
    pos = torch.tensor([[0.5, 0.05], [-3.2, 0.1], [1.0, -1e-30], [2.0, 0.0]], requires_grad=True)
    (gradient,) = torch.autograd.grad(grid.wrap(pos).sum(), pos)
    assert torch.equal(gradient, torch.ones_like(pos))


def test_nodes():
    grid = Grid((2.0, 3.0), (4, 6), origin=(-1.0, 0.5))
    assert (grid.d, grid.shape, grid.nodes, grid.spacing) == (2, (4, 6), 24, (0.5, 0.5))
    assert (grid.cell_volume, grid.volume) == (0.25, 6.0)
    x, y = grid.axes(torch.zeros(1, dtype=torch.float64))
    assert x.tolist() == [-1.0, -0.5, 0.0, 0.5]
    assert y.tolist() == [0.5, 1.0, 1.5, 2.0, 2.5, 3.0]
    bounded = Grid((2.0, 3.0), (4, 6), origin=(-1.0, 0.5), periodic=False)
    assert (bounded.shape, bounded.nodes, bounded.cell_volume) == ((5, 7), 35, 0.25)
    assert bounded.axes(torch.zeros(1))[0].tolist() == [-1.0, -0.5, 0.0, 0.5, 1.0]


def test_grids_are_equal_by_their_numbers():
    assert Grid(1.0, 8) == Grid([1.0], (8,)) != Grid(1.0, 8, periodic=False)
    assert len({Grid(1.0, 8), Grid([1.0], (8,)), Grid(1.0, 9)}) == 2


def test_a_bounded_box_moves_nothing():
    pos = torch.tensor([[0.0], [0.3], [1.0]])
    assert torch.equal(Grid(1.0, 4, periodic=False).wrap(pos), pos)


@pytest.mark.parametrize(
    ("arguments", "options", "text"),
    [
        ((0.0, 8), {}, "'lengths' must be positive (got 0.0)"),
        (("long", 8), {}, "'lengths' must be a positive number (got 'long')"),
        (((), 8), {}, "'lengths' must be 1, 2 or 3 numbers (got 0)"),
        (((1.0,) * 4, 8), {}, "'lengths' must be 1, 2 or 3 numbers (got 4)"),
        ((1.0, 3), {}, "'cells' must be an integer >= 4 (got 3)"),
        ((1.0, 8.0), {}, "'cells' must be an integer >= 4 (got 8.0)"),
        ((1.0, (8, 8)), {}, "'cells' must be one number or one for each of 1 directions (got 2)"),
        ((1.0, 8), {"origin": math.nan}, "'origin' must be a finite number (got nan)"),
        ((1.0, 8), {"periodic": 1}, "'periodic' must be True or False (got 1)"),
    ],
)
def test_refuses_numbers_out_of_range(arguments, options, text):
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        Grid(*arguments, **options)


@pytest.mark.parametrize(
    ("pos", "text"),
    [
        (torch.tensor([[0.5], [1.25], [-1.0]]), "'pos' must be in [0, 1] (got 2 of 3 particles outside)"),
        (torch.tensor([[torch.nan]]), "'pos' must be finite (got 1 non-finite of 1 entries)"),
        (torch.zeros(3, 2), "'pos' must have shape (N, 1) (got (3, 2))"),
        (torch.zeros(3, 1, dtype=torch.int64), "'pos' must be float32 or float64 (got torch.int64)"),
    ],
)
def test_refuses_positions(pos, text):
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        Grid(1.0, 4, periodic=False).wrap(pos)
