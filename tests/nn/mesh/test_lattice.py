"""Convolutions on lattices over particles: direct sums over the nodes, symmetric, block by block, of bounded memory."""

from __future__ import annotations

import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import graphlandau.nn.mesh.lattice as mesh_module
from graphlandau.graphs.partition import Partition
from graphlandau.nn.mesh.lattice import Mesh, MeshTooLarge

# Uneven, unsorted blocks.
BLOCKS = torch.tensor([2, 0, 1, 0, 2, 1])


def sample(n: int, d: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def mesh_over(x: Tensor, batch: Tensor | None = None, spacing: float | list[float] = 0.5, **options) -> Mesh:
    partition = Partition.from_batch(batch, x)
    width = torch.as_tensor(spacing, dtype=torch.float64).expand(partition.count)
    return Mesh.over(x, partition, width, **options)


def lorentzian(r2: Tensor) -> Tensor:
    """A kernel without end: what comes around the padded lattice would be seen."""
    return 1 / (1 + 0.3 * r2)


def kernel_of(padded: tuple[int, ...], function=lorentzian, dtype: torch.dtype = torch.float64) -> Tensor:
    """The transform of a kernel sampled on the padded lattice; its spline is not taken out."""
    r2 = torch.zeros((), dtype=torch.float64)
    for axis, n in enumerate(padded):
        z = torch.fft.fftfreq(n, 1 / n, dtype=torch.float64)
        r2 = r2 + z.square().view([-1 if b == axis else 1 for b in range(len(padded))])
    return torch.fft.rfftn(function(r2)).real.to(dtype)


def apply(mesh: Mesh, values: Tensor, function=lorentzian) -> Tensor:
    kernel = kernel_of(mesh.padded, function, values.dtype)

    def multiply(transformed: Tensor):
        for x in transformed.unbind(1):
            yield kernel * x

    return mesh.gather(mesh.fields(values, multiply))


def by_hand(x: Tensor, values: Tensor, mesh: Mesh, function=lorentzian) -> Tensor:
    """The sum over pairs of particles and pairs of their nodes, from the definition of the spline; one block."""
    place = (x - mesh.low) / mesh.spacing
    out = torch.zeros_like(values)
    nodes, weights = [], []
    for p in place:
        first = p.floor() - 1
        offsets = torch.cartesian_prod(*[torch.arange(4, dtype=x.dtype)] * x.size(1)).view(-1, x.size(1))
        z = (p - first - offsets).abs()
        tent = torch.where(z < 1, 2 / 3 - z**2 + z**3 / 2, (2 - z).clamp_min(0) ** 3 / 6)
        nodes.append(first + offsets)
        weights.append(tent.prod(1))
    for i in range(len(x)):
        for j in range(len(x)):
            r2 = (nodes[i][:, None] - nodes[j]).square().sum(-1)
            out[i] += weights[i] @ function(r2) @ weights[j] * values[j]
    return out


@given(st.integers(2, 6), st.sampled_from([1, 2, 3]), st.sampled_from([0.2, 0.7, 3.0]), st.integers(0, 2**31))
@settings(max_examples=20, deadline=None)
def test_is_the_sum_over_pairs_of_nodes(n, d, spacing, seed):
    """Nothing comes around the padded lattice, whatever the extent of the particles."""
    x, values = sample(n, d, seed), sample(n, 2, seed + 1)
    mesh = mesh_over(x, spacing=spacing if d < 3 else max(spacing, 0.5))
    scale = float(values.abs().sum())
    torch.testing.assert_close(apply(mesh, values), by_hand(x, values, mesh), rtol=0, atol=1e-12 * scale)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("d", [2, 3])
def test_of_an_even_kernel_the_sum_is_symmetric(d, dtype):
    """<a, K b> = <K a, b>: spreading and gathering are adjoint; a rounding of each of some 1e3 terms."""
    x = sample(1000, d, dtype=dtype)
    a, b = sample(1000, 1, 1, dtype), sample(1000, 1, 2, dtype)
    mesh = mesh_over(x)
    ka, kb = apply(mesh, a).double(), apply(mesh, b).double()
    left, right = float((a.double() * kb).sum()), float((ka * b.double()).sum())
    scale = float((a.double() * kb).norm())
    assert abs(left - right) < 50 * torch.finfo(dtype).eps * scale


def test_blocks_have_lattices_of_their_own():
    """Each block as if it were alone, with its own spacing and place, although all have the shape of the widest."""
    x = sample(6, 2) * torch.tensor([1.0, 5.0, 0.3], dtype=torch.float64)[BLOCKS][:, None]
    x = x + torch.tensor([0.0, 100.0, -7.0], dtype=torch.float64)[BLOCKS][:, None]
    values, spacing = sample(6, 3, 1), [0.3, 1.0, 0.1]
    together = apply(mesh_over(x, BLOCKS, spacing), values)
    for block, width in enumerate(spacing):
        inside = block == BLOCKS
        alone = apply(mesh_over(x[inside], spacing=width), values[inside])
        torch.testing.assert_close(together[inside], alone, rtol=0, atol=1e-12)


def test_blocks_do_not_meet():
    """What another block carries changes no bit."""
    x, values = sample(6, 2), sample(6, 1, 1)
    mesh = mesh_over(x, BLOCKS, 0.3)
    changed = torch.where((BLOCKS == 1)[:, None], 1e6 * values, values)
    others = BLOCKS != 1
    assert torch.equal(apply(mesh, values)[others], apply(mesh, changed)[others])


def test_blocks_come_in_parts(monkeypatch):
    """However many blocks are transformed at a time, the numbers are the same."""
    x, values = sample(6, 2), sample(6, 2, 1)
    mesh = mesh_over(x, BLOCKS, 0.3)
    seen = []

    def multiply(transformed: Tensor):
        seen.append(transformed.size(0))
        yield transformed[:, 1]

    whole = mesh.gather(mesh.fields(values, multiply))
    one = mesh_over(x, BLOCKS, 0.3)
    monkeypatch.setattr(mesh_module, "BLOCKS_MEMORY", 1)
    parts = one.gather(one.fields(values, multiply))
    assert seen == [3, 1, 1, 1]
    torch.testing.assert_close(parts, whole, rtol=0, atol=1e-12)


def test_a_kernel_of_finite_reach_needs_less_padding():
    """A transform of half the size, and the same sum."""
    x, values = sample(30, 2), sample(30, 1, 1)

    def ball(r2: Tensor) -> Tensor:
        return (r2 <= 4.0**2) * (1 - r2 / 16)

    reach = torch.full((1,), 0.4, dtype=torch.float64)
    short, full = mesh_over(x, spacing=0.1, reach=reach), mesh_over(x, spacing=0.1)
    assert all(2 * n < 1.5 * m for n, m in zip(short.padded, full.padded, strict=True))
    torch.testing.assert_close(apply(short, values, ball), apply(full, values, ball), rtol=0, atol=1e-12)


@pytest.mark.parametrize("d", [1, 2, 3])
def test_slopes_are_derivatives_of_the_interpolated_field(d):
    """Central differences of what is gathered at other places; O(step^2) = 1e-8 of third derivatives of some 1e2."""
    x, places = sample(20, d), 0.5 * sample(20, d, 1)
    mesh = mesh_over(x, spacing=0.5, at=places)
    nodes = sample(mesh.stencil.nodes, 2, 2)
    step = 1e-4
    for axis, slope in enumerate(mesh.slopes(mesh.find(places))):
        shift = step * torch.eye(d, dtype=x.dtype)[axis]
        after, before = (mesh.gather(nodes, mesh.find(places + sign * shift)) for sign in (1, -1))
        want = (after - before) / (2 * step)
        torch.testing.assert_close(mesh.gather(nodes, slope) / 0.5, want, rtol=0, atol=1e-5)


def test_other_places_are_on_the_lattice_too():
    """Where fields are wanted far outside the particles the lattice grows; the field of a tracer there is the same."""
    x, values = sample(8, 2), sample(8, 1, 1)
    places = x + torch.tensor([5.0, -3.0], dtype=torch.float64)
    mesh = mesh_over(x, spacing=0.3, at=places)
    kernel = kernel_of(mesh.padded)
    got = mesh.gather(mesh.fields(values, lambda x: [kernel * x[:, 0]]), mesh.find(places))
    everyone = torch.cat([x, places])
    charges = torch.cat([values, torch.zeros_like(values)])
    want = apply(mesh_over(everyone, spacing=0.3), charges)[8:]
    torch.testing.assert_close(got, want, rtol=0, atol=1e-12)


def test_fields_in_another_precision():
    """Transforms in float64 of float32 particles: better than float32 ones, and returned in float32."""
    x, values = sample(500, 2), sample(500, 1, 1)
    exact = apply(mesh_over(x), values)
    mesh = mesh_over(x.float())
    kernel = kernel_of(mesh.padded)
    out = mesh.gather(mesh.fields(values.float(), lambda x: [kernel * x[:, 0]], dtype=torch.float64))
    assert out.dtype == torch.float32
    # Roundings of positions in cells and of weights, some 1e-6 of a sum of 500 terms of either sign.
    torch.testing.assert_close(out.double(), exact, rtol=0, atol=1e-5 * float(exact.abs().max()))


@pytest.mark.parametrize("n", [1, 2, 7, 11, 59, 127, 251, 1021, 5003])
def test_sizes_are_even_and_have_small_factors(n):
    size = mesh_module._fast_size(n)
    small = sorted(2**a * 3**b * 5**c for a in range(1, 14) for b in range(9) for c in range(7))
    assert size == min(x for x in small if x >= n)


def test_a_lattice_that_does_not_fit_is_refused_and_named(monkeypatch):
    """The nodes that would be needed, the memory they would take, and what there is; one more byte and it fits."""
    x = sample(100, 3)
    extent = (x.amax(0) - x.amin(0)) / 0.2
    monkeypatch.setattr(mesh_module, "MESH_MEMORY", 1)
    with pytest.raises(MeshTooLarge) as refused:
        mesh_over(x, spacing=0.2)
    error = refused.value
    assert isinstance(error, ValueError)
    assert all(float(e) + 3 <= n <= float(e) + 6 for e, n in zip(extent, error.nodes, strict=True))
    named = " x ".join(str(n) for n in error.nodes)
    assert re.search(rf"the mesh would need {named} nodes \([\d.e-]+ GiB of at most [\d.e-]+\)", str(error))
    monkeypatch.setattr(mesh_module, "MESH_MEMORY", error.needed - 1)
    with pytest.raises(MeshTooLarge):
        mesh_over(x, spacing=0.2)
    monkeypatch.setattr(mesh_module, "MESH_MEMORY", error.needed)
    mesh = mesh_over(x, spacing=0.2)
    # Two numbers a node at the least, what is spread and its transform: of all nodes of the unpadded lattice.
    assert error.needed > 2 * 8 * mesh.stencil.nodes


@pytest.mark.parametrize("spacing", [1e-4, 1e-12, 1e-150])
def test_a_lattice_beyond_all_bounds_is_refused_at_once(spacing):
    with pytest.raises(MeshTooLarge):
        mesh_over(sample(100, 3), spacing=spacing)


@pytest.mark.parametrize("n", [1, 20])
def test_particles_without_extent(n):
    """All on a line, or all at one place."""
    x, values = sample(n, 2), sample(n, 1, 1)
    x[:, 1] = 3.0
    mesh = mesh_over(x)
    scale = float(values.abs().sum())
    torch.testing.assert_close(apply(mesh, values), by_hand(x, values, mesh), rtol=0, atol=1e-12 * scale)
