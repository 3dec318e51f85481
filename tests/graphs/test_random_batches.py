"""Random batches: a partition of all particles, fresh at every call, reproducible."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.data import Data

from graphlandau.base.state import particle_state
from graphlandau.graphs import RandomBatches
from graphlandau.nn import LandauDrift


def state(n: int):
    return particle_state(torch.randn(n, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64))


@given(st.integers(2, 80), st.data(), st.integers(0, 2**31))
@settings(max_examples=50, deadline=None)
def test_blocks_partition_the_particles(n, data, seed):
    """floor(N / size) blocks, no particle left out, sizes that differ by one at most and are never below size."""
    size = data.draw(st.integers(2, n))
    batch = RandomBatches(size, torch.Generator().manual_seed(seed))(state(n)).batch
    assert batch.dtype == torch.long
    assert batch.shape == (n,)
    counts = torch.bincount(batch)
    assert len(counts) == n // size
    assert int(counts.sum()) == n
    assert size <= int(counts.min()) <= int(counts.max()) <= int(counts.min()) + 1


def test_generator_decides_and_moves_on():
    """Same seed, same blocks; the next call draws others; the state that was passed in is left alone."""
    plasma = state(40)
    first, second = (RandomBatches(5, torch.Generator().manual_seed(3)) for _ in range(2))
    a, b = first(plasma).batch, second(plasma).batch
    assert torch.equal(a, b)
    assert not torch.equal(first(plasma).batch, a)
    assert "batch" not in plasma


def test_every_pair_meets_equally_often():
    """The probability that two of 8 particles share one of four blocks of 2 is 1/7: 5 standard errors of 2000 draws."""
    draw = RandomBatches(2, torch.Generator().manual_seed(0))
    plasma = state(8)
    met = torch.zeros(8, 8)
    for _ in range(2000):
        batch = draw(plasma).batch
        met += batch[:, None] == batch
    frequency = met[~torch.eye(8, dtype=torch.bool)] / 2000
    assert float((frequency - 1 / 7).abs().max()) < 5 * (1 / 7 * 6 / 7 / 2000) ** 0.5


def test_drift_over_random_batches_is_unbiased():
    """Its mean over shuffles is the full drift: sum over others with weight 1/(N-1) meets 1/size in each block.

    A block of size p gives each of the p - 1 others weight 1/p, met with probability (p-1)/(N-1): so
    the mean is (p-1)/p N/(N-1) times the full drift.
    """
    plasma = state(12)
    s = -plasma.v.flip(0)
    draw, drift = RandomBatches(4, torch.Generator().manual_seed(0)), LandauDrift(0.0)
    samples = torch.stack([drift(plasma.v, s, batch=draw(plasma).batch) for _ in range(2000)])
    expected = 3 / 4 * 12 / 11 * drift(plasma.v, s)
    standard_error = samples.std(0) / 2000**0.5
    assert float(((samples.mean(0) - expected) / standard_error).abs().max()) < 5


@pytest.mark.parametrize("size", [1, 0, -3, 2.0, "all", True])
def test_refuses_size(size):
    with pytest.raises(ValueError, match="'size' must be an integer of at least 2"):
        RandomBatches(size)


def test_refuses_more_than_there_are():
    with pytest.raises(ValueError, match=r"'size' must be at most the number of particles, 5 \(got 6\)"):
        RandomBatches(6)(state(5))


def test_repr_shows_the_arguments():
    assert repr(RandomBatches(64)) == "RandomBatches(size=64)"


def test_positions_alone_are_particles_too():
    assert RandomBatches(2)(Data(pos=torch.randn(7, 2))).batch.bincount().tolist() == [3, 2, 2]
    with pytest.raises(ValueError, match=r"'data' must have velocities 'v' or positions 'pos' \(got keys \['x'\]\)"):
        RandomBatches(2)(Data(x=torch.randn(7, 2)))
