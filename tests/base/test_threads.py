"""Threads that wait for each other are found out by a measurement."""

from __future__ import annotations

import time

import pytest
import torch

from graphlandau.base import threads


@pytest.fixture(autouse=True)
def three():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def measured(monkeypatch, seconds):
    """Let the time of a sum depend on the number of threads alone."""
    monkeypatch.setattr(threads, "_seconds", lambda count: seconds[count])


@pytest.mark.parametrize(("one", "several"), [(0.5, 0.2), (0.2, 0.25), (1.0, 1.0)])
def test_nothing_is_said_of_threads_that_help_or_hardly_hurt(monkeypatch, one, several):
    measured(monkeypatch, {1: one, 3: several})
    assert threads.thread_speedup() == pytest.approx(one / several)
    assert threads.thread_warning() is None


def test_slow_threads_are_said_with_the_cure(monkeypatch):
    measured(monkeypatch, {1: 0.1, 3: 0.73})
    assert threads.thread_warning().startswith("3 threads are 7.3 times as slow as one here")
    assert "--threads 1" in threads.thread_warning()


def test_one_round_that_was_disturbed_decides_nothing(monkeypatch):
    times = iter([0.1, 9.0, 0.1, 0.05, 0.1, 0.05])
    monkeypatch.setattr(threads, "_seconds", lambda _: next(times))
    assert threads.thread_speedup() == pytest.approx(2.0)


def test_the_measurement_is_short_and_changes_nothing():
    state, start = torch.get_rng_state(), time.perf_counter()
    assert threads.thread_speedup() > 0
    assert time.perf_counter() - start < 5  # 0.03 s on a machine of one's own
    assert torch.get_num_threads() == 3
    assert torch.equal(torch.get_rng_state(), state)


def test_one_thread_is_not_measured(monkeypatch):
    torch.set_num_threads(1)
    monkeypatch.setattr(threads, "_seconds", lambda _: 1 / 0)
    assert threads.thread_speedup() == 1.0
