"""The doctor: one line per part, never an exception, a cure beside everything that is missing."""

from __future__ import annotations

import importlib.util
import os
import shutil

import pytest
import torch

from graphlandau.cli import doctor

PARTS = (
    "graphlandau",
    "python",
    "torch",
    "torch-geometric",
    "threads",
    "cuda",
    "compiler",
    "torch.compile",
    "keops",
    "torch-cluster",
    "backend auto",
)


@pytest.fixture(autouse=True)
def _quick_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real probes compile for seconds; they are tested with the backends that use them."""
    monkeypatch.setattr(doctor, "compile_available", lambda: (True, "works"))
    monkeypatch.setattr(doctor, "keops_available", lambda: (True, "works"))


def _lines() -> dict[str, str]:
    lines = {}
    for line in doctor.report().splitlines():
        part = next(part for part in sorted(PARTS, key=len, reverse=True) if line.startswith(part))
        lines[part] = line.removeprefix(part).strip()
    return lines


def test_one_line_per_part() -> None:
    assert tuple(_lines()) == PARTS


@pytest.mark.parametrize(
    ("speedup", "said"),
    [(1.9, "1.9 times as fast as one"), (0.8, "1.2 times as slow as one"), (0.125, "8 times as slow as one. Cure")],
)
def test_threads_that_wait_for_each_other_are_named(monkeypatch: pytest.MonkeyPatch, speedup: float, said: str) -> None:
    monkeypatch.setattr(doctor, "thread_speedup", lambda: speedup)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    assert f"4 of {os.cpu_count()} cores, {said}" in _lines()["threads"]
    assert ("--threads 1" in _lines()["threads"]) == (speedup < 0.5)


def test_versions_and_backends_are_named() -> None:
    lines = _lines()
    assert lines["torch"] == torch.__version__
    assert "gamma = 0: moments" in lines["backend auto"]
    assert "gamma = -3: dense (compiled" in lines["backend auto"]


def test_missing_compiler_is_named_with_its_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(doctor, "compile_available", lambda: (False, "InductorError: no g++"))
    lines = _lines()
    assert "apt-get install g++" in lines["compiler"]
    assert "InductorError: no g++" in lines["torch.compile"]
    assert "dense (eager)" in lines["backend auto"]


def test_missing_packages_are_named_with_their_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    lines = _lines()
    assert "graphlandau[keops]" in lines["keops"]
    assert "pip install --no-build-isolation torch-cluster" in lines["torch-cluster"]
    assert "CUDA tensors; others never need it" in lines["torch-cluster"]


def test_a_probe_that_fails_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> tuple[bool, str]:
        raise RuntimeError("driver\nand library disagree")

    monkeypatch.setattr(doctor, "compile_available", fail)
    assert "not found out (RuntimeError: driver and library disagree)" in _lines()["torch.compile"]
