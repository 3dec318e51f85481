"""What is refused, by name, with what is allowed and what came; what is not, comes back as it is."""

from __future__ import annotations

import math
import re

import pytest
import torch

from graphlandau.base import validation
from graphlandau.base.errors import InvalidArgument, NonFinite

V = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
EDGES = torch.tensor([[0, 1, 2], [1, 2, 0]])

PASS = {
    "positive": (lambda: validation.require_positive("x", 3), 3.0),
    "one of": (lambda: validation.require_one_of("x", "b", ("a", "b")), "b"),
    "integer": (lambda: validation.require_integer("x", 2, minimum=2), 2),
    "number": (lambda: validation.require_number("x", -2), -2.0),
    "no weight": (lambda: validation.require_weight("x", None, V), None),
    "finite": (lambda: validation.require_finite("x", V), V),
    "velocities": (lambda: validation.require_velocities("x", V), V),
    "one particle": (lambda: validation.require_velocities("x", V[:1], min_particles=1).shape, (1, 2)),
    "dimension": (lambda: validation.require_dimension("x", V, 2), V),
    "edges": (lambda: validation.require_edge_index("x", EDGES, V), EDGES),
    "no edges": (lambda: validation.require_edge_index("x", EDGES[:, :0], V).shape, (2, 0)),
}
REFUSED = {
    "zero": (lambda: validation.require_positive("x", 0), "must be positive (got 0)"),
    "endless": (lambda: validation.require_positive("x", math.inf), "must be positive (got inf)"),
    "true": (lambda: validation.require_positive("x", True), "must be a positive number (got True)"),
    "text": (lambda: validation.require_positive("x", "1"), "must be a positive number (got '1')"),
    "choice": (lambda: validation.require_one_of("x", "c", ("a", "b")), "must be one of a, b (got 'c')"),
    "small": (lambda: validation.require_integer("x", 1, minimum=2), "must be an integer >= 2 (got 1)"),
    "half": (lambda: validation.require_integer("x", 2.0, minimum=2), "must be an integer >= 2 (got 2.0)"),
    "yes": (lambda: validation.require_integer("x", True, minimum=0), "must be an integer >= 0 (got True)"),
    "nan": (lambda: validation.require_number("x", math.nan), "must be a finite number (got nan)"),
    "no tensor": (lambda: validation.require_velocities("x", [1]), "must be a tensor of shape (N, d) (got list)"),
    "flat": (lambda: validation.require_velocities("x", V[0]), "N >= 2 and d >= 1 (got (2,))"),
    "alone": (lambda: validation.require_velocities("x", V[:1]), "N >= 2 and d >= 1 (got (1, 2))"),
    "half precision": (lambda: validation.require_velocities("x", V.half()), "must be float32 or float64"),
    "wide": (lambda: validation.require_dimension("x", V, 3), "must have shape (N, 3) (got (3, 2))"),
    "short": (lambda: validation.require_weight("x", torch.ones(2), V), "must have shape (3,) and dtype torch.float32"),
    "double": (lambda: validation.require_weight("x", torch.ones(3).double(), V), "(got (3,), torch.float64)"),
    "negative": (lambda: validation.require_weight("x", torch.tensor([1, -1, 1.0]), V), "(got sum 1)"),
    "none": (lambda: validation.require_weight("x", torch.zeros(3), V), "with a positive sum (got sum 0)"),
    "list": (lambda: validation.require_weight("x", [1, 1, 1], V), "must be a tensor of shape (3,) (got list)"),
    "int32": (lambda: validation.require_edge_index("x", EDGES.int(), V), "int64 tensor of shape (2, E)"),
    "three rows": (lambda: validation.require_edge_index("x", EDGES.new_zeros(3, 3), V), "must have shape (2, E)"),
    "stranger": (lambda: validation.require_edge_index("x", EDGES + 1, V), "must name particles 0..2 (got 1..3)"),
}


@pytest.mark.parametrize("name", PASS)
def test_what_is_allowed_comes_back(name):
    call, expected = PASS[name]
    found = call()
    assert found is expected or (type(found), found) == (type(expected), expected) or found == expected


@pytest.mark.parametrize("name", REFUSED)
def test_refuses_by_name(name):
    call, said = REFUSED[name]
    with pytest.raises(InvalidArgument, match=re.escape(said)) as refused:
        call()
    assert refused.value.argument == "x"
    assert str(refused.value).startswith("'x' must ")


def test_refuses_entries_that_are_no_numbers_by_their_count():
    v = V.clone()
    v[0, 1], v[2, 0] = math.nan, -math.inf
    with pytest.raises(NonFinite, match=r"'v' must be finite \(got 2 non-finite of 6 entries\)"):
        validation.require_finite("v", v)


def test_a_sum_that_overflows_is_no_reason():
    big = torch.full((4,), 3e38)
    assert not bool(big.sum().isfinite())
    assert validation.all_finite(big)
    assert not validation.all_finite(torch.tensor([math.inf, -math.inf]))


def test_inside_transforms_values_are_not_looked_at():
    seen = []

    def look(x):
        seen.append(validation.is_concrete(x))
        return validation.require_finite("x", x).sum()

    torch.func.grad(look)(torch.tensor([math.nan]))
    look(torch.ones(1))
    assert seen == [False, True]


@pytest.mark.parametrize(
    ("count", "time"), [(2 * 10**9, "2.3 days"), (10**15, "3.2e+03 years"), (10**40, "3.2e+28 years")]
)
def test_what_cannot_end_is_refused_with_the_time_that_it_takes(count: int, time: str):
    assert validation.require_repeats("steps", 10**9, minimum=0) == 10**9
    with pytest.raises(ValueError, match=rf"'steps' must be at most 1,000,000,000 .* more than {re.escape(time)}\)"):
        validation.require_repeats("steps", count, minimum=0)


def test_what_fits_into_no_memory_is_refused_with_what_it_needs():
    assert validation.require_parts("layers", 10_000, minimum=1) == 10_000
    with pytest.raises(ValueError, match=r"'layers' must be at most 10,000 .* more than 9.3e\+04 GiB\)"):
        validation.require_parts("layers", 10**10, minimum=1)
