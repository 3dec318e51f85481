"""Whether several threads are faster than one: on a busy machine they wait for each other."""

from __future__ import annotations

import statistics
import time

import torch

__all__ = ["SLOW", "thread_speedup", "thread_warning"]

# From so many times the time of one thread on, it is said; what is less may be chance.
SLOW = 1.5
# A sum over rows that several threads share, and how often it is repeated: milliseconds on one thread.
NUMBERS, REPEATS, ROUNDS = 2**18, 20, 3
# Seconds of a measurement after which it is known to be slow.
ENOUGH = 0.05


def thread_speedup() -> float:
    """Return how many times as fast as one thread those of torch are now, measured in a fraction of a second.

    Example:
        >>> thread_speedup() > 0
        True
    """
    threads = torch.get_num_threads()
    if threads == 1:
        return 1.0
    try:
        # In turn, so that what else goes on meets both.
        seconds = [(_seconds(1), _seconds(threads)) for _ in range(ROUNDS)]
    finally:
        torch.set_num_threads(threads)
    one, several = (statistics.median(each) for each in zip(*seconds, strict=True))
    return one / several


def thread_warning() -> str | None:
    """Return what to say where the threads of torch are much slower than one thread, else ``None``."""
    speedup, threads = thread_speedup(), torch.get_num_threads()
    if speedup * SLOW > 1:
        return None
    slow = f"{threads} threads are {1 / speedup:.2g} times as slow as one here, where others compute too"
    return f"{slow}: --threads 1 is faster (another number of threads may change the last digits)"


def _seconds(threads: int) -> float:
    """Time of a sum on so many threads."""
    torch.set_num_threads(threads)
    x = torch.ones(NUMBERS)
    torch.dot(x, x.square())  # wakes the threads
    start, taken, count = time.perf_counter(), 0.0, 0
    while count < REPEATS and taken < ENOUGH:
        (x * x + x).sum()
        count, taken = count + 1, time.perf_counter() - start
    return taken / count
