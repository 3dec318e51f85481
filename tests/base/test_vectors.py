"""One pair formula on every carrier: components give what tensors give."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from graphlandau.base.vectors import Components, dot, identity, join, matvec, outer


def rows(*shape: int, seed: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 0.5


def components(x: torch.Tensor) -> Components:
    return Components(tuple(x.unbind(1)))


# What a pair formula may do with a vector z, another vector u and a scalar r, which is a vector of one component.
FORMULAS = {
    "projection": lambda z, u, r: r * u - z * dot(z, u),
    "scalar first": lambda z, u, r: r * z + u / r,
    "numbers": lambda z, u, r: z * 2.0 - u / 3.0 + 1.0,
    "outer": lambda z, u, r: outer(z, u),
    "kernel": lambda z, u, r: identity(z) * dot(z, z) - outer(z, z),
    "joined": lambda z, u, r: join([z, r, u * r]),
    "functions": lambda z, u, r: join([z.sqrt(), u.rsqrt(), r.log(), (z - u).relu(), (z * -1.0).exp()]),
}


@pytest.mark.parametrize("name", FORMULAS)
@given(d=st.integers(1, 4), n=st.integers(1, 6), seed=st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_components_give_what_tensors_give(name: str, d: int, n: int, seed: int):
    formula = FORMULAS[name]
    z, u, r = rows(n, d, seed=seed), rows(n, d, seed=seed + 1), rows(n, 1, seed=seed + 2)
    found = formula(components(z), components(u), components(r))
    table = torch.stack([part.expand(n) for part in found.parts], dim=1)
    torch.testing.assert_close(table, formula(z, u, r), rtol=1e-14, atol=1e-14)


def test_the_kernel_is_the_projection_across_the_distance():
    z, u = rows(5, 3, seed=0), rows(5, 3, seed=1)
    A = FORMULAS["kernel"](z, u, None).view(5, 3, 3)
    torch.testing.assert_close(matvec(A, u), dot(z, z) * u - z * dot(z, u), rtol=1e-13, atol=1e-14)
    torch.testing.assert_close(matvec(A, z), torch.zeros(5, 3, dtype=torch.float64), rtol=0, atol=1e-14)


def test_components_of_different_numbers_do_not_add():
    with pytest.raises(ValueError, match="zip"):
        components(rows(2, 2, seed=0)) + components(rows(2, 3, seed=0))
