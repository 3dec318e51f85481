"""Learning-rate schedules: the factors of their formulas, and what they refuse."""

from __future__ import annotations

import math

import pytest

from graphlandau.training.schedules import CosineDecay, ExponentialDecay, StepDecay


def test_step_decay_drops_once_after_each_time():
    schedule = StepDecay([1.0, 4.0], factor=0.1)
    assert [schedule(t) for t in (0.0, 1.0, 1.5, 4.0, 9.0)] == pytest.approx([1, 1, 0.1, 0.1, 0.01])


def test_step_decay_is_not_moved_by_rounding():
    """Ten steps of 0.1 add up to slightly less or more than 1: the drop comes with the next step either way."""
    schedule = StepDecay([0.3])
    assert 0.1 + 0.2 > 0.3
    assert schedule(0.1 + 0.2) == 1.0


def test_exponential_decay_halves():
    schedule = ExponentialDecay(3.0)
    assert [schedule(t) for t in (0.0, 3.0, 9.0)] == pytest.approx([1, 1 / 2, 1 / 8])


def test_cosine_decay_is_a_half_wave_and_then_its_floor():
    schedule = CosineDecay(8.0, floor=0.2)
    assert [schedule(t) for t in (0.0, 2.0, 4.0, 8.0, 99.0)] == pytest.approx(
        [1, 0.6 + 0.4 * math.sqrt(0.5), 0.6, 0.2, 0.2]
    )


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: StepDecay([2.0, 1.0]), "'times' must increase"),
        (lambda: StepDecay([1.0], factor=0.0), "'factor' must be positive"),
        (lambda: ExponentialDecay(-1.0), "'half_life' must be positive"),
        (lambda: CosineDecay(0.0), "'duration' must be positive"),
        (lambda: CosineDecay(1.0, floor=1.0), "'floor' must be in"),
    ],
)
def test_refuses(build, message):
    with pytest.raises(ValueError, match=message):
        build()
