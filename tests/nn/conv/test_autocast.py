"""Inside ``torch.autocast`` a layer gives what it gives outside, on the same inputs in full precision."""

from __future__ import annotations

import pytest
import torch
from torch_geometric.nn import EdgeConv

from graphlandau.fields import Grid
from graphlandau.nn import BlobScore, Deposit, EquivariantConv, Gather, JKOAction, LandauDrift, PairwiseLayer


class Attraction(PairwiseLayer):
    def message(self, v_i, v_j, q_j, weight_j):
        return weight_j * (v_j - v_i) * q_j


GENERATOR = torch.Generator().manual_seed(0)
V, S, Q = (torch.randn(37, k, generator=GENERATOR) for k in (3, 3, 1))
JAC, EDGES = torch.randn(37, 3, 3, generator=GENERATOR), torch.randint(37, (2, 90), generator=GENERATOR)
BATCH, WEIGHT = torch.arange(37) % 3, torch.rand(37, generator=GENERATOR)

LAYERS = {
    "drift": lambda v, s, q, jac: LandauDrift(-3.0)(v, s, weight=WEIGHT.to(v)),
    "maxwell": lambda v, s, q, jac: LandauDrift(0.0)(v, s, batch=BATCH),
    "edges": lambda v, s, q, jac: LandauDrift(-1.0)(v, s, edge_index=EDGES),
    "test particles": lambda v, s, q, jac: LandauDrift(-1.0)(v, s, at=(s, v)),
    "partials": lambda v, s, q, jac: torch.cat(LandauDrift(-2.0).partials(v, s), 1),
    "diffusion": lambda v, s, q, jac: LandauDrift(-2.0).diffusion(v)[0],
    "jko": lambda v, s, q, jac: JKOAction(-3.0)(v, s, jac),
    "blob": lambda v, s, q, jac: BlobScore()(v),
    "blob jacobian": lambda v, s, q, jac: BlobScore().value_and_jacobian(v)[1],
    "entropy": lambda v, s, q, jac: BlobScore(0.5).entropy(v),
    "own": lambda v, s, q, jac: Attraction()(v, q),
    "equivariant": lambda v, s, q, jac: EquivariantConv(phi=lambda r2, h_i, h_j: torch.exp(-r2) * h_j)(v, q, EDGES)[0],
}


@pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS)
@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("full", [torch.float32, torch.float64])
def test_the_same_inside_and_outside(layer, half, full):
    """The velocities are in full precision, the scores come in half from a network."""
    v = V.to(full)
    s, q, jac = (x.to(half) for x in (S, Q, JAC))
    outside = layer(v, *(x.to(full) for x in (s, q, jac)))
    with torch.autocast("cpu", dtype=half):
        inside = layer(v, s, q, jac)
        assert torch.is_autocast_enabled("cpu")
    assert inside.dtype == full
    assert torch.equal(inside, outside)


def test_all_in_half_precision_is_summed_in_float32():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        u = LandauDrift(-3.0)(V.bfloat16(), S.bfloat16())
    assert torch.equal(u, LandauDrift(-3.0)(V.bfloat16().float(), S.bfloat16().float()))


def test_grids_inside_autocast():
    """Values on a grid that a network gave in half precision."""
    grid = Grid(8.0, 6)
    pos = 8 * torch.rand(20, 1)
    value = torch.randn(20, 2).bfloat16()
    outside = Deposit(grid)(pos, value.float())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = Deposit(grid)(pos, value)
        back = Gather(grid)(pos, outside.bfloat16())
    assert torch.equal(inside, outside)
    assert torch.equal(back, Gather(grid)(pos, outside.bfloat16().float()))


def test_the_network_of_the_readme_trains_inside_autocast():
    torch.manual_seed(0)
    gnn, drift = EdgeConv(torch.nn.Linear(6, 3)), LandauDrift(-3.0, 1 / 16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        s = gnn(V, EDGES)
        loss = (V + 0.01 * drift(V, s)).square().sum()
    loss.backward()
    assert s.dtype == torch.bfloat16
    assert loss.dtype == torch.float32
    assert bool(gnn.nn.weight.grad.isfinite().all())
    assert bool(gnn.nn.weight.grad.any())
