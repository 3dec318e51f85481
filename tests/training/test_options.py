"""How models are fitted: what is out of range is refused by its own name."""

import pytest

from graphlandau.training import ControlTraining, EpochFit, Fit


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        (Fit, "learning_rate", 0.0),
        (Fit, "schedule", 0.5),
        (Fit, "minibatch", 1),
        (Fit, "hold_out", 1),
        (Fit, "initial_tolerance", -1.0),
        (Fit, "initial_steps", -1),
        (Fit, "training", "sometimes"),
        (Fit, "steps", 0),
        (Fit, "max_steps", 0),
        (EpochFit, "epochs", 0),
        (EpochFit, "minibatch", 1),
        (ControlTraining, "log_det", "linear"),
        (ControlTraining, "steps", 0),
        (ControlTraining, "initial_steps", 0),
        (ControlTraining, "warm_start", "yes"),
        (ControlTraining, "learning_rate", float("nan")),
        (ControlTraining, "minibatch", 1),
    ],
)
def test_refuses_what_is_out_of_range(kind, name, value):
    with pytest.raises(ValueError, match=f"'{name}' must be"):
        kind(**{name: value})


def test_a_cap_holds_at_least_one_burst():
    with pytest.raises(ValueError, match="'max_steps' must be at least steps = 50"):
        Fit(training="adaptive", steps=50, max_steps=49)
    assert Fit(steps=50, max_steps=49).max_steps == 49  # not asked for


def test_epochs_have_a_rate_and_a_size_of_their_own():
    assert (Fit().learning_rate, Fit().minibatch) == (5e-4, 2048)
    assert (EpochFit().learning_rate, EpochFit().minibatch) == (1e-4, None)
