"""The current that conserves charge: continuity for any motion, Esirkepov's weights, streams."""

from __future__ import annotations

import itertools
import math
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from graphlandau.fields import Grid, conserving_current
from graphlandau.nn import Deposit


def box(d: int) -> Grid:
    return Grid((3.0, 2.0, 5.0)[:d], (12, 9, 8)[:d], origin=(-1.0, 0.5, 2.0)[:d])


def divergence(J: torch.Tensor, grid: Grid) -> torch.Tensor:
    """Backward differences, written out here once more."""
    total = torch.zeros(grid.shape, dtype=J.dtype)
    for a, h in enumerate(grid.spacing):
        total += (J[..., a] - torch.roll(J[..., a], 1, a)) / h
    return total


cases = given(
    n=st.integers(1, 20),
    d=st.integers(1, 3),
    order=st.integers(0, 3),
    cells=st.sampled_from([0.1, 1.0, 7.0, 100.0]),
    seed=st.integers(0, 2**31),
)


def example(n: int, d: int, cells: float, seed: int):
    """Positions, motion of so many cells of the first direction, charges of both signs."""
    generator = torch.Generator().manual_seed(seed)
    pos = 10 * torch.rand(n, d, generator=generator, dtype=torch.float64)
    displacement = cells * 0.25 * torch.randn(n, d, generator=generator, dtype=torch.float64)
    return pos, displacement, torch.randn(n, generator=generator, dtype=torch.float64)


@cases
@settings(max_examples=80, deadline=None)
def test_continuity_and_mean(n, d, order, cells, seed):
    """div J = -(rho1 - rho0) / dt at every node, and the mean of J is that of the particles, for any displacement."""
    grid, dt = box(d), 0.3
    deposit = Deposit(grid, order)
    start, displacement, charge = example(n, d, cells, seed)
    J = conserving_current(deposit, start, displacement, charge, dt)
    assert J.shape == (*grid.shape, d)
    before, after = deposit(start, charge), deposit(start + displacement, charge)
    change = (after - before) / (grid.cell_volume * dt)
    # 1.6e-16 times this scale measured over 384 cases, for the divergence.
    scale = n * (1 + cells) / (dt * grid.cell_volume)
    torch.testing.assert_close(divergence(J, grid), -change, rtol=0, atol=1e-14 * scale)
    mean = (charge[:, None] * displacement).sum(0) / (dt * grid.volume)
    torch.testing.assert_close(J.mean(tuple(range(d))), mean, rtol=0, atol=1e-14 * scale)


def shape_function(x: float, n: int, order: int) -> torch.Tensor:
    """Weights of one particle along a line of ``n`` cells of width 1."""
    grid = Grid(float(n), n)
    return Deposit(grid, order)(torch.tensor([[x]], dtype=torch.float64), torch.ones(1, dtype=torch.float64))


@pytest.mark.parametrize("order", [1, 2, 3])
def test_one_particle_in_three_dimensions_has_esirkepovs_weights(order):
    """Comput. Phys. Commun. 135 (2001) 144, far from the ends: J is a plain partial sum of his weights W."""
    grid, dt = Grid((10.0, 10.0, 10.0), 10), 0.5
    start, end, q = (4.3, 5.1, 4.8), (4.9, 4.4, 5.5), 1.7
    s = [shape_function(x, 10, order) for x in start]
    ds = [shape_function(x, 10, order) - s0 for x, s0 in zip(end, s, strict=True)]
    J = conserving_current(
        Deposit(grid, order),
        torch.tensor([start], dtype=torch.float64),
        torch.tensor([end], dtype=torch.float64) - torch.tensor([start], dtype=torch.float64),
        torch.tensor([q], dtype=torch.float64),
        dt,
    )
    for a in range(3):
        b, c = (a + 1) % 3, (a + 2) % 3
        transverse = torch.einsum("j,k->jk", s[b], s[c]) + torch.einsum("j,k->jk", ds[b], ds[c]) / 3
        transverse += (torch.einsum("j,k->jk", ds[b], s[c]) + torch.einsum("j,k->jk", s[b], ds[c])) / 2
        w = ds[a][:, None, None] * transverse
        want = (-q / dt * torch.cumsum(w, 0)).movedim((0, 1, 2), (a, b, c))
        torch.testing.assert_close(J[..., a], want, rtol=0, atol=1e-14)


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("cells", [0.3, 2.7, -15.0])
def test_a_uniform_stream_has_a_uniform_current(d, order, cells):
    """Particles on a lattice of three in each cell are a uniform density at any time: J = rho v on every face."""
    grid, dt = box(d), 0.2
    axes = [
        o + h * (torch.arange(3 * n, dtype=torch.float64) + 0.5) / 3
        for o, h, n in zip(grid.origin, grid.spacing, grid.cells, strict=True)
    ]
    pos = torch.cartesian_prod(*axes).view(-1, d)
    velocity = cells * torch.tensor((0.5, -0.2, 0.9)[:d], dtype=torch.float64)
    charge = torch.full((len(pos),), grid.volume / len(pos), dtype=torch.float64)
    J = conserving_current(Deposit(grid, order), pos, (dt * velocity).expand_as(pos), charge, dt)
    # Sums of thousands of terms, |v| up to 13, divided by dt.
    torch.testing.assert_close(J, velocity.expand_as(J), rtol=0, atol=1e-12)


