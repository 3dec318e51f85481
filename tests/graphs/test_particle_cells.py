"""The graph between particles and nodes: weights against SciPy's B-splines, moments, both kinds of box."""

from __future__ import annotations

import re
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import BSpline

from graphlandau.fields import Grid
from graphlandau.graphs import Stencil, particle_cells


def box(d: int, periodic: bool = True) -> Grid:
    return Grid((3.0, 2.0, 5.0)[:d], (6, 5, 4)[:d], origin=(-1.0, 0.5, 2.0)[:d], periodic=periodic)


def points(grid: Grid, n: int, seed: int, inset: float = 0.0) -> torch.Tensor:
    """Uniform in the box, ``inset`` cells from its ends; with a negative one beyond them."""
    u = torch.rand(n, grid.d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    low = torch.tensor(grid.origin, dtype=torch.float64) + inset * torch.tensor(grid.spacing, dtype=torch.float64)
    high = low + torch.tensor(grid.lengths) - 2 * inset * torch.tensor(grid.spacing, dtype=torch.float64)
    return low + u * (high - low)


def dense(pos: torch.Tensor, grid: Grid, order: int) -> np.ndarray:
    """SciPy's cardinal B-spline at every node and its periodic images, all directions multiplied."""
    spline = BSpline.basis_element(np.arange(order + 2) - (order + 1) / 2, extrapolate=False)
    out = np.ones((len(pos), 1))
    for axis, nodes in enumerate(grid.axes(pos)):
        distance = (pos[:, axis, None] - nodes).numpy() / grid.spacing[axis]
        images = range(-9, 10) if grid.periodic else [0]
        values = sum(np.nan_to_num(spline(distance + k * grid.cells[axis])) for k in images)
        out = (out[:, :, None] * values[:, None, :]).reshape(len(pos), -1)
    return out


cases = given(d=st.integers(1, 3), order=st.integers(0, 3), periodic=st.booleans(), seed=st.integers(0, 2**31))


@cases
@settings(max_examples=60, deadline=None)
def test_weights_are_b_splines(d, order, periodic, seed):
    grid = box(d, periodic)
    pos = points(grid, 7, seed, inset=-8.0 if periodic else max(0.0, (order - 1) / 2))
    stencil = particle_cells(pos, grid, order)
    got = torch.zeros(7, grid.nodes, dtype=torch.float64)
    particle, node = stencil.edge_index()
    got.index_put_((particle, node), stencil.edge_weight(), accumulate=True)
    # Positions of up to 10 boxes round by 1e-14; slopes of splines are below 1 a cell.
    np.testing.assert_allclose(got.numpy(), dense(pos, grid, order), rtol=0, atol=1e-13)
    assert stencil.edges == particle.numel() == (order + 1) ** d * 7


@cases
@settings(max_examples=60, deadline=None)
def test_moments_of_the_weights(d, order, periodic, seed):
    """Total 1, mean at the particle from order 1 on, variance (p + 1) / 12 cells from order 2 on; none negative."""
    grid = box(d, periodic)
    pos = points(grid, 7, seed, inset=max(0.0, (order - 1) / 2))
    stencil = particle_cells(pos, grid, order)
    one = torch.ones(7, dtype=torch.float64)
    for axis, (index, weight) in enumerate(zip(stencil.index, stencil.weight, strict=True)):
        assert bool((weight >= 0).all())
        z = (grid.axes(pos)[axis][index] - pos[:, axis]) / grid.spacing[axis]
        if periodic:
            z = z - grid.cells[axis] * torch.round(z / grid.cells[axis])
        torch.testing.assert_close(weight.sum(0), one, rtol=0, atol=1e-15)
        if order >= 1:
            torch.testing.assert_close((weight * z).sum(0), 0 * one, rtol=0, atol=1e-14)
        if order >= 2:
            torch.testing.assert_close((weight * z**2).sum(0), (order + 1) / 12 * one, rtol=0, atol=1e-14)


@pytest.mark.parametrize("order", [0, 1, 2, 3])
def test_a_whole_box_farther_on_has_the_same_nodes(order):
    grid = box(2)
    pos = points(grid, 20, seed=3)
    near, far = particle_cells(pos, grid, order), particle_cells(pos + torch.tensor([6.0, -4.0]), grid, order)
    assert torch.equal(near.edge_index(), far.edge_index())
    torch.testing.assert_close(near.edge_weight(), far.edge_weight(), rtol=0, atol=1e-13)


def test_the_parts_of_a_stencil_are_the_stencils_of_its_parts(monkeypatch):
    """Bit for bit, and joined to the same graph."""
    grid, pos = box(2), points(box(2), 20, seed=3)
    whole = particle_cells(pos, grid, 2)
    monkeypatch.setattr(sys.modules[Stencil.__module__], "PARTICLES_AT_ONCE", 7)
    assert torch.equal(particle_cells(pos, grid, 2).edge_weight(), whole.edge_weight())
    assert torch.equal(particle_cells(pos, grid, 2).edge_index(), whole.edge_index())
    parts = list(whole.parts(pos))
    assert [part.particles for part, _ in parts] == [7, 7, 6]
    for part, own in parts:
        assert torch.equal(part.edge_weight(), particle_cells(own, grid, 2).edge_weight())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("order", [0, 1, 2, 3])
def test_nodes_exist_and_weights_sum_to_one_at_the_ends(order, dtype):
    """Next to an end of the box rounding may put a particle in the cell beyond."""
    ends = torch.tensor([0.0, 0.1, 0.7, 1e6, -1e6, 3e-39], dtype=dtype)
    pos = torch.cat([ends, torch.nextafter(ends, ends + 1), torch.nextafter(ends, ends - 1)])[:, None]
    grid = Grid(0.1, 7)
    stencil = particle_cells(pos, grid, order)
    _, node = stencil.edge_index()
    assert int(node.min()) >= 0
    assert int(node.max()) < grid.nodes
    total = stencil.weight[0].sum(0)
    torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=2 * torch.finfo(dtype).eps)


