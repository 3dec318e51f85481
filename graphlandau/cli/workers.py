"""Processes that run one command after the other: what takes seconds to import is imported once in each."""

from __future__ import annotations

import contextlib
import json
import select
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from typing import IO, ClassVar

__all__ = ["Worker"]


class Worker:
    """A process that runs commands of ``graphlandau``, one at a time.

    A command that ends the process (by a signal, or for want of memory) ends this one only: :meth:`poll` gives its
    status, and the next :meth:`start` begins another process.

    Example:
        >>> worker = Worker()
        >>> worker.start(["lisst"])
        >>> while (status := worker.poll()) is None:
        ...     pass
        >>> status, worker.said()
        (2, "error: unknown command 'lisst'; known: run, sweep, compare, list, plot, doctor")
        >>> worker.close()
    """

    # -P: what lies in the current folder hides no package.
    command: ClassVar[list[str]] = [sys.executable, "-P", "-m", "graphlandau.cli.serve"]

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._file: IO[bytes] | None = None

    def start(self, arguments: Sequence[str]) -> None:
        """Begin a command; what it says on stderr is kept."""
        if self._process is None or self._process.poll() is not None:
            self._process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if self._file is not None:
            self._file.close()
        self._file = tempfile.NamedTemporaryFile()  # noqa: SIM115  closed with the next command, or with the worker
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has just ended: poll tells
            self._process.stdin.write(json.dumps({"arguments": list(arguments), "said": self._file.name}) + "\n")
            self._process.stdin.flush()

    def poll(self) -> int | None:
        """Status of the command, minus the number of the signal that ended it; ``None`` while it runs."""
        assert self._process is not None
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], 0)[0]:
            return None
        line = self._process.stdout.readline()  # whole, or empty where the process has ended
        return int(line) if line else self._process.wait()

    def said(self) -> str:
        """What the command has said on stderr."""
        assert self._file is not None
        self._file.seek(0)
        return self._file.read().decode(errors="replace").strip()

    def close(self) -> None:
        """End the process, and what it runs; a run can be taken up again."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            for stream in (self._process.stdin, self._process.stdout):
                if stream is not None:
                    with contextlib.suppress(BrokenPipeError):
                        stream.close()
        if self._file is not None:
            self._file.close()
