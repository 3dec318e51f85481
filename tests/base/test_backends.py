"""The names that are listed are those that the layers take."""

from __future__ import annotations

from graphlandau.base.backends import BACKENDS, MESH_FROM
from graphlandau.nn import LandauDrift
from graphlandau.nn.pairs import choose_backend


def test_the_layers_take_every_backend_that_is_listed():
    assert {"auto", *LandauDrift(-3.0).backends} == BACKENDS.keys()


def test_auto_takes_what_is_said_of_it():
    assert f"from {MESH_FROM:,} particles" in BACKENDS["auto"]
    assert [choose_backend(-3.0, 3, n) for n in (MESH_FROM - 1, MESH_FROM)] == ["dense", "mesh"]