@pytest.mark.parametrize(("order", "low", "high"), [(0, 0.0, 2.0), (1, 0.0, 2.0), (2, 0.25, 1.75), (3, 0.5, 1.5)])
def test_in_a_bounded_box_particles_are_allowed_where_all_their_nodes_exist(order, low, high):
    grid = Grid(2.0, 4, periodic=False)
    stencil = particle_cells(torch.tensor([[low], [1.0], [high]]), grid, order)
    _, node = stencil.edge_index()
    assert int(node.min()) >= 0
    assert int(node.max()) < grid.nodes
    assert stencil.weight[0].sum(0).tolist() == [1.0, 1.0, 1.0]
    if order >= 1:
        assert (stencil.weight[0] * stencil.index[0]).sum(0).tolist() == [2 * low, 2.0, 2 * high]


@pytest.mark.parametrize(("order", "interval"), [(1, "[0, 2]"), (2, "[0.25, 1.75]"), (3, "[0.5, 1.5]")])
def test_refuses_stencils_over_the_edge_of_a_bounded_box(order, interval):
    grid = Grid(2.0, 4, periodic=False)
    text = f"'pos' must be in {interval} (got 2 of 3 particles outside)"
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        particle_cells(torch.tensor([[1.0], [-0.01], [2.01 if order == 1 else 1.99]]), grid, order)


@pytest.mark.parametrize(
    ("pos", "order", "text"),
    [
        (torch.zeros(3, 1), 4, "'order' must be 0, 1, 2 or 3 (got 4)"),
        (torch.zeros(3, 1), -1, "'order' must be an integer >= 0 (got -1)"),
        (torch.zeros(3, 1), True, "'order' must be an integer >= 0 (got True)"),
        (torch.zeros(3, 2), 1, "'pos' must have shape (N, 1) (got (3, 2))"),
        (torch.full((3, 1), torch.inf), 1, "'pos' must be finite (got 3 non-finite of 3 entries)"),
        (
            torch.zeros(3, 1, requires_grad=True),
            0,
            "'pos' must not require grad at order 0, whose weights do not change with it (got order=0)",
        ),
    ],
)
def test_refuses_bad_input(pos, order, text):
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        particle_cells(pos, Grid(1.0, 4), order)


@pytest.mark.parametrize(("dtype", "far"), [(torch.float32, 1e9), (torch.float64, 1e20)])
def test_positions_from_anywhere_find_their_nodes(dtype, far):
    grid = Grid(3.0, 7)
    pos = torch.tensor([[far], [-far], [0.3 * far]], dtype=dtype)
    for order in range(4):
        stencil = particle_cells(pos, grid, order)
        (index,), (weight,) = stencil.index, stencil.weight
        assert int(index.min()) >= 0
        assert int(index.max()) < 7
        # A partition of unity to rounding, also where positions have no digits left for the place in a cell.
        torch.testing.assert_close(weight.sum(0), torch.ones(3, dtype=dtype))
