"""Groups of options: what is out of range is refused by its own name, and a drift is the one that was asked for."""

import pytest
import torch

from graphlandau.base.errors import InvalidArgument
from graphlandau.methods import JKO, SBTM, KineticJKO
from graphlandau.methods.options import Collisions, InnerStep, Mesh, Push, Step
from graphlandau.nn.pairs import keops_available
from graphlandau.training import Fit


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
    with pytest.raises(ValueError, match=r"'backend' must be one that works here .*pip install 'graphlandau.keops.'"):
        Collisions(backend="keops")


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda net: SBTM(net, fit=Step()), r"'fit' must be options of the class Fit \(got Step\("),
        (lambda net: SBTM(net, step=Fit()), r"'step' must be options of the class Step \(got Fit\("),
        (
            lambda net: SBTM(net, collisions="dense"),
            r"'collisions' must be options of the class Collisions \(got 'dense'",
        ),
        (lambda net: JKO(net, fit=Fit()), r"'fit' must be options of the class EpochFit \(got Fit\("),
        (lambda net: JKO(net, step=Step()), r"'step' must be options of the class InnerStep \(got Step\("),
        (lambda net: KineticJKO(net, training=Fit()), r"'training' must be options of the class ControlTraining"),
    ],
)
def test_refuses_a_group_of_another_kind(build, said):
    with pytest.raises(InvalidArgument, match=said):
        build(torch.nn.Linear(2, 2))
