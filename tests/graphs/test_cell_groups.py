"""Groups of particles by cell: each particle once, equal nodes within a group, few empty places."""

from __future__ import annotations

import pytest
import torch

from graphlandau.fields import Grid
from graphlandau.graphs import particle_cells


@pytest.mark.parametrize(("d", "copies", "places"), [(1, 1, 1), (2, 3, 1000), (3, 1, 10**6)])
def test_groups_hold_every_particle_once_among_those_of_its_nodes(d, copies, places):
    generator = torch.Generator().manual_seed(4)
    n, grid = 5000, Grid(2.0 if d == 1 else (2.0,) * d, 6)
    pos = 2 * torch.rand(n, d, generator=generator) ** 3
    stencil = particle_cells(pos, grid, 3, torch.randint(copies, (n,), generator=generator), copies)
    groups = stencil.groups
    held = groups.particle[groups.particle < n]
    assert torch.equal(held.sort().values, torch.arange(n))
    assert groups.first.numel() == sum(count for _, count in groups.sizes)
    nodes, weight, seen = stencil.node((0,) * d), torch.stack(stencil.weight), 0
    for part in groups.pieces(places):
        ((size, count),) = part.sizes
        own = part.particle.view(count, size)
        taken, own = own < n, own.clamp(max=n - 1)
        assert bool(((nodes[own] == nodes[part.first][:, None]) | ~taken).all())
        assert torch.equal(part.weight[..., taken.flatten()], weight[..., own[taken]])
        # Neighbouring sizes are 2 : 3 or 3 : 4, so that the particles are more than two thirds of the places.
        assert bool((3 * taken.sum(1) > 2 * size).all()) or size == 4  # the smallest holds 1 to 4
        seen += count
    assert seen == groups.first.numel()


def test_a_cell_with_more_particles_than_the_largest_group_has_several():
    n = 200_000
    stencil = particle_cells(torch.full((n, 2), 0.5), Grid((1.0, 1.0), 8), 3)
    # 195 full groups, and one for the other 320.
    assert stencil.groups.sizes == ((384, 1), (1024, 195))
