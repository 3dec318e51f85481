"""Gather: the adjoint of Deposit, what it reproduces and how fast it converges, derivatives."""

from __future__ import annotations

import math
import re
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from graphlandau.fields import Ampere, Grid, Poisson, conserving_current
from graphlandau.graphs import Stencil, particle_cells
from graphlandau.nn import Deposit, Gather


def box(d: int, periodic: bool = True) -> Grid:
    return Grid((3.0, 2.0, 5.0)[:d], (6, 5, 4)[:d], origin=(-1.0, 0.5, 2.0)[:d], periodic=periodic)


def example(n: int, grid: Grid, seed: int, dtype: torch.dtype = torch.float64, q: int | None = None):
    """Positions where every order is allowed in a bounded box, and a random field."""
    generator = torch.Generator().manual_seed(seed)
    u = torch.rand(n, grid.d, generator=generator, dtype=torch.float64)
    low = [o + h for o, h in zip(grid.origin, grid.spacing, strict=True)]
    width = [x - 2 * h for x, h in zip(grid.lengths, grid.spacing, strict=True)]
    pos = torch.tensor(low, dtype=torch.float64) + u * torch.tensor(width, dtype=torch.float64)
    field = torch.randn(*grid.shape, *([] if q is None else [q]), generator=generator, dtype=torch.float64)
    return pos.to(dtype), field.to(dtype)


cases = given(
    n=st.integers(1, 30),
    d=st.integers(1, 3),
    order=st.integers(0, 3),
    q=st.sampled_from([None, 1, 3]),
    periodic=st.booleans(),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    seed=st.integers(0, 2**31),
)


@cases
@settings(max_examples=60, deadline=None)
def test_is_the_adjoint_of_deposit(n, d, order, q, periodic, dtype, seed):
    """<deposit(values), field> = <values, gather(field)>, on either backend of either layer."""
    grid = box(d, periodic)
    pos, field = example(n, grid, seed, dtype, q)
    values = torch.randn(n, *field.shape[d:], generator=torch.Generator().manual_seed(seed + 1)).to(dtype)
    one, other = ("fused", "edges") if seed % 2 else ("edges", "fused")
    gathered = Gather(grid, order, other)(pos, field)
    assert gathered.shape == values.shape
    assert gathered.dtype == dtype
    left = (Deposit(grid, order, one)(pos, values) * field).double().sum()
    right = (values * gathered).double().sum()
    # Up to 90 products below 25, each to a few eps.
    torch.testing.assert_close(left, right, rtol=0, atol=90 * 25 * 4 * torch.finfo(dtype).eps)


@cases
@settings(max_examples=40, deadline=None)
def test_both_backends_are_the_sum_over_the_edges(n, d, order, q, periodic, dtype, seed):
    grid = box(d, periodic)
    pos, field = example(n, grid, seed, dtype, q)
    stencil = particle_cells(pos, grid, order)
    matrix = torch.zeros(n, grid.nodes, dtype=dtype)
    matrix.index_put_(tuple(stencil.edge_index()), stencil.edge_weight(), accumulate=True)
    want = (matrix @ field.reshape(grid.nodes, -1)).view(n, *field.shape[d:])
    for backend in ("fused", "edges"):
        got = Gather(grid, order, backend)(pos, field, stencil=stencil)
        # A weighted mean of values below 5 over up to 64 nodes.
        torch.testing.assert_close(got, want, rtol=0, atol=64 * 5 * torch.finfo(dtype).eps)


@pytest.mark.parametrize("order", [0, 1, 2, 3])
def test_polynomials_up_to_the_degree_of_the_spline(order):
    """A spline of order p on the nodes is the field averaged over p + 1 uniform steps of one cell.

    For degrees up to p this is exact: constants and linear functions are reproduced, a square gains the variance
    (p + 1) h^2 / 12 of the steps, a cube three times that times x.
    """
    grid = Grid(3.0, 10, origin=-1.0, periodic=False)
    pos, _ = example(50, grid, seed=1)
    x, h = pos[:, 0], grid.spacing[0]
    (nodes,) = grid.axes(pos)
    variance = (order + 1) / 12 * h**2
    averaged = [torch.ones_like(x), x, x**2 + variance, x**3 + 3 * x * variance]
    for degree in range(order + 1):
        torch.testing.assert_close(Gather(grid, order)(pos, nodes**degree), averaged[degree], rtol=0, atol=1e-13)


