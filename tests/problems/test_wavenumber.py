"""Wavenumbers that fit into a box."""

from __future__ import annotations

import math

import pytest

from graphlandau.problems.wavenumber import require_fitting


@pytest.mark.parametrize("mode", [1, 2, 7])
@pytest.mark.parametrize("length", [1.0, 2 * math.pi, 25.0])
def test_the_mode_of_a_wave_that_fits(mode: int, length: float):
    assert require_fitting("k", 2 * math.pi * mode / length, length) == mode


def test_refuses_what_does_not_fit_and_names_the_nearest():
    with pytest.raises(ValueError, match=r"'k' must be a multiple of .* = 0.25 \(got 0.4; the nearest is 0.5\)"):
        require_fitting("k", 0.4, 8 * math.pi)
    # Longer than the box: the nearest is the longest wave that fits, not none.
    with pytest.raises(ValueError, match=r"the nearest is 0.25\)"):
        require_fitting("k", 0.01, 8 * math.pi)


def test_printed_digits_are_enough():
    """To a millionth of a mode."""
    assert require_fitting("k", 0.2513274, 25.0) == 1
    with pytest.raises(ValueError, match="'k'"):
        require_fitting("k", 0.25133, 25.0)


@pytest.mark.parametrize(("k", "length", "named"), [(-1.0, 1.0, "k"), (0.0, 1.0, "k"), (1.0, 0.0, "length")])
def test_refuses_what_is_not_positive(k, length, named):
    with pytest.raises(ValueError, match=f"'{named}' must be positive"):
        require_fitting("k", k, length)
