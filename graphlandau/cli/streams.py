"""Standard streams that cannot fail a command: what it prints is no part of its verdict."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout, suppress
from typing import Any, TextIO

__all__ = ["Forgiving", "forgiving_streams"]


class Forgiving:
    r"""A stream that drops what it cannot write: its pipe is broken, its disk full, its terminal gone.

    What its encoding does not have is written as an escape.

    Example:
        >>> file = open(os.devnull, "w", encoding="ascii")
        >>> stream = Forgiving(file)
        >>> stream.write("bkw_2d · blob")
        16
        >>> file.close()
        >>> stream.write("lost")
        4
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write ``text``; returns its length, written or not."""
        with suppress(OSError, ValueError):
            try:
                return self._stream.write(text)
            except UnicodeEncodeError as error:
                return self._stream.write(text.encode(error.encoding, "backslashreplace").decode(error.encoding))
        return len(text)

    def writelines(self, lines: Any) -> None:
        """Write each of ``lines``."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Flush."""
        with suppress(OSError, ValueError):
            self._stream.flush()

    def isatty(self) -> bool:
        """Whether it is a terminal; one that is closed is none."""
        with suppress(OSError, ValueError):
            return self._stream.isatty()
        return False

    def drain(self) -> None:
        """Flush for the last time: what is left goes nowhere, so that the interpreter does not trip over it."""
        try:
            self._stream.flush()
        except (OSError, ValueError):
            with suppress(OSError, ValueError):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, self._stream.fileno())
                os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def forgiving_streams() -> Iterator[None]:
    """Let nothing that is printed inside fail; a stream that was closed before the start goes nowhere."""
    _open_descriptors()
    with ExitStack() as after:
        for stream, redirect in ((sys.stdout, redirect_stdout), (sys.stderr, redirect_stderr)):
            file = after.enter_context(open(os.devnull, "w", encoding="utf-8")) if stream is None else stream
            forgiving = Forgiving(file)
            after.callback(forgiving.drain)
            after.enter_context(redirect(forgiving))
        yield


def _open_descriptors() -> None:
    """Point the standard descriptors that are closed nowhere: the next file to be opened would take their place."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