@pytest.mark.parametrize("d", [2, 3])
def test_multilinear_fields_are_reproduced(d):
    grid = box(d, periodic=False)
    pos, _ = example(50, grid, seed=2)
    mesh = torch.meshgrid(*grid.axes(pos), indexing="ij")
    for order in (1, 2, 3):
        got = Gather(grid, order)(pos, torch.stack([1 + math.prod(mesh), mesh[0] - 2 * mesh[-1]], dim=-1))
        # Values of up to 1 + 2 x 2.5 x 7.
        torch.testing.assert_close(got[:, 0], 1 + pos.prod(1), rtol=0, atol=1e-13)
        torch.testing.assert_close(got[:, 1], pos[:, 0] - 2 * pos[:, -1], rtol=0, atol=1e-13)


@pytest.mark.parametrize(("order", "rate"), [(0, 1), (1, 2), (2, 2), (3, 2)])
def test_order_of_convergence(order, rate):
    """Of a sine: first order for the nearest node, second for splines, from order 2 on with error f'' (p+1)/24 h^2."""
    errors, steps = [], []
    pos = torch.linspace(0, 1, 1000, dtype=torch.float64)[:, None]
    for cells in (16, 32, 64, 128):
        grid = Grid(1.0, cells)
        (nodes,) = grid.axes(pos)
        error = Gather(grid, order)(pos, torch.sin(2 * math.pi * nodes)) - torch.sin(2 * math.pi * pos[:, 0])
        errors.append(math.log(float(error.abs().max())))
        steps.append(math.log(grid.spacing[0]))
    slopes = [(b - a) / (t - s) for a, b, s, t in zip(errors, errors[1:], steps, steps[1:], strict=False)]
    assert max(abs(slope - rate) for slope in slopes) < 0.1
    if order >= 2:
        assert math.exp(errors[-1]) == pytest.approx((2 * math.pi / 128) ** 2 * (order + 1) / 24, rel=0.01)


