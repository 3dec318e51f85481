"""What is read from the source is what importing it would tell."""

from __future__ import annotations

import inspect

import pytest

from graphlandau.cli import presets, source
from graphlandau.cli.config import _parameters
from graphlandau.cli.presets import FILLED_IN, GROUPS, import_class, load_preset, preset_names
from graphlandau.training import schedules

PRESETS = [(group, name) for group in GROUPS for name in preset_names(group)]


@pytest.mark.parametrize(("group", "name"), PRESETS)
def test_of_every_preset(group, name):
    """Its first line, its module, and its options, those of groups and of inherited constructors included."""
    choice = load_preset(group, name)
    found = import_class(group, choice.class_path)
    module, _ = source.located(choice.class_path) or ("", None)
    assert module == found.__module__
    assert source.first_line(choice.class_path) == (inspect.getdoc(found) or "").partition("\n")[0]
    options = [key for key in _parameters(group, choice) if key not in FILLED_IN[group]]
    assert sorted(presets.known_options(group, name) or ()) == sorted(options)


def test_of_a_module():
    assert {*source.classes_of("graphlandau.training.schedules")} == {*schedules.__all__}


@pytest.mark.parametrize("path", ["my_lab.nets.Net", "graphlandau.problems.Nothing", "graphlandau.nowhere.BKW", "BKW"])
def test_what_is_not_of_this_package_is_not_known(path):
    assert source.located(path) is None
    assert source.options_of(path) is None
    assert source.first_line(path) == ""
