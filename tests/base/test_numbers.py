"""A number is a number whatever library it comes from: of Python, NumPy or torch, and stored as the number it is."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from graphlandau import fields, graphs, methods, nn, problems, training
from graphlandau.base.errors import InvalidArgument
from graphlandau.base.validation import require_bool, require_integer, require_number, require_positive
from graphlandau.cli.option_groups import _parameters, closed, groups_of
from graphlandau.graphs.neighbours import knn_edges
from graphlandau.physics import LandauKernel
from graphlandau.run import Simulation

# Arguments that a constructor cannot do without.
GIVEN: dict[str, dict[str, Any]] = {
    "LandauKernel": {"gamma": -2.0},
    "LandauDrift": {"gamma": -2.0},
    "JKOAction": {"gamma": -1.0},
    "Grid": {"lengths": 2.0, "cells": 8},
    "KNNGraph": {"k": 3},
    "RadiusGraph": {"r": 0.5},
    "RandomBatches": {"size": 4},
    "ExponentialDecay": {"half_life": 2.0},
    "CosineDecay": {"duration": 3.0},
    "StepDecay": {"times": [1.0, 2.0]},
}
SCORES = {name: {"d": 2} for name in ("MLPScore", "ResidualScore", "GaussianScore", "ClosedFormScore")}
SCORES |= {"GNNScore": {"d": 2, "k": 4}, "TimeMLP": {"d": 2}}
METHODS: dict[str, Any] = {"Blob": {}, "Vlasov": {}, "Langevin": {}}
PROBLEMS = ["Anisotropic", "BKW", "BiMaxwellian", "LandauDamping", "Mixture", "Rosenbluth", "Truncated"]
PROBLEMS += ["TwoStream", "VFPDoubleWell", "VFPGaussian", "VFPPeriodic", "VPFPBeams"]
ROOMS = (problems, nn, graphs, fields, methods, training)
KINDS: dict[str, Callable[[Any], Any]] = {
    "numpy": lambda x: (np.int32 if isinstance(x, int) else np.float64)(x),
    "array": lambda x: np.array(x),
    "tensor": lambda x: torch.tensor(x, dtype=None if isinstance(x, int) else torch.float64),
}


def found(name: str) -> type:
    if name == "LandauKernel":
        return LandauKernel
    return next(getattr(room, name) for room in ROOMS if hasattr(room, name))


def numbers_of(name: str) -> dict[str, float]:
    """Numeric arguments of a constructor, those given here and those with a number as default."""
    kind = found(name)
    given = GIVEN | SCORES | METHODS
    arguments = dict(given.get(name, {}))
    defaults = {key: p.default for key, p in _parameters(kind).items()}
    for group in groups_of(kind).values():
        defaults |= {field.name: getattr(group, field.name) for field in dataclasses.fields(group)}
    arguments |= {key: x for key, x in defaults.items() if key not in arguments}
    return {key: x for key, x in arguments.items() if isinstance(x, int | float) and not isinstance(x, bool)}


def facts(built: Any) -> str:
    """The numbers and words that an object has kept."""
    public = {key: x for key, x in vars(built).items() if not key.startswith("_")}
    assert not any(isinstance(x, np.generic) for x in public.values()), public
    return repr({key: x for key, x in public.items() if isinstance(x, int | float | str | tuple | list)})


CASES = [*GIVEN, *SCORES, *METHODS, *PROBLEMS]
GROUPS = ["Fit", "EpochFit", "ControlTraining", "Recipe"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", [*CASES, *GROUPS])
def test_a_constructor_takes_any_number_as_the_number_it_is(name: str, kind: str):
    numbers = numbers_of(name)
    assert numbers, name
    fixed = {key: x for key, x in (GIVEN | SCORES).get(name, {}).items() if key not in numbers}
    torch.manual_seed(0)
    plain = found(name)(**closed(found(name), fixed | numbers))
    torch.manual_seed(0)
    other = {key: KINDS[kind](x) for key, x in numbers.items()}
    built = found(name)(**closed(found(name), fixed | other))
    assert facts(built) == facts(plain)
    if dataclasses.is_dataclass(plain):
        assert built == plain
        assert all(type(x) in (int, float, str, bool, type(None)) for x in dataclasses.astuple(built))


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_takes_any_number(kind: str):
    of = KINDS[kind]
    options = {"particles": 40, "dt": 0.25, "t_end": 0.5, "seed": 7, "snapshots": 2, "metrics_every": 1}
    plain = Simulation(problems.BKW(d=2), methods.Blob(), baselines=False, **options).run()
    other = {key: of(x) for key, x in options.items()}
    result = Simulation(problems.BKW(d=of(2)), methods.Blob(seed=of(0)), baselines=False, **other).run()
    assert torch.equal(result.state.v, plain.state.v)
    json.dumps(result.summary)


def test_single_precision_is_the_number_that_it_is():
    assert require_positive("x", np.float32(0.1)) == float(np.float32(0.1))
    assert require_number("x", np.float16(-0.3)) == float(np.float16(-0.3))
    assert type(require_positive("x", np.longdouble(2))) is float
    assert type(require_integer("n", np.uint8(200), minimum=1)) is int
    assert require_bool("flag", np.bool_(True)) is True


@pytest.mark.parametrize(
    "value",
    [
        np.ones(1),
        np.array(1 + 2j),
        np.bool_(True),
        np.array("1"),
        torch.ones(1),
        torch.tensor(True),
        torch.tensor(1.0, requires_grad=True),
        torch.tensor(1.0, device="meta"),
        np.float64("nan"),
        torch.tensor(float("inf")),
        None,
    ],
    ids=repr,
)
def test_what_is_no_number_is_refused(value: Any):
    for require in (require_positive, require_number, lambda name, x: require_integer(name, x, minimum=1)):
        with pytest.raises(InvalidArgument, match="'x' must be"):
            require("x", value)


def test_an_integer_beyond_all_floats_is_no_number():
    for require in (require_positive, require_number):
        with pytest.raises(InvalidArgument, match="'x' must be"):
            require("x", 10**400)


def test_arrays_are_lists_of_numbers():
    assert fields.Grid(np.array([2.0, 3.0]), torch.tensor([4, 8])) == fields.Grid((2.0, 3.0), (4, 8))
    x = torch.rand(20, 2)
    assert torch.equal(knn_edges(x, np.int64(3), box=np.ones(2)), knn_edges(x, 3, box=[1.0, 1.0]))
    assert training.StepDecay(np.array([1.0, 2.0])).times == [1.0, 2.0]
