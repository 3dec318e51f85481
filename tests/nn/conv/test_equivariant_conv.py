"""EquivariantConv: the sums themselves, their symmetries, and the blob score as two fixed layers of it."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from invariants import rotation

from graphlandau.graphs import radius_edges
from graphlandau.nn import BlobScore, EquivariantConv
from graphlandau.nn.conv import equivariant_conv


class Perceptron(torch.nn.Module):
    """A smooth message with weights of its own."""

    def __init__(self, features: int, outputs: int, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.inner = torch.randn(1 + 2 * features, 7, generator=generator, dtype=torch.float64)
        self.outer = torch.randn(7, outputs, generator=generator, dtype=torch.float64)

    def forward(self, r2, h_i, h_j):
        return torch.tanh(torch.cat([r2, h_i, h_j], dim=1) @ self.inner) @ self.outer


def example(n: int, d: int, q: int, seed: int):
    """Particles, features, the edges of a random directed graph with self-loops, and weights."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, d, generator=generator, dtype=torch.float64)
    h = torch.randn(n, q, generator=generator, dtype=torch.float64)
    edges = (torch.rand(n, n, generator=generator) < 0.5).nonzero().T
    weight = torch.rand(edges.size(1), generator=generator, dtype=torch.float64)
    return x, h, edges, weight, Perceptron(q, 1, seed + 1), Perceptron(q, 3, seed + 2)


cases = given(n=st.integers(1, 9), d=st.sampled_from((1, 2, 3, 10)), q=st.integers(0, 4), seed=st.integers(0, 2**20))


@cases
@settings(deadline=None, max_examples=30)
def test_sums_over_edges(n, d, q, seed):
    x, h, edges, weight, phi, psi = example(n, d, q, seed)
    y, g = torch.zeros(n, d, dtype=torch.float64), torch.zeros(n, 3, dtype=torch.float64)
    for (j, i), w in zip(edges.T.tolist(), weight, strict=True):
        r2 = (x[i] - x[j]).square().sum().view(1, 1)
        y[i] += w * (x[i] - x[j]) * phi(r2, h[i : i + 1], h[j : j + 1])[0]
        g[i] += w * psi(r2, h[i : i + 1], h[j : j + 1])[0]
    got = EquivariantConv(phi, psi)(x, h, edges, weight)
    torch.testing.assert_close(got, (y, g))
    torch.testing.assert_close(EquivariantConv(phi=phi)(x, h, edges, weight)[0], y)
    only = EquivariantConv(psi=psi)(x, h, edges, weight)
    torch.testing.assert_close(only, (torch.zeros_like(y), g))


@cases
@settings(deadline=None, max_examples=30)
def test_follows_the_particles(n, d, q, seed):
    x, h, edges, weight, phi, psi = example(n, d, q, seed)
    conv = EquivariantConv(phi, psi)
    y, g = conv(x, h, edges, weight)
    turn = rotation(d, seed)
    torch.testing.assert_close(conv(x @ turn.T, h, edges, weight), (y @ turn.T, g))
    torch.testing.assert_close(conv(x + 3.0, h, edges, weight), (y, g))
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    place = torch.argsort(order)
    torch.testing.assert_close(conv(x[order], h[order], place[edges], weight), (y[order], g[order]))


def test_a_plasma_in_which_every_particle_is_split_in_two_is_the_same():
    x, h, _, _, phi, psi = example(8, 2, 2, 5)
    conv = EquivariantConv(phi, psi)
    every = torch.cartesian_prod(torch.arange(8), torch.arange(8)).T
    every_twice = torch.cartesian_prod(torch.arange(16), torch.arange(16)).T
    y, g = conv(x, h, every)
    torch.testing.assert_close(conv(x.repeat(2, 1), h.repeat(2, 1), every_twice), (y.repeat(2, 1), g.repeat(2, 1)))


def test_a_few_edges_at_a_time(monkeypatch):
    x, h, edges, weight, phi, psi = example(20, 3, 2, 7)
    conv = EquivariantConv(phi, psi)
    at_once = conv(x, h, edges, weight)
    monkeypatch.setattr(equivariant_conv, "EDGES_AT_A_TIME", 13)
    with torch.no_grad():
        torch.testing.assert_close(conv(x, h, edges, weight), at_once)
        y, g = conv(x, h, edges[:, :0], weight[:0])
    assert y.abs().max() == 0
    assert g.size(0) == 20


def test_derivatives_at_coincident_particles():
    x, h, edges, weight, phi, psi = example(6, 2, 2, 9)
    x[1] = x[0]

    def outputs(x):
        return torch.cat(EquivariantConv(phi, psi)(x, h, edges, weight), dim=1)

    forward, reverse = torch.func.jacfwd(outputs)(x), torch.func.jacrev(outputs)(x)
    assert reverse.isfinite().all()
    torch.testing.assert_close(forward, reverse)
    step = 1e-6 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0), dtype=x.dtype)
    # Central differences: truncation and rounding are both below 1e-9 of the values, divided by the step.
    change = (outputs(x + step) - outputs(x - step)) / 2
    torch.testing.assert_close(torch.einsum("iajb,jb->ia", reverse, step), change, atol=1e-13, rtol=1e-6)


@pytest.mark.parametrize("d", [2, 3])
@pytest.mark.parametrize("cutoff", [5.0, 1e3])
def test_two_fixed_layers_are_the_blob_score(d, cutoff):
    """The messages of the blob method, written by hand: density first, then the two terms of the score."""
    h = 0.4
    v = torch.randn(300, d, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    peak = (2 * math.pi * h**2) ** (-d / 2)
    density = EquivariantConv(psi=lambda r2, *_: peak * torch.exp(-r2 / (2 * h**2)))
    force = EquivariantConv(
        phi=lambda r2, rho_i, rho_j: -peak / h**2 * torch.exp(-r2 / (2 * h**2)) * (1 / rho_i + 1 / rho_j)
    )
    edges = radius_edges(v, cutoff * h)
    _, others = density(v, torch.empty(300, 0, dtype=v.dtype), edges)
    rho = peak / 300 + others
    s, _ = force(v, rho, edges)
    torch.testing.assert_close(s, BlobScore(bandwidth=h, cutoff=cutoff)(v))
    if cutoff > 100:
        torch.testing.assert_close(s, BlobScore(bandwidth=h)(v))


def test_refuses_to_send_nothing():
    with pytest.raises(ValueError, match="'phi' or 'psi' must be given"):
        EquivariantConv()


def test_refuses_edges_that_do_not_fit():
    conv, x, h = EquivariantConv(phi=lambda r2, h_i, h_j: r2), torch.zeros(3, 2), torch.zeros(3, 0)
    with pytest.raises(ValueError, match=r"'edge_index' must name particles 0\.\.2 \(got 0\.\.3\)"):
        conv(x, h, torch.tensor([[0], [3]]))
    with pytest.raises(ValueError, match=r"'edge_weight' must have shape \(1,\) \(got \(2,\)\)"):
        conv(x, h, torch.tensor([[0], [1]]), torch.ones(2))
