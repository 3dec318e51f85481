"""How a control sees the phase space: columns, periods, derivatives."""

from __future__ import annotations

import math

import pytest
import torch

from graphlandau.nn.control import PhaseEmbedding

CASES = {
    "periodic": PhaseEmbedding(1, 2, lengths=3.0, harmonics=2),
    "rippled": PhaseEmbedding(2, 3, wavelengths=(None, 0.7)),
    "products": PhaseEmbedding(2, 2, wavelengths=0.7, harmonics=2, products=True),
}


def phase(embedding, n=7):
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.randn(n, k, generator=generator, dtype=torch.float64) for k in (embedding.d_x, embedding.d))


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("shear", [0.0, -0.3])
def test_tangents_are_the_derivatives_along_velocity_and_sheared_position(name, shear):
    embedding = CASES[name]
    x, v = phase(embedding)
    value, tangents = embedding.value_and_tangents(x, v, shear)
    assert torch.equal(value, embedding(x, v))
    assert value.shape == (7, embedding.width)
    for b in range(embedding.d):
        along_v = torch.eye(embedding.d, dtype=torch.float64)[b].expand_as(v)
        along_x = shear * along_v[:, : embedding.d_x]
        derivative = torch.func.jvp(embedding, (x, v), (along_x, along_v))[1]
        torch.testing.assert_close(tangents[b].expand_as(derivative), derivative, rtol=0, atol=1e-12)


def test_products_span_waves_whose_size_and_phase_change_along_x():
    """(1 + x/2) cos(k x + x-independent phase) and x^2 are linear in the columns; without products they are not."""
    k = 2 * math.pi / 0.7
    x = torch.linspace(-2, 2, 101, dtype=torch.float64)[:, None]
    target = (1 + 0.5 * x) * torch.cos(k * x + 0.4) + 0.3 * x**2

    def misfit(embedding):
        columns = torch.cat([embedding(x, torch.zeros_like(x)), torch.ones_like(x)], dim=1)
        return float((columns @ torch.linalg.lstsq(columns, target, driver="gelsd").solution - target).norm())

    plain = PhaseEmbedding(1, 1, wavelengths=0.7)
    assert misfit(plain.with_products()) < 1e-12
    assert misfit(plain) > 1


def test_a_periodic_direction_has_no_products_and_keeps_its_period():
    embedding = PhaseEmbedding(1, 1, lengths=3.0)
    assert embedding.with_products().columns == embedding.columns
    x, v = phase(embedding)
    torch.testing.assert_close(embedding(x + 3.0, v), embedding(x, v))
    assert embedding.with_harmonics(3).width == 7
