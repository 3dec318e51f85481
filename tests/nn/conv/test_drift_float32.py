"""float32: 1e-5 of sum_j w_j |A_ij (s_i - s_j)|, near equilibrium and in fast frames too."""

from __future__ import annotations

import pytest
import torch
from invariants import assert_close

from graphlandau.nn import LandauDrift

N = 1500
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


def reference(v, s, gamma, batch=None):
    """Direct sum and summed magnitude in float64, without softening, in rows of pairs."""
    v, s = v.double(), s.double()
    parts = []
    for i in range(0, v.size(0), 250):
        z, u = v[i : i + 250, None] - v, s[i : i + 250, None] - s
        r = z.norm(dim=-1, keepdim=True)
        power = torch.where(r > 0, r, 1.0) ** gamma
        term = power * (r**2 * u - z * (z * u).sum(-1, keepdim=True)) / v.size(0)
        if batch is not None:
            same = batch[i : i + 250, None] == batch
            term = term * (same / same.double().mean(1, keepdim=True))[..., None]
        parts.append((-term.sum(1), term.norm(dim=-1).sum(1)))
    drift, magnitude = zip(*parts, strict=True)
    return torch.cat(drift), torch.cat(magnitude)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("boost", [0.0, 10.0], ids=["at rest", "10 thermal speeds"])
@pytest.mark.parametrize("noise", [1.0, 0.01], ids=["far", "near equilibrium"])
@pytest.mark.parametrize(("gamma", "d"), [(-4.0, 2), (-3.0, 2), (-3.0, 3), (-3.0, 10), (-1.5, 3), (0.0, 2), (1.0, 3)])
def test_complete_graph(gamma, d, noise, boost, device):
    """The largest error of any particle. In 2D the closest pair is some 1e-4 apart and softening must not show."""
    generator = torch.Generator().manual_seed(2)
    thermal, random = torch.randn(2, N, d, generator=generator, dtype=torch.float64)
    v, s = (thermal + boost).float(), (noise * random - thermal).float()
    expected, magnitude = reference(v, s, gamma)
    for backend in ["dense"] + ["moments"] * (gamma == 0):
        u = LandauDrift(gamma, backend=backend)(v.to(device), s.to(device))
        assert u.dtype == torch.float32
        assert_close(backend, u, expected, magnitude, 1e-5)


@pytest.mark.parametrize("backend", ["dense", "edges"])
@pytest.mark.parametrize("gamma", [-3.0, 1.0])
def test_blocks_with_flows_and_temperatures_of_their_own(gamma, backend):
    """Spatial cells: each near its own equilibrium, up to 10 thermal speeds apart."""
    generator = torch.Generator().manual_seed(1)
    thermal, random = torch.randn(2, N, 3, generator=generator, dtype=torch.float64)
    batch = torch.arange(N) % 10
    temperature = (0.2 + 0.3 * batch.double())[:, None]
    flow = 2.2 * (batch.double() - 4.5)[:, None]
    v = (temperature.sqrt() * thermal + flow).float()
    s = ((0.01 * random - thermal) / temperature.sqrt()).float()
    expected, magnitude = reference(v, s, gamma, batch)
    assert_close("blocks", LandauDrift(gamma, backend=backend)(v, s, batch=batch), expected, magnitude, 1e-5)
