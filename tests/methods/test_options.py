"""Groups of options: what is out of range is refused by its own name, and a drift is the one that was asked for."""

import pytest

from graphlandau.methods.options import Collisions, InnerStep, Mesh, Push, Step
from graphlandau.nn.pairs import keops_available


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        (Collisions, "backend", "cuda"),
        (Collisions, "mesh_tolerance", 0.0),
        (Collisions, "batch_size", 1),
        (Collisions, "batch_size", "all"),
        (Step, "integrator", "leapfrog"),
        (Step, "log_det", "approximate"),
        (InnerStep, "integrator", "midpoint"),
        (InnerStep, "inner_steps", 0),
        (InnerStep, "log_det", "implicit"),
        (Mesh, "order", 4),
        (Mesh, "order", True),
        (Mesh, "cells", 3),
        (Push, "cells", 3),
        (Push, "map", "leapfrog"),
        (Push, "field", "maxwell"),
    ],
)
def test_refuses_what_is_out_of_range(kind, name, value):
    with pytest.raises(ValueError, match=f"'{name}' must be"):
        kind(**{name: value})


def test_the_drift_has_backend_and_tolerance_of_the_group():
    drift = Collisions(backend="mesh", mesh_tolerance=0.02).drift(-3.0, 0.5)
    assert (drift.backend, drift.tolerance, drift.kernel.strength) == ("mesh", 0.02, 0.5)


@pytest.mark.skipif(keops_available()[0], reason="KeOps works here")
def test_a_backend_that_does_not_work_here_is_refused_before_a_run():
    with pytest.raises(ValueError, match=r"'backend' must be one that works here .*pip install graphlandau.keops."):
        Collisions(backend="keops")
