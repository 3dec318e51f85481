"""A worker runs commands one after the other, each as a process of its own would."""

from __future__ import annotations

import time

from graphlandau.cli.workers import Worker


def finished(worker, arguments):
    """Status and words of a command."""
    worker.start(arguments)
    while (status := worker.poll()) is None:
        time.sleep(0.01)
    return status, worker.said()


def test_commands_one_after_the_other_and_a_new_process_after_a_kill():
    worker = Worker()
    try:
        assert finished(worker, ["lisst"])[0] == 2
        first = worker._process
        assert finished(worker, ["list"]) == (0, "")  # what it prints is nobody's
        status, said = finished(worker, ["run", "--problem", "bkw2d"])
        assert status == 2
        assert "did you mean 'bkw_2d'?" in said
        assert worker._process is first
        assert first is not None
        first.kill()
        first.wait()
        assert finished(worker, ["--version"]) == (0, "")
        assert worker._process is not first
    finally:
        worker.close()
    assert worker._process is not None
    assert worker._process.returncode is not None
