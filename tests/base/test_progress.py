"""The bar of whatever takes long: seen on a terminal only."""

from __future__ import annotations

import io
import sys

import pytest

from graphlandau.base import distributed
from graphlandau.base.progress import progress_bar


class Terminal(io.StringIO):
    def isatty(self):
        return True


def shown(monkeypatch, stream):
    monkeypatch.setattr(sys, "stderr", stream)
    with progress_bar(40, 10, "step", "fit") as bar:
        bar.update(20)
        bar.refresh()
    return stream.getvalue() if stream else ""


def test_a_terminal_shows_the_place(monkeypatch):
    text = shown(monkeypatch, Terminal())
    assert "fit" in text
    assert "30/40" in text


@pytest.mark.parametrize("stream", [None, io.StringIO()], ids=["closed", "file"])
def test_nobody_sees_it_elsewhere(monkeypatch, stream):
    assert shown(monkeypatch, stream) == ""


def test_one_process_of_several_shows_it(monkeypatch):
    monkeypatch.setattr(distributed, "rank", lambda: 1)
    assert shown(monkeypatch, Terminal()) == ""
