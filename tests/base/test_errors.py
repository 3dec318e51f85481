"""Errors are types: what they say, what they carry, and that they survive a process."""

from __future__ import annotations

import pickle

import pytest
import torch

from graphlandau.base.errors import Diverged, InvalidArgument, NonFinite, NotInvertible, out_of_memory


def test_an_invalid_argument_says_which_what_and_what_came():
    error = InvalidArgument("k", "must be below 5", 7, "; the nearest is 4")
    assert str(error) == "'k' must be below 5 (got 7); the nearest is 4"
    assert (error.argument, error.allowed, error.got, error.hint) == ("k", "must be below 5", 7, "; the nearest is 4")
    assert isinstance(error, ValueError)


@pytest.mark.parametrize("kind", [InvalidArgument, NonFinite])
def test_another_name_for_the_argument_keeps_the_type(kind):
    renamed = kind("s", "must be finite", "1 of 3").renamed("method.score")
    assert type(renamed) is kind
    assert str(renamed) == "'method.score' must be finite (got 1 of 3)"


@pytest.mark.parametrize(
    "error",
    [
        InvalidArgument("k", "must be odd", 2, "; try 3"),
        NonFinite("v", "must be finite", "2 of 6"),
        NotInvertible(3, 60, 0.1, 0.07),
        NotInvertible(3, 60, cure="train longer"),
        Diverged("'v' became non-finite"),
    ],
)
def test_errors_pass_between_processes(error):
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert vars(again) == vars(error)


def test_a_map_that_is_not_invertible_says_how_many_and_what_would_pass():
    error = NotInvertible(3, 60, 0.1, 0.0712)
    assert isinstance(error, ArithmeticError)
    assert "3 of 60 particles (5.00%)" in str(error)
    assert "a dt below 0.0712 would have passed (got 0.1)" in str(error)


def test_out_of_memory_is_told_from_other_errors():
    assert out_of_memory(MemoryError())
    assert out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert not out_of_memory(RuntimeError("The size of tensor a must match"))
    # What torch says on a CPU, in its own words: more than any machine has.
    with pytest.raises(RuntimeError) as refused:
        torch.empty(2**60, dtype=torch.uint8)
    assert out_of_memory(refused.value)
