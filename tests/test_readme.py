"""What the README shows does run."""

from __future__ import annotations

import re
from pathlib import Path

import torch

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_python_examples_run_one_after_the_other():
    """The first conserves momentum; the second goes on with its particles."""
    names: dict = {}
    for block in re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL):
        exec(block, names)
    assert names["state"].is_undirected()
    v, edge_index, plasma = names["v"], names["edge_index"], names["plasma"]
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in plasma.parameters())
    # Momentum is exact for any network: rounding of a float32 mean over 500 particles.
    assert float((plasma(v, edge_index) - v).mean(0).abs().max()) < 1e-6


def test_files_that_are_linked_exist():
    for target in re.findall(r"\]\(([^)h][^)]*)\)", README):
        assert (ROOT / target).exists(), target
