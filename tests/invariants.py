"""What every Landau drift must satisfy, as checkers that raise ``AssertionError``, and an independent direct sum.

A drift is any function ``(v, s, weight) -> U``. Each checker states its error relative to the summed magnitude of
the pair terms, because near equilibrium the sum itself cancels. ``test_invariants.py`` shows that each of them
rejects a drift that is wrong in the way it looks for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import torch
from hypothesis import strategies as st
from torch import Tensor

Drift = Callable[[Tensor, Tensor, Tensor], Tensor]

# Rounding, relative to the summed magnitude: some ten operations per pair, random over at most 50 pairs.
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-13}

EXPONENTS = (-4.0, -3.0, -2.0, -1.5, -1.0, 0.0, 0.5, 1.0)


def particles(n: int, d: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    """Random velocities, a score far from equilibrium, and uneven weights of sum 1."""
    generator = torch.Generator().manual_seed(seed)
    v = torch.randn(n, d, generator=generator, dtype=torch.float64)
    s = torch.randn(n, d, generator=generator, dtype=torch.float64) - v
    weight = 0.2 + torch.rand(n, generator=generator, dtype=torch.float64)
    return v.to(dtype), s.to(dtype), (weight / weight.sum()).to(dtype)


def direct_sum(
    v: Tensor,
    s: Tensor,
    weight: Tensor,
    gamma: float,
    strength: float = 1.0,
    pairs: Iterable[tuple[int, int]] | None = None,
) -> tuple[Tensor, Tensor]:
    """-sum_j w_j A_ij (s_i - s_j) and sum_j w_j |A_ij (s_i - s_j)| by a loop over (i, j), without softening."""
    v_, s_, w_ = (x.detach().cpu().double().numpy() for x in (v, s, weight))
    n, d = v_.shape
    drift, magnitude = np.zeros((n, d)), np.zeros(n)
    for i, j in pairs if pairs is not None else [(i, j) for i in range(n) for j in range(n)]:
        z = v_[i] - v_[j]
        r = np.linalg.norm(z)
        if r == 0.0:
            continue
        matrix = strength * r**gamma * (r**2 * np.eye(d) - np.outer(z, z))
        term = w_[j] * matrix @ (s_[i] - s_[j])
        drift[i] -= term
        magnitude[i] += np.linalg.norm(term)
    return torch.from_numpy(drift), torch.from_numpy(magnitude)


def rotation(d: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """A random rotation or reflection."""
    generator = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(d, d, generator=generator, dtype=torch.float64))[0].to(dtype)


def assert_close(name: str, actual: Tensor, expected: Tensor, scale: Tensor | float, tolerance: float) -> None:
    """|actual - expected| <= tolerance * scale for every particle; the failure says by how much."""
    error = (actual.double().cpu() - expected.double().cpu()).flatten(1).norm(dim=1)
    relative = float((error / torch.as_tensor(scale, dtype=torch.float64).cpu()).max())
    assert relative <= tolerance, f"{name}: relative error {relative:.1e} exceeds {tolerance:.1e}"


def assert_conserves(drift: Drift, v: Tensor, s: Tensor, weight: Tensor, magnitude: Tensor) -> None:
    """sum w U = 0 and sum w v.U = 0, for any s."""
    u, w = drift(v, s, weight).double().cpu(), weight.double().cpu()
    work, x = float((w * magnitude).sum()), v.double().cpu()
    tolerance = TOLERANCE[v.dtype]
    momentum = float((w[:, None] * u).sum(0).norm())
    assert momentum <= tolerance * work, f"momentum: {momentum:.1e} of {work:.1e}"
    energy = float((w * (x * u).sum(1)).sum().abs())
    speed = float(x.norm(dim=1).max())
    assert energy <= tolerance * work * speed, f"energy: {energy:.1e} of {work * speed:.1e}"


def assert_dissipates(drift: Drift, v: Tensor, s: Tensor, weight: Tensor, magnitude: Tensor) -> None:
    """sum w s.U = -1/2 sum w w (s_i - s_j) A (s_i - s_j) < 0 away from equilibrium."""
    u, w, score = drift(v, s, weight).double().cpu(), weight.double().cpu(), s.double().cpu()
    rate = float((w * (score * u).sum(1)).sum())
    scale = float((w * magnitude).sum() * score.norm(dim=1).max())
    assert rate < -TOLERANCE[v.dtype] * scale, f"dissipation: {rate:.1e} is not negative (scale {scale:.1e})"


def assert_rests_at_equilibrium(drift: Drift, v: Tensor, weight: Tensor, gamma: float) -> None:
    """No drift for s = a + b v: Maxwellians, and the scores that differ from s by them."""
    shift = torch.linspace(-1.0, 2.0, v.size(1), dtype=v.dtype, device=v.device)
    s = shift - 0.7 * v
    u = drift(v, s, weight).double().cpu()
    # What the pair terms would be if A did not project onto the plane normal to z.
    x, w = v.double().cpu(), weight.double().cpu()
    r = torch.cdist(x, x)
    far = torch.where(r > 0, r, 1.0) ** (gamma + 3) * (r > 0)
    scale = (far * w).sum(1)
    error = float((u.norm(dim=1) / scale).max())
    assert error <= TOLERANCE[v.dtype], f"equilibrium: drift {error:.1e} of the unprojected terms"


def assert_equivariant(drift: Drift, v: Tensor, s: Tensor, weight: Tensor, magnitude: Tensor, seed: int) -> None:
    """Rotations and permutations act on U as on v; translations and boosts of v, and shifts of s, do not act."""
    u, tolerance = drift(v, s, weight), TOLERANCE[v.dtype]
    q = rotation(v.size(1), seed, v.dtype).to(v.device)
    assert_close("rotation", drift(v @ q.T, s @ q.T, weight), u @ q.T, magnitude, 30 * tolerance)
    order = torch.randperm(v.size(0), generator=torch.Generator().manual_seed(seed)).to(v.device)
    assert_close("permutation", drift(v[order], s[order], weight[order]), u[order], magnitude[order.cpu()], tolerance)
    # Powers of two, so that moving the particles rounds them as little as may be.
    boost = 2.0 ** torch.arange(v.size(1), dtype=v.dtype, device=v.device).remainder(3)
    moved = v + boost
    # Rounding of v + boost, relative to the smallest distance, is part of the problem and not of the drift.
    gap = float(torch.pdist(v.double().cpu()).min())
    rounding = float(torch.finfo(v.dtype).eps * moved.abs().max()) / gap
    assert_close("translation", drift(moved, s, weight), u, magnitude, tolerance + 30 * rounding)
    # A score s = grad log f keeps its values when v is boosted; a Maxwellian's shift of s is invisible.
    assert_close("shift of s", drift(v, s + boost, weight), u, magnitude, 100 * tolerance)


def assert_scales(drift: Drift, v: Tensor, s: Tensor, weight: Tensor, magnitude: Tensor, gamma: float) -> None:
    """U(lambda v, s) = lambda^(gamma + 2) U(v, s); exact only without softening."""
    u = drift(v, s, weight)
    for factor in (0.5, 4.0):
        scaled = drift(factor * v, s, weight) / factor ** (gamma + 2)
        assert_close(f"scaling by {factor}", scaled, u, magnitude, 10 * TOLERANCE[v.dtype])


@st.composite
def cases(draw: st.DrawFn, exponents: tuple[float, ...] | None = None) -> tuple[int, int, float, int]:
    """Number of particles, dimension, exponent, seed."""
    n = draw(st.integers(2, 12))
    d = draw(st.sampled_from((2, 3, 5, 10)))
    anywhere = st.one_of(st.sampled_from(EXPONENTS), st.floats(-4, 1))
    gamma = draw(st.sampled_from(exponents) if exponents else anywhere)
    return n, d, gamma, draw(st.integers(0, 2**31))
