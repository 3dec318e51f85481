"""What a worker runs: one command after the other, as they come."""

from __future__ import annotations

import json
import os
import signal
import sys

from graphlandau.cli.main import command
from graphlandau.cli.streams import forgiving_streams

__all__ = ["serve"]


def serve() -> None:
    """Run the commands that come on stdin, a JSON object a line; answer each with its status on what was stdout."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the sweep, which ends its workers
    answers = os.fdopen(os.dup(1), "w")
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 1)
    for line in sys.stdin:
        task = json.loads(line)
        file = os.open(task["said"], os.O_WRONLY)
        os.dup2(file, 2)
        os.close(file)
        try:
            with forgiving_streams():  # SIGTERM, by which a sweep ends its workers, ends them at once
                status = command(task["arguments"])
        except BaseException as error:  # what a command does not catch would have ended a process of its own
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            status = 1
        sys.stderr.flush()
        answers.write(f"{status}\n")
        answers.flush()


if __name__ == "__main__":
    serve()
