"""Moments of score matching: plain loops over the particles, whatever the folds, chunks and processes."""

from __future__ import annotations

import pytest
import torch

from graphlandau.nn.linear import FourierFeatures, Moments, moments, score_moments

N, COUNT, FOLDS = 1003, 20, 10


def particles(weighted: bool) -> tuple[torch.Tensor, torch.Tensor | None]:
    generator = torch.Generator().manual_seed(1)
    v = torch.randn(N, 2, generator=generator, dtype=torch.float64)
    return v, torch.rand(N, generator=generator, dtype=torch.float64) if weighted else None


def halved(v: torch.Tensor) -> torch.Tensor:
    return v / 2


def moments_of(v: torch.Tensor, w: torch.Tensor | None, folds: int = FOLDS) -> Moments:
    return score_moments(FourierFeatures(2, COUNT, 0), halved, v, w, COUNT, folds)


@pytest.mark.parametrize("weighted", [False, True])
def test_folds_go_by_the_number_of_the_particle(weighted):
    v, w = particles(weighted)
    found, features = moments_of(v, w), FourierFeatures(2, COUNT, 0)
    x = halved(v)
    columns = torch.cat([features(x), x, torch.ones(N, 1).double()], dim=1)
    gradients = torch.func.vmap(torch.func.jacrev(lambda y: features(y[None])[0]))(x)
    share = torch.full((N,), 1 / N, dtype=torch.float64) if w is None else w / w.sum()
    for k in range(FOLDS):
        own = share[k::FOLDS] / share[k::FOLDS].sum()
        torch.testing.assert_close(found.gram[k], columns[k::FOLDS].T @ (own[:, None] * columns[k::FOLDS]))
        mean = torch.einsum("n,nkb->kb", own, gradients[k::FOLDS])
        torch.testing.assert_close(found.linear[k], torch.cat([mean, torch.eye(3, 2).double()]))
    # Without weights a mass is a number of particles.
    torch.testing.assert_close(found.mass / found.mass.sum(), torch.stack([share[k::10].sum() for k in range(10)]))


@pytest.mark.parametrize("weighted", [False, True])
def test_neither_chunks_nor_processes_change_them(weighted, monkeypatch):
    v, w = particles(weighted)
    alone = moments_of(v, w)
    # Three ranks, one after the other, each with the sums of those before it.
    monkeypatch.setattr(moments, "rows_at_a_time", lambda x: 64)
    sums: list[torch.Tensor] = []
    found = alone
    for first, last in ((0, 17), (17, 508), (508, N)):
        before, sums = sums, []

        def sum_partial(
            part: torch.Tensor, before: list[torch.Tensor] = before, sums: list[torch.Tensor] = sums
        ) -> torch.Tensor:
            sums.append(part + before[len(sums)] if before else part)
            return sums[-1]

        monkeypatch.setattr(moments.distributed, "shard_rows", lambda n, rows=slice(first, last): rows)
        monkeypatch.setattr(moments.distributed, "sum_partial", sum_partial)
        found = moments_of(v, w)
    for a, b in zip(found, alone, strict=True):
        torch.testing.assert_close(a, b)


def test_the_mean_over_folds_is_that_over_the_particles_in_them():
    v, w = particles(True)
    folds, together = moments_of(v, w), moments_of(v, w, 1)
    for a, b in zip(folds.mean(), together.mean(), strict=True):
        torch.testing.assert_close(a, b)
    assert w is not None
    absent = w.clone()
    absent[3::FOLDS] = 0
    without = moments_of(v, absent)
    # A fold without weight is none.
    assert len(without.mass) == FOLDS - 1
    torch.testing.assert_close(folds.mean(leave_out=3).gram, without.mean().gram)
    torch.testing.assert_close(folds.mean(leave_out=3).linear, without.mean().linear)