def test_one_particle_inside_a_cell_has_its_current_on_one_face():
    grid = Grid(4.0, 8)
    start = torch.tensor([[1.1]], dtype=torch.float64)
    one = torch.ones(1, dtype=torch.float64)
    J = conserving_current(Deposit(grid), start, 0.2 * one[:, None], one, 0.1)
    want = torch.zeros(8, 1, dtype=torch.float64)
    want[2] = 0.2 / 0.1 / 0.5
    torch.testing.assert_close(J, want, rtol=0, atol=1e-14)


@pytest.mark.parametrize("order", [0, 1, 2, 3])
def test_in_one_dimension_the_charge_that_passes_a_face_adds_up_over_steps(order):
    start, displacement, charge = example(9, 1, 7.0, 3)
    deposit = Deposit(box(1), order)
    whole = conserving_current(deposit, start, displacement, charge, 1.0)
    first = conserving_current(deposit, start, 0.3 * displacement, charge, 1.0)
    second = conserving_current(deposit, start + 0.3 * displacement, 0.7 * displacement, charge, 1.0)
    torch.testing.assert_close(first + second, whole, rtol=0, atol=1e-12)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_symmetries(order):
    """Exchange of the two directions exchanges the components; motion back is the opposite current; rest is none."""
    grid, dt = Grid((3.0, 2.0), (12, 9)), 0.3
    start, displacement, charge = example(9, 2, 5.0, 4)
    J = conserving_current(Deposit(grid, order), start, displacement, charge, dt)
    swapped = Deposit(Grid((2.0, 3.0), (9, 12)), order)
    other = conserving_current(swapped, start.flip(1), displacement.flip(1), charge, dt)
    torch.testing.assert_close(other, J.flip(2).transpose(0, 1), rtol=0, atol=1e-11)
    back = conserving_current(Deposit(grid, order), start + displacement, -displacement, charge, dt)
    torch.testing.assert_close(back, -J, rtol=0, atol=1e-11)
    assert not conserving_current(Deposit(grid, order), start, 0 * displacement, charge, dt).any()


def test_small_displacements_give_the_deposited_momentum():
    """As dt -> 0 the mean of J over the two faces of a node is q v spread by the shape; at order 2, to O(h^2)."""
    errors = []
    for n in (32, 64, 128):
        grid = Grid(1.0, n)
        (x,) = grid.axes(torch.zeros(1, dtype=torch.float64))
        pos = (torch.arange(64 * n, dtype=torch.float64)[:, None] + 0.5) / (64 * n)
        charge = (1 + 0.5 * torch.cos(2 * math.pi * pos[:, 0])) / (64 * n)
        velocity = 1 + 0.3 * torch.sin(2 * math.pi * pos)
        J = conserving_current(Deposit(grid, 2), pos, 1e-6 * velocity, charge, 1e-6)[:, 0]
        exact = (1 + 0.5 * torch.cos(2 * math.pi * x)) * (1 + 0.3 * torch.sin(2 * math.pi * x))
        errors.append(float(((J + J.roll(1)) / 2 - exact).abs().max()))
    for coarse, fine in itertools.pairwise(errors):
        assert math.log2(coarse / fine) == pytest.approx(2, abs=0.1)


def test_derivatives():
    start, displacement, charge = example(2, 2, 3.0, 6)
    deposit = Deposit(box(2), 2)
    inputs = (start.requires_grad_(), displacement.requires_grad_(), charge.requires_grad_())
    torch.autograd.gradcheck(lambda *x: conserving_current(deposit, *x, 0.3), inputs, fast_mode=True)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"deposit": Deposit(Grid(1.0, 4, periodic=False))}, "'deposit' must have a periodic grid (got Grid("),
        ({"start": torch.zeros(3, 2)}, "'start' must have shape (N, 1) (got (3, 2))"),
        ({"displacement": torch.zeros(2, 1)}, "'displacement' must have the shape and dtype of 'start', (3, 1), torch"),
        ({"displacement": torch.full((3, 1), torch.nan)}, "'displacement' must be finite (got 3 non-finite of 3"),
        ({"charge": torch.ones(2)}, "'charge' must have shape (3,) (got (2,))"),
        ({"charge": 1.0}, "'charge' must have shape (3,) (got float)"),
        ({"charge": torch.ones(3, dtype=torch.float64)}, "'charge' must have the dtype of 'start', torch.float32"),
        ({"dt": 0.0}, "'dt' must not be 0 (got 0.0)"),
        ({"dt": math.inf}, "'dt' must be a finite number (got inf)"),
    ],
)
def test_refuses_bad_input(change, text):
    arguments = {
        "deposit": Deposit(Grid(1.0, 4)),
        "start": torch.zeros(3, 1),
        "displacement": torch.zeros(3, 1),
        "charge": torch.ones(3),
        "dt": 0.1,
    }
    with pytest.raises(ValueError, match=f"^{re.escape(text)}[^\n]*$"):
        conserving_current(**{**arguments, **change})
