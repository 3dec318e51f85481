"""Every test starts from the same seeds and thread count; shapes are checked unless a test refuses bad ones."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator

import hypothesis
import jaxtyping
import numpy as np
import pytest
import torch

from graphlandau.nn.pairs import compiled
from graphlandau.plotting import style

# One thread for each of several workers; two for one, unless told otherwise: no crowd of threads on small tensors.
if "PYTEST_XDIST_WORKER" in os.environ:
    torch.set_num_threads(1)
elif "OMP_NUM_THREADS" not in os.environ:
    torch.set_num_threads(min(2, os.cpu_count() or 1))


# The same examples in every run: a failure is one of the change that it comes with.
hypothesis.settings.register_profile("default", derandomize=True)
hypothesis.settings.load_profile("default")

# KeOps compiles each formula once: unoptimised in two thirds of the time, for the few particles of a test.
try:
    from keopscore.config import config as keops_config

    keops_config.cpp_flags += " -O0 -fno-lto"
except ImportError:
    pass


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker that this file implements."""
    config.addinivalue_line("markers", "bad_input: passes wrong shapes or types on purpose (so does test_refuses_*)")


@pytest.fixture(autouse=True)
def _seeds() -> None:
    """Seed the global generators, which initialise networks; particles come from generators of their own."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002  scipy and hypothesis draw from the legacy generator
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _no_history_of_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether a sum is compiled does not depend on the tests before."""
    monkeypatch.setattr(compiled, "_history", compiled.History())


@pytest.fixture(autouse=True)
def _shape_checks(request: pytest.FixtureRequest) -> Iterator[None]:
    """Switch jaxtyping's checks off where the code under test itself must refuse the input."""
    on_purpose = request.node.get_closest_marker("bad_input") is not None or "refuse" in request.node.name
    jaxtyping.config.update("jaxtyping_disable", on_purpose)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def small_and_quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One thread, which is faster for a few particles, no waiting for the disk, and coarse pictures."""
    monkeypatch.setattr(os, "fsync", lambda _: None)
    monkeypatch.setattr(style, "DPI", 40)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
