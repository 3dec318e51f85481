"""Signals that end a command as Ctrl-C does."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

__all__ = ["ENDING", "signals_interrupt"]

# What a scheduler sends before it kills, what a terminal sends that goes away, and the end of the time of a processor.
ENDING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP", "SIGXCPU") if hasattr(signal, name))


@contextmanager
def signals_interrupt() -> Iterator[None]:
    """Raise ``KeyboardInterrupt`` at each of :data:`ENDING` inside; one that is ignored, as by ``nohup``, stays so.

    Only the main thread can be asked; in others nothing changes.

    Example:
        >>> with signals_interrupt():
        ...     signal.getsignal(signal.SIGTERM) is signal.default_int_handler
        True
    """
    with ExitStack() as after:
        if threading.current_thread() is threading.main_thread():
            for number in ENDING:
                before = signal.getsignal(number)
                if before is not signal.SIG_IGN:
                    signal.signal(number, signal.default_int_handler)
                    after.callback(signal.signal, number, signal.SIG_DFL if before is None else before)
        yield
