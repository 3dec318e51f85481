"""Sums over tiles: what does not fit in one tile, bounded memory, compiled and eager alike."""

from __future__ import annotations

import subprocess
import sys
import warnings
from dataclasses import replace

import pytest
import torch

import graphlandau.nn.pairs.compiled as compiled
import graphlandau.nn.pairs.tiles as tiles
from graphlandau.nn import BlobScore, LandauDrift
from graphlandau.nn.pairs import expected_calls


def plasma(n: int, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    v, s = torch.randn(2, n, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return v.to(dtype), (s - v).to(dtype)


@pytest.mark.parametrize("batch", [None, torch.arange(37) % 3])
def test_tiles_smaller_than_the_problem_change_nothing(monkeypatch, batch):
    """Values and both orders of gradients with 37 particles in tiles of 5, a remainder on each axis."""
    v, s = plasma(37)
    layer = LandauDrift(-3.0, backend="dense")

    def everything():
        a, b = v.clone().requires_grad_(), s.clone().requires_grad_()
        u = layer(a, b, batch=batch)
        first = torch.autograd.grad((u**2).sum(), (a, b), create_graph=True)
        second = torch.autograd.grad(sum((g**2).sum() for g in first), (a, b))
        return [u, *first, *second, torch.func.jvp(lambda x: layer(x, s, batch=batch), (v,), (s,))[1]]

    whole = everything()
    monkeypatch.setattr(tiles, "EAGER_TILE", 5)
    for a, b in zip(everything(), whole, strict=True):
        assert torch.allclose(a, b, rtol=1e-11, atol=1e-13)


def test_no_tile_outgrows_its_budget(monkeypatch):
    """Forward, reverse and forward mode, in one block and in many uneven ones: pairs at a time, counted."""
    asked = []

    def counting(tile, pairs, like):
        chosen = compiled.plan(tile, pairs, like)

        def counted(*tensors):
            size = {axis: x.size(-1) for axis, x in zip(tile.in_axes, tensors, strict=True)}
            asked.append(tensors[0].size(0) * size["i"] * size["j"])
            return chosen.function(*tensors)

        return replace(chosen, function=counted)

    monkeypatch.setattr(tiles, "plan", counting)
    layer = LandauDrift(-3.0, backend="dense")
    v, s = plasma(1200)
    skewed = torch.where(torch.arange(1200) < 700, 0, torch.arange(1200))
    for batch in (None, torch.arange(1200) % 400, skewed):
        a = v.clone().requires_grad_()
        layer(a, s, batch=batch).sum().backward()
        torch.func.jvp(lambda x, batch=batch: layer(x, s, batch=batch), (v,), (s,))
    assert max(asked) <= tiles.EAGER_TILE**2
    assert len(asked) > 20


MEMORY = """
import resource, sys, torch
from graphlandau.nn import LandauDrift
torch.set_num_threads(1)
n = int(sys.argv[1])
v, s = torch.randn(2, n, 3, generator=torch.Generator().manual_seed(0))
v.requires_grad_()
layer = LandauDrift(-3.0, backend="dense")
layer(v[:600], s[:600]).sum().backward()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
layer(v, s).sum().backward()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_pairs():
    """4000 particles are 1.6e7 pairs, 64 MB for one float32 number each, ten such in a naive sum: 40 MB suffice."""
    out = subprocess.run([sys.executable, "-c", MEMORY, "4000"], capture_output=True, text=True, check=True)
    assert int(out.stdout) < 40_000


# The compiler


@pytest.fixture
def untouched_compiler(monkeypatch):
    """A failure inside the test is not remembered after it."""
    monkeypatch.setattr(compiled, "_failure", [])


@pytest.mark.parametrize("dtype", [torch.float32, pytest.param(torch.float64, marks=pytest.mark.slow)])
def test_compiled_tiles_equal_eager_tiles(dtype, untouched_compiler):
    """Forward and one backward, with more particles than a tile has columns and a remainder; no silent fallback."""
    if not compiled.compile_available()[0]:
        pytest.skip("torch.compile does not work here")
    n = tiles.COMPILED_TILE[1] + 300
    v, s = plasma(n, dtype)
    layer = LandauDrift(-3.0, backend="dense")

    def both():
        a = v.clone().requires_grad_()
        u = layer(a, s)
        return u.detach(), *torch.autograd.grad((u * s).sum(), a)

    eager = both()
    with expected_calls(10**9), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        fused = both()
    assert not compiled._failure
    assert not [str(w.message) for w in caught if issubclass(w.category, UserWarning)]
    # The order of a sum over n terms differs: sqrt(n) eps for the sum, relative to its typical size.
    tolerance = {torch.float32: 1e-5, torch.float64: 1e-13}[dtype]
    for a, b in zip(fused, eager, strict=True):
        assert a.dtype == dtype
        assert float((a - b).norm(dim=1).max()) <= tolerance * float(b.norm(dim=1).max())


@pytest.mark.parametrize("batch", [None, torch.tensor([0, 1, 0, 1, 1, 0, 0])])
def test_no_time_is_spent_on_gradients_that_nobody_asks_for(monkeypatch, batch):
    """The same gradient of the score whether velocities need one too or not; without, theirs is never summed."""
    generator = torch.Generator().manual_seed(0)
    v, s = (torch.randn(7, 3, generator=generator, dtype=torch.float64) for _ in range(2))
    s.requires_grad_()
    layer, seen = LandauDrift(-3.0, backend="dense"), []
    kept = tiles.Vjp

    def spy(tile, wrt):
        seen.append(tuple(tile.receivers + tile.senders)[wrt])
        return kept(tile, wrt)

    monkeypatch.setattr(tiles, "Vjp", spy)
    (alone,) = torch.autograd.grad((layer(v, s, batch=batch) ** 2).sum(), s)
    # Vectors of a receiver are (v, s), of a sender (v, s, weight): the second of each, three components.
    assert set(seen) == {((1, 3),)}
    v.requires_grad_()
    both = torch.autograd.grad((layer(v, s, batch=batch) ** 2).sum(), (v, s))
    assert torch.allclose(alone, both[1], rtol=1e-12)


def test_a_broken_compiler_falls_back_with_one_warning(monkeypatch, untouched_compiler):
    """Eager results, one warning with the reason, and no second attempt."""
    attempts = []

    def broken(function):
        def call(*tensors):
            attempts.append(function)
            raise RuntimeError("no C++ compiler found")

        return call

    monkeypatch.setattr(compiled, "_compile", broken)
    v, s = plasma(50)
    expected = LandauDrift(-3.0, backend="dense")(v, s), BlobScore(0.5)(v)
    with expected_calls(10**9), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        actual = LandauDrift(-3.0, backend="dense")(v, s), BlobScore(0.5)(v)
        assert not compiled.pays(10**12)
        assert compiled.compile_available() == (False, "RuntimeError: no C++ compiler found")
    assert all(torch.equal(a, b) for a, b in zip(actual, expected, strict=True))
    assert [str(w.message) for w in caught if "torch.compile failed" in str(w.message)] == [
        "torch.compile failed, pair sums stay eager (RuntimeError: no C++ compiler found)"
    ]
    assert len(attempts) == 2  # the first tile, and a small function that tells whether it is the tile's fault
