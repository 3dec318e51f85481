"""What the pairwise layers share: complete graphs as edge lists, and the refusal of KeOps where it is missing."""

from __future__ import annotations

import pytest
import torch

import graphlandau.nn.conv.pairwise as pairwise
from graphlandau.graphs.partition import Partition
from graphlandau.nn import BlobScore, LandauDrift


@pytest.mark.parametrize("labels", [[0] * 5, [3, 1, 3, 3, 0, 1, 9]])
def test_complete_edges(labels):
    """All ordered pairs inside each block, once, without loops."""
    batch = torch.tensor(labels)
    edges = pairwise.complete_edges(Partition.from_batch(batch, torch.zeros(len(labels), 1)))
    n = range(len(labels))
    expected = {(j, i) for i in n for j in n if i != j and labels[i] == labels[j]}
    assert edges.size(1) == len(expected)
    assert {tuple(e) for e in edges.T.tolist()} == expected


@pytest.mark.parametrize("layer", [lambda: LandauDrift(-3.0, backend="keops"), lambda: BlobScore(backend="keops")])
def test_keops_is_refused_at_construction_with_the_cure(monkeypatch, layer):
    monkeypatch.setattr(pairwise, "keops_available", lambda: (False, "No module named 'pykeops'"))
    with pytest.raises(ImportError, match=r"pip install graphlandau\[keops\].*No module named 'pykeops'"):
        layer()
