"""Words of a configuration mean what the core schema of YAML 1.2 says, and what is written is read as it was."""

from __future__ import annotations

import math

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from graphlandau.base.configuration import RepeatedKey, read_entries, read_value, write_configuration

# What YAML 1.1 makes numbers to other bases, truths and dates of.
TEXT = ["on", "Off", "yes", "NO", "y", "12:30:45", "3:7.5", "1_000", "0b101", "2031-02-03", "1999-12-31 23:59:59"]
NUMBERS = {
    "0755": 755,
    "-08": -8,
    "+12": 12,
    "0o17": 15,
    "0xfF": 255,
    "2e3": 2000.0,
    "1E-3": 1e-3,
    ".5": 0.5,
    "7.": 7.0,
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.sampled_from(TEXT),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(min_size=1), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize("word", TEXT)
def test_a_word_is_no_number_date_or_truth(word: str):
    assert read_value(word) == read_value(f"[{word}]")[0] == word
    assert read_entries(f"key: {word}") == {"key": word}


@pytest.mark.parametrize("word", NUMBERS)
def test_numbers_are_decimal_unless_they_say_otherwise(word: str):
    found = read_value(word)
    assert (found, type(found)) == (NUMBERS[word], type(NUMBERS[word]))


def test_infinities_truths_and_nothing():
    assert read_value("[.inf, -.Inf, true, FALSE, ~, null]") == [math.inf, -math.inf, True, False, None, None]
    assert math.isnan(read_value(".NaN"))
    assert read_value("'7'") == "7"


def test_the_value_of_a_key_keeps_its_text_where_that_says_more():
    assert read_entries("a: 0031\nb: 31\nc: 6.0\nd: 6e0\ne: True\nf: ~\ng: {h: 0x1}") == {
        "a": "0031",
        "b": 31,
        "c": 6.0,
        "d": "6e0",
        "e": "True",
        "f": None,
        "g": {"h": "0x1"},
    }


@pytest.mark.parametrize(
    ("text", "key", "lines"),
    [("a: 1\nb: 2\na: 3", "a", (1, 3)), ("x:\n  y: [{z: 1, z: 1}]", "z", (2, 2)), ("'k': 1\n\nk: 1", "k", (1, 3))],
)
def test_a_key_that_stands_twice_is_named_with_its_lines(text: str, key: str, lines: tuple[int, int]):
    with pytest.raises(RepeatedKey) as caught:
        read_value(text)
    assert (caught.value.key, caught.value.first, caught.value.second) == (key, *lines)


def test_a_merged_key_may_be_overridden():
    assert read_value("a: &base {x: 1, y: 2}\nb:\n  <<: *base\n  y: 3")["b"] == {"x": 1, "y": 3}


@pytest.mark.parametrize(
    "text",
    ["[1", "a: !!int 1_0", "!!timestamp 2031-02-03", "!!python/name:os.system", "? [a]\n: 1", "&x [*x]", "[" * 5000],
)
def test_what_is_no_configuration_is_refused(text: str):
    with pytest.raises(yaml.YAMLError):
        read_value(text)


@given(JSON)
def test_what_is_written_is_read_as_it_was(content: object):
    assert read_value(write_configuration(content)) == content
