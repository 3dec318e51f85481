"""Errors of a carried entropy, and the least entropy that is possible."""

from __future__ import annotations

import math

import pytest
import torch

from graphlandau.diagnostics import Gap, carried_error, maxwellian_gap, standard_error


def _normal(n: int, variances: list[float], seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Samples of a normal density, and its logarithm at them."""
    sigma = torch.tensor(variances, dtype=torch.float64).sqrt()
    z = torch.randn(n, len(variances), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return z * sigma, -0.5 * z.square().sum(1) - sigma.log().sum() - 0.5 * len(variances) * math.log(2 * math.pi)


@pytest.mark.parametrize("variances", [[1.8, 0.2, 1.0], [0.3, 0.5], [4.0]])
def test_the_gap_is_the_relative_entropy_to_the_maxwellian_of_equal_energy(variances: list[float]) -> None:
    v, log_f = _normal(40_000, variances)
    T = sum(variances) / len(variances)
    gap = maxwellian_gap(log_f, v)
    assert gap.value == pytest.approx(0.5 * sum(math.log(T / s) for s in variances), abs=4 * gap.stderr + gap.slack)
    assert not gap.impossible


@pytest.mark.parametrize(("d", "n"), [(1, 50), (2, 300), (3, 2000), (6, 500)])
def test_a_maxwellian_is_possible_and_what_is_lower_is_not(d: int, n: int) -> None:
    """Its own moments take no sample below what is possible; a tenth less is below for every one."""
    for seed in range(40):
        v, log_f = _normal(n, [0.7] * d, seed)
        assert not maxwellian_gap(log_f, v).impossible
        low = maxwellian_gap(log_f - 0.5, v)
        assert low.impossible
        assert low.deficit == pytest.approx(0.5, abs=10 * (d + 1) / n)


@pytest.mark.parametrize("scale", [1e-9, 3.0, 1e7])
def test_the_gap_has_no_unit(scale: float) -> None:
    v, log_f = _normal(500, [1.0, 2.0])
    there = maxwellian_gap(log_f - 2 * math.log(scale), scale * (v + 3.0))
    here = maxwellian_gap(log_f, v)
    assert there.value == pytest.approx(here.value, abs=1e-12)
    assert there.stderr == pytest.approx(here.stderr, rel=1e-9)


def test_weights_are_repetitions() -> None:
    v, log_f = _normal(60, [1.0, 0.5])
    times = torch.arange(60) % 3 + 1
    weighted = maxwellian_gap(log_f, v, times.double() / 7)
    repeated = maxwellian_gap(log_f.repeat_interleave(times), v.repeat_interleave(times, 0))
    assert weighted.value == pytest.approx(repeated.value, abs=1e-13)
    # But 60 particles of unequal weight know less than as many as their weights say.
    assert weighted.stderr > repeated.stderr


def test_the_standard_error_is_the_spread_of_means() -> None:
    generator = torch.Generator().manual_seed(1)
    w = torch.rand(50, generator=generator, dtype=torch.float64)
    samples = torch.randn(4000, 50, generator=generator, dtype=torch.float64)
    for weight, p in ((None, torch.full_like(w, 1 / 50)), (w, w / w.sum())):
        spread = float((samples @ p).std())
        found = float(torch.stack([standard_error(x, weight) for x in samples[:400]]).mean())
        assert found == pytest.approx(spread, rel=0.05)


def test_the_larger_of_balance_and_deficit_counts() -> None:
    assert carried_error(0.3, 0.4, 0.0) == carried_error(0.3, -0.4, 0.1) == carried_error(0.3, 0.1, 0.4) == 0.5
    assert carried_error(0.3, 0.0, Gap(0.2, 0.1).deficit) == 0.3
