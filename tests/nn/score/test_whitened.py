"""Whitened velocities lose no digits to a bulk velocity."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from graphlandau.nn import BlobScore, ClosedFormScore, GaussianScore, GNNScore, MLPScore, TimeMLP, TimeScore

MODELS = {
    "gaussian": lambda: GaussianScore(2),
    "closed form": lambda: ClosedFormScore(2),
    "mlp": lambda: MLPScore(2),
    "gnn": lambda: GNNScore(2, k=6),
    "blob": lambda: BlobScore(0.4),
    "time": lambda: TimeScore(TimeMLP(2), 2, 0.0, 1.0),
}


@settings(max_examples=25, deadline=None)
@given(
    bulk=st.lists(st.floats(-1e5, 1e5), min_size=2, max_size=2), name=st.sampled_from([*MODELS]), blocks=st.booleans()
)
def test_a_bulk_velocity_costs_no_digits(bulk, name, blocks):
    """In float32, up to 1e5 thermal speeds from 0: what float64 makes of the same input."""
    v = torch.randn(200, 2, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    v = (v + torch.tensor(bulk, dtype=torch.float64)).float()
    graph = {"batch": torch.arange(200) % 2} if blocks and name not in ("mlp", "time") else {}
    more = [torch.tensor(0.5)] if name == "time" else []
    model = MODELS[name]()
    if name == "time":
        model.condition(v.double().mean(0), float(v.double().var(0).mean()))
    elif name != "blob":
        model.condition(v, **graph)
    with torch.no_grad():
        found = model(v, *more, **graph)
        exact = model.double()(v.double(), *(t.double() for t in more), **graph)
    # Some roundings of 6e-8 each, in networks and densities a few more.
    assert float((found - exact).norm() / exact.norm()) < 2e-6
