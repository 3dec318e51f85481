"""Blocks of particles from a batch vector."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from graphlandau.graphs.partition import Partition

BATCH = torch.tensor([7, -2, 7, 40, -2, 7])
LIKE = torch.arange(6, dtype=torch.float64)[:, None].expand(6, 2)


def test_unsorted_batch_with_gaps():
    """Numbering keeps the order of the labels; sizes, totals and spreading follow the members."""
    p = Partition.from_batch(BATCH, LIKE)
    assert p.count == 3
    assert p.size.tolist() == [2, 3, 1]
    assert p.block.tolist() == [1, 0, 1, 2, 0, 1]
    assert p.total(LIKE)[:, 0].tolist() == [5.0, 7.0, 3.0]
    assert p.spread(p.total(LIKE))[:, 0].tolist() == [7.0, 5.0, 7.0, 3.0, 5.0, 7.0]
    assert p.order.tolist() == [1, 4, 0, 2, 5, 3]
    assert p.first.tolist() == [0, 2, 5]


def test_weights_sum_to_one_in_each_block():
    p = Partition.from_batch(BATCH, LIKE)
    weight = torch.tensor([1.0, 2, 3, 4, 5, 6], dtype=torch.float64)
    assert torch.allclose(p.total(p.normalised(weight, LIKE)), torch.ones(3, dtype=torch.float64))
    assert torch.allclose(p.normalised(weight, LIKE)[[0, 2, 5]], weight[[0, 2, 5]] / 10)
    assert torch.allclose(p.normalised(None, LIKE), p.spread(1 / p.size.double()))


@given(st.lists(st.integers(0, 6), min_size=1, max_size=60), st.integers(0, 100))
@settings(max_examples=50, deadline=None)
def test_padding_covers_every_particle_once(labels, seed):
    """Every particle is a true entry of exactly one row, rows are blocks, padding repeats a member of the block."""
    batch = torch.tensor(labels)[torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))]
    p = Partition.from_batch(batch, torch.zeros(len(labels), 1))
    seen, pairs = [], 0
    for index, mask in p.padded():
        seen.append(index[mask])
        pairs += index.numel() * index.size(1)
        for row, real in zip(index, mask, strict=True):
            assert len(batch[row].unique()) == 1
            assert int(real.sum()) == int((batch == batch[row[0]]).sum())
    assert torch.cat(seen).sort().values.tolist() == list(range(len(labels)))
    # Sizes in (2^(e-1), 2^e] share a table: at most four times the true pairs.
    assert pairs <= 4 * int((p.size**2).sum())


@pytest.mark.parametrize("batch", [torch.zeros(5).long(), torch.zeros(6), torch.zeros(6, 1).long(), [0] * 6])
def test_refuses_batch(batch):
    with pytest.raises(ValueError, match="'batch' must be an integer tensor"):
        Partition.from_batch(batch, LIKE)


def test_refuses_a_block_without_weight():
    p = Partition.from_batch(BATCH, LIKE)
    with pytest.raises(ValueError, match="'weight' must have a positive sum in every block"):
        p.normalised(torch.tensor([1.0, 1, 1, 0, 1, 1], dtype=torch.float64), LIKE)