@pytest.mark.parametrize("order", [2, 3])
def test_the_gathered_field_is_smooth_from_order_2(order):
    """Its derivative is continuous where stencils change: on either side of 30 places half a cell apart."""
    grid = Grid(3.0, 15)
    field = torch.randn(15, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    kinks = 0.1 * torch.arange(1, 30, dtype=torch.float64)[:, None]

    def slope(x: torch.Tensor) -> torch.Tensor:
        return torch.func.grad(lambda y: Gather(grid, order)(y, field).sum())(x)

    # Second derivatives are below 4 max|field| / h^2 = 218.
    torch.testing.assert_close(slope(kinks - 1e-9), slope(kinks + 1e-9), rtol=0, atol=2e-9 * 218)


@pytest.mark.parametrize("backend", ["fused", "edges"])
@pytest.mark.parametrize(("d", "order"), [(1, 1), (1, 2), (1, 3), (2, 1), (2, 3), (3, 1), (3, 2)])
def test_derivatives(d, order, backend, monkeypatch):
    """Particles in two parts: finite differences in the field and positions, and once more of the derivatives."""
    monkeypatch.setattr(sys.modules[Stencil.__module__], "PARTICLES_AT_ONCE", 2)
    grid = box(d)
    pos, field = example(3, grid, 5, q=2)
    layer = Gather(grid, order, backend)
    inputs = (pos.requires_grad_(), field.requires_grad_())
    torch.autograd.gradcheck(layer, inputs, fast_mode=True)
    torch.autograd.gradgradcheck(layer, inputs, fast_mode=True)


@pytest.mark.parametrize("backend", ["fused", "edges"])
def test_function_transforms(backend):
    """jvp is the product with the Jacobian of reverse mode; a batch by vmap is one call each."""
    grid = box(2)
    pos, field = example(4, grid, 7)
    layer = Gather(grid, 3, backend)
    along = torch.ones_like(pos)
    _, tangent = torch.func.jvp(lambda x: layer(x, field), (pos,), (along,))
    jacobian = torch.autograd.functional.jacobian(lambda x: layer(x, field), pos)
    assert isinstance(jacobian, torch.Tensor)
    torch.testing.assert_close(tangent, (jacobian * along).sum((-1, -2)))
    several = torch.stack([field, 2 * field, field**2])
    batched = torch.func.vmap(lambda x: layer(pos, x))(several)
    torch.testing.assert_close(batched, torch.stack([layer(pos, x) for x in several]))


@pytest.mark.gpu
@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("order", [0, 1, 2, 3])
def test_a_step_is_the_same_on_cuda(order, d):
    """Deposit, Poisson, Gather, their gradients by the charge, and the current: float64, up to the order of sums."""
    results = []
    for device in ("cpu", "cuda"):
        grid = box(d)
        pos, _ = (x.to(device) for x in example(50, grid, 11))
        charge = torch.linspace(-1, 2, 50, dtype=torch.float64, device=device, requires_grad=True)
        deposit, gather = Deposit(grid, order), Gather(grid, order)
        force = gather(pos, Poisson(grid)(deposit(pos, charge)))
        (gradient,) = torch.autograd.grad(force.square().sum(), charge)
        current = conserving_current(deposit, pos, 0.3 * pos, charge.detach(), 0.1)
        after = Ampere(grid).advance(torch.zeros_like(current), current, 0.1)
        results.append([x.detach().cpu() for x in (force, gradient, current, after)])
    torch.testing.assert_close(*results, rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    ("field", "text"),
    [
        (torch.ones(5), "'field' must have shape (4) or (4, q) with q >= 1 (got (5,))"),
        (torch.ones(4, 0), "'field' must have shape (4) or (4, q) with q >= 1 (got (4, 0))"),
        (torch.ones(4, 1, 1), "'field' must have shape (4) or (4, q) with q >= 1 (got (4, 1, 1))"),
        (None, "'field' must have shape (4) or (4, q) with q >= 1 (got NoneType)"),
        (torch.ones(4, dtype=torch.float64), "'field' must have the dtype of 'pos', torch.float32 (got torch.float64)"),
        (torch.full((4,), torch.inf), "'field' must be finite (got 4 non-finite of 4 entries)"),
    ],
)
def test_refuses_bad_fields(field, text):
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        Gather(Grid(1.0, 4))(torch.zeros(3, 1), field)


@given(
    sizes=st.lists(st.integers(1, 12), min_size=1, max_size=4),
    d=st.integers(1, 3),
    order=st.integers(0, 3),
    q=st.sampled_from([None, 2]),
    backend=st.sampled_from(["fused", "edges"]),
    seed=st.integers(0, 2**31),
)
@settings(deadline=None, max_examples=40)
def test_each_plasma_of_a_batch_has_the_field_of_its_own_grid(sizes, d, order, q, backend, seed):
    grid, generator = box(d), torch.Generator().manual_seed(seed)
    pos, _ = example(sum(sizes), grid, seed)
    fields = torch.randn(len(sizes), *grid.shape, *([] if q is None else [q]), generator=generator).double()
    shuffled = torch.randperm(sum(sizes), generator=generator)
    batch = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))[shuffled]
    gather = Gather(grid, order, backend)
    found = gather(pos, fields, batch=batch)
    for b, field in enumerate(fields):
        torch.testing.assert_close(found[batch == b], gather(pos[batch == b], field))
    # Still the adjoint of the deposit.
    values = torch.randn(found.shape, generator=generator, dtype=torch.float64)
    sums = Deposit(grid, order, backend)(pos, values, batch=batch)
    torch.testing.assert_close((sums * fields[: len(sums)]).sum(), (values * found).sum())


@pytest.mark.bad_input
def test_refuses_fields_that_do_not_fit_the_batch():
    gather, pos = Gather(box(1)), torch.zeros(2, 1)
    with pytest.raises(ValueError, match=r"'field' must have shape \(B, 6\) or \(B, 6, q\)"):
        gather(pos, torch.zeros(6), batch=torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="'copy' must be from 0 to 1"):
        gather(pos, torch.zeros(2, 6), batch=torch.tensor([0, 2]))
