"""A staged file is the file that it will be, and the disk sees it at once or not at all."""

from __future__ import annotations

import io

import h5py
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from graphlandau.base.staged_file import StagedFile

EDITS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(0, 40), st.binary(max_size=30)),
        st.tuples(st.just("truncate"), st.integers(0, 60), st.just(b"")),
        st.tuples(st.just("read"), st.integers(0, 60), st.binary(max_size=30)),
    ),
    max_size=12,
)


class Small(StagedFile):
    PAGE = 7


def apply(file, edit, place, data):
    """One edit of a file; returns what can be seen of it."""
    file.seek(place)
    if edit == "write":
        return file.write(data)
    return file.truncate(place) if edit == "truncate" else file.read(len(data))


@given(start=st.binary(max_size=50), edits=EDITS)
def test_it_is_the_file_of_its_edits(start, edits):
    kept, plain = io.BytesIO(start), io.BytesIO(start)
    staged = Small(kept)
    for edit in edits:
        if edit[0] == "truncate" and edit[1] > len(plain.getvalue()):
            continue  # a BytesIO does not grow
        assert apply(staged, *edit) == apply(plain, *edit)
        assert staged.tell() == plain.tell()
        assert staged.seek(0, io.SEEK_END) == len(plain.getvalue())
    assert kept.getvalue() == start
    staged.commit()
    assert kept.getvalue() == plain.getvalue()


def test_a_file_grows_by_zeros():
    file = io.BytesIO(b"abc")
    staged = Small(file)
    staged.truncate(20)
    staged.seek(1)
    assert staged.read() == b"bc" + bytes(17)


def test_hdf5_lives_in_it():
    file, x = io.BytesIO(), np.arange(50_000.0)
    staged = StagedFile(file)
    with h5py.File(staged, "w") as written:
        written["first"] = x
    assert file.getvalue() == b""
    staged.commit()
    staged = StagedFile(file)
    with h5py.File(staged, "r+") as written:
        written["second"] = -x
        del written["first"]
    staged.commit()
    with h5py.File(file) as read:
        assert list(read) == ["second"]
        assert np.array_equal(read["second"][()], -x)
