from __future__ import annotations

import numpy as np
import pytest

from graphlandau.diagnostics import mode_growth, why_no_growth

T = np.linspace(0, 25, 251)


@pytest.mark.parametrize(("rate", "frequency"), [(-0.1533, 1.4156), (-0.02, 1.16), (-0.4, 2.5)])
def test_a_damped_wave_is_measured(rate, frequency):
    fit = mode_growth(T, (0.6 - 0.8j) * 0.02 * np.exp(rate * T) * np.cos(frequency * T))
    # The model is exact: what is left is where the minimisation stops.
    assert fit.rate == pytest.approx(rate, rel=1e-5)
    assert fit.frequency == pytest.approx(frequency, rel=1e-5)


def test_the_rate_does_not_depend_on_the_motion_of_the_plasma():
    rest = (1 + 2j) * np.exp(-0.15 * T) * np.cos(1.4 * T + 0.3)
    fits = [mode_growth(T, rest * np.exp(-0.5j * u * T)) for u in (0.0, 1.0)]
    assert [fit.rate for fit in fits] == pytest.approx([-0.15] * 2, rel=1e-5)
    # The frequency of the faster of the two waves is shifted by k u.
    assert [fit.frequency for fit in fits] == pytest.approx([1.4, 1.9], rel=1e-5)


def test_exponential_growth_up_to_saturation_is_measured():
    grown = 1e-3 * np.exp(0.45 * T)
    fit = mode_growth(T, -1j * grown / np.sqrt(1 + (grown / 2) ** 2))  # saturates at 2
    # At a tenth of the largest value saturation has bent the amplitude by 0.5 percent.
    assert fit.rate == pytest.approx(0.45, rel=0.01)
    assert fit.frequency == 0
    assert fit.t_first < fit.t_last < np.log(0.25 / 1e-3) / 0.45


def test_growth_beside_an_oscillation_of_the_same_size_is_measured():
    history = 1e-3 * np.exp(0.3 * T) + 5e-3 * np.exp(-0.01 * T) * np.cos(1.4 * T + 1)
    fit = mode_growth(T, history)
    # Three exponentials are the model: what is left is rounding.
    assert fit.rate == pytest.approx(0.3, rel=1e-6)
    assert fit.level == pytest.approx(1e-3, rel=1e-6)


def test_growth_alone_is_measured():
    fit = mode_growth(T, (1 + 1j) * np.exp(0.3 * T))
    assert fit.rate == pytest.approx(0.3, rel=1e-6)
    assert fit.frequency == 0


def test_a_growing_oscillation_has_a_frequency():
    fit = mode_growth(T, 1e-3 * np.exp(0.3 * T) * np.exp(1.4j * T))
    assert (fit.rate, fit.frequency) == pytest.approx((0.3, 1.4), rel=1e-6)


def test_noise_is_not_fitted():
    noise = 2e-5
    floor = noise * np.random.default_rng(0).standard_normal(T.size)
    fit = mode_growth(T, 0.02 * np.exp(-0.3 * T) * np.cos(1.5 * T) + floor, noise)
    # Maxima below ten times the noise are left out: those that are fitted are off by a percent at most, on average.
    assert fit.rate == pytest.approx(-0.3, rel=0.02)
    assert fit.t_last < np.log(0.02 / (10 * noise)) / 0.3 + 1


@pytest.mark.parametrize("history", [np.zeros_like(T), np.ones_like(T), 1 + 0.01 * T, np.full_like(T, np.nan)])
def test_what_neither_grows_nor_rings_has_no_rate(history):
    assert mode_growth(T, history) is None


def test_refuses_series_of_different_lengths():
    with pytest.raises(ValueError, match="'mode' must have the shape of 't'"):
        mode_growth(T, T[:-1])


def _ringing(t: np.ndarray) -> np.ndarray:
    return np.exp(-0.15 * t) * np.cos(1.4 * t)


@pytest.mark.parametrize(
    ("t_end", "noise", "words"),
    [(5.0, 0.0, "later t_end"), (30.0, 0.04, "above the noise of the particles"), (30.0, 1e-3, None)],
)
def test_what_keeps_a_damped_mode_from_being_fitted_is_said(t_end: float, noise: float, words: str | None) -> None:
    t = np.linspace(0, t_end, 301)
    fit, why = mode_growth(t, _ringing(t), noise), why_no_growth(t, _ringing(t), noise)
    assert (fit is None) == (words is not None)
    assert words is None or words in str(why)
    assert fit is None or why is None


def test_what_keeps_a_growing_mode_from_being_fitted_is_said() -> None:
    t = np.linspace(0, 6, 13)
    assert "steps are there before the mode saturates" in str(why_no_growth(t, np.exp(1.5 * t) + 0j))
    assert why_no_growth(t, np.zeros(13)) == "the mode is not excited"
