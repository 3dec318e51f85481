"""Files are the old one or the new one, whenever a process dies; tensors keep their bits and their record."""

from __future__ import annotations

import errno
import os

import pytest
import torch

from graphlandau.base.files import read_tensors, write_atomically, write_tensors


def test_write_atomically_replaces_only_when_complete(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomically(path, b"old")
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"


def test_nothing_is_left_beside_a_file_that_was_written(tmp_path):
    write_atomically(tmp_path / "file", b"new")
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_a_file_is_on_the_disk_before_it_takes_its_place(tmp_path, monkeypatch):
    told = []
    flush, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda file: (told.append("flushed"), flush(file)))
    monkeypatch.setattr(os, "replace", lambda *paths: (told.append("replaced"), replace(*paths)))
    write_atomically(tmp_path / "file", b"new")
    assert told == ["flushed", "replaced"]


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.EIO])
def test_a_file_system_that_cannot_flush_is_written_all_the_same(tmp_path, monkeypatch, number):
    def fsync(_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fsync)
    if number == errno.EIO:  # what was written may be lost
        with pytest.raises(OSError, match="Input/output error"):
            write_atomically(tmp_path / "file", b"new")
        assert list(tmp_path.iterdir()) == []
        return
    write_atomically(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"new"


def test_tensors_and_record_come_back(tmp_path):
    tensors = {"v": torch.randn(3, 2, dtype=torch.float64), "n": torch.tensor(4), "none": torch.empty(0, 2)}
    record = {"t": 0.1 + 0.2, "name": "bkw", "steps": [1, 2], "nothing": None}
    write_tensors(tmp_path / "a", tensors, record)
    again, read = read_tensors(tmp_path / "a")
    assert again == record
    assert read.keys() == tensors.keys()
    assert all(torch.equal(read[key], x) and read[key].dtype == x.dtype for key, x in tensors.items())


@pytest.mark.parametrize("content", [b"", b"no tensors here", None])
def test_what_is_no_such_file_is_refused(tmp_path, content):
    if content is not None:
        (tmp_path / "a").write_bytes(content)
    with pytest.raises(ValueError, match=r"\w"):
        read_tensors(tmp_path / "a")


def test_tensors_without_a_record_are_refused(tmp_path):
    from safetensors.torch import save_file

    save_file({"v": torch.zeros(2)}, tmp_path / "a")
    with pytest.raises(ValueError, match="record"):
        read_tensors(tmp_path / "a")


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128, torch.float64, torch.bfloat16, torch.int8])
def test_tensors_of_any_type_come_back(tmp_path, dtype):
    path, x = tmp_path / "x.safetensors", torch.randn(3, 2, dtype=torch.complex128)
    x = x if dtype.is_complex else x.real.contiguous()
    write_tensors(path, {"x": x.to(dtype), "y": torch.ones(2)}, {"step": 3})
    record, tensors = read_tensors(path)
    assert record == {"step": 3}
    assert tensors["x"].dtype == dtype
    assert torch.equal(tensors["x"], x.to(dtype))
