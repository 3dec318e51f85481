"""The bar of a run: on a terminal, at the step of the run, with the first error that is known."""

from __future__ import annotations

import io
import sys

import pytest
from short_runs import StopAt, short_run

from graphlandau.methods import Blob
from graphlandau.run.folder import RunFolder
from graphlandau.run.observers.progress import Progress

pytestmark = pytest.mark.usefixtures("small_and_quick")


class Terminal(io.StringIO):
    def isatty(self):
        return True


def bar_of(run):
    return next(each for each in run.observers if isinstance(each, Progress)).bar


def test_a_terminal_shows_steps_and_an_error(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    run = short_run(Blob(), progress=True)
    result = run.run()
    bar = bar_of(run)
    assert (bar.n, bar.total) == (10, 10)
    assert f"t=0.2, rel Fisher {result.metrics[-1]['rel_fisher_divergence']:.2e}" in sys.stderr.getvalue()


def test_a_resumed_run_begins_where_it_was(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    folder = RunFolder.create(tmp_path, "")
    with pytest.raises(KeyboardInterrupt):
        short_run(Blob(), folder=folder, observers=[StopAt(7, "after")]).run()
    run = short_run(Blob(), folder=folder, progress=True)
    run.run()
    assert bar_of(run).initial == 6


def test_a_file_and_those_who_do_not_ask_get_no_bar(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    short_run(Blob(), t_end=0.02, progress=True).run()
    monkeypatch.setattr(sys, "stderr", Terminal())
    short_run(Blob(), t_end=0.02).run()
    assert sys.stderr.getvalue() == ""
