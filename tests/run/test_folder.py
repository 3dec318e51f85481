import errno
import fcntl
import json
import os
import resource
from contextlib import contextmanager

import h5py
import pytest
import torch
from short_runs import numbers, short_run

from graphlandau.base import files
from graphlandau.methods import Blob
from graphlandau.run.checkpoint import load_checkpoint
from graphlandau.run.folder import RunFolder
from graphlandau.run.record import RunRecord


@pytest.fixture
def folder(tmp_path):
    folder = RunFolder.create(tmp_path / "a" / "b", "seed: 0\n")
    yield folder
    folder.close()


def test_create_refuses_what_holds_something(tmp_path):
    first = RunFolder.create(tmp_path / "run", "seed: 0\n")
    first.close()
    with pytest.raises(ValueError, match=r"'out' must be a new or empty folder .* holds another run"):
        RunFolder.create(tmp_path / "run", "seed: 1\n")
    assert first.config.read_text() == "seed: 0\n"
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "love.txt").touch()
    with pytest.raises(ValueError, match="not empty"):
        RunFolder.create(tmp_path / "letters", "")
    assert os.listdir(tmp_path / "letters") == ["love.txt"]


def test_create_refuses_what_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(ValueError, match="'out' must be a writable folder"):
            RunFolder.create(path, "")
    assert os.listdir(tmp_path) == ["file"]


def test_create_takes_a_folder_that_a_kill_left_without_config(tmp_path):
    (tmp_path / ".config.yaml.tmp").touch()
    RunFolder.create(tmp_path, "seed: 0\n").close()
    assert (tmp_path / "config.yaml").exists()


def test_discard_takes_back_every_created_folder(tmp_path, folder):
    folder.write_row({"step": 0})
    folder.discard()
    assert os.listdir(tmp_path) == []


def test_open_refuses_what_is_no_run(tmp_path):
    with pytest.raises(ValueError, match=r"'resume' must be the folder of a run .* no config.yaml"):
        RunFolder.open(tmp_path)


def test_one_writer_at_a_time(folder):
    with pytest.raises(ValueError, match="written by another process"):
        RunFolder.open(folder.path)
    folder.close()
    RunFolder.open(folder.path).close()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EBADF])
def test_a_file_system_without_locks_is_written_with_one_warning(tmp_path, monkeypatch, number):
    def flock(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    for claim in (lambda: RunFolder.create(tmp_path, "seed: 0\n"), lambda: RunFolder.open(tmp_path)):
        with pytest.warns(UserWarning, match=rf"no locks \({os.strerror(number)}\)") as warned:
            folder = claim()
        assert len(warned) == 1
        folder.write_snapshot(0, 0.0, {"v": torch.zeros(2, 2)}, problem="p")
        folder.close()


def test_snapshots_are_read_without_a_lock(folder):
    """HDF5 asks for one of its own; here somebody else has it, elsewhere there is none to have."""
    folder.write_snapshot(0, 0.5, {"v": torch.ones(2, 3), "s": torch.ones(2, 3)}, problem="p")
    folder.write_row({"step": 0, "t": 0.5})
    with open(folder.snapshots, "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert folder.snapshot_steps() == [0]
        assert RunRecord(folder.path).snapshot(0).t == 0.5
        folder.write_snapshot(1, 1.0, {"v": torch.ones(2, 3)}, problem="p")
        folder.rewind(0)


def test_rows_keep_every_digit_and_unknown_cells(folder):
    rows = [{"step": 0, "t": 0.1 + 0.2, "kl": None}, {"step": 1, "t": 1 / 3, "kl": -1e-300}]
    for row in rows:
        folder.write_row(row)
    assert folder.read_rows() == rows


def test_rewind_drops_later_rows_and_the_one_cut_short(folder):
    for step in range(4):
        folder.write_row({"step": step, "t": 0.5 * step})
    with open(folder.metrics, "a") as file:
        file.write("4,2.")  # a kill in the middle of a write: every cell is there, its digits are not
    assert [row["step"] for row in folder.read_rows()] == [0, 1, 2, 3]
    folder.rewind(2)
    folder.write_row({"step": 2, "t": 1.0})
    assert [row["step"] for row in folder.read_rows()] == [0, 1, 2]
    folder.rewind(0)
    assert not folder.metrics.exists()


def test_snapshots_hold_the_bits(folder):
    v, weight = torch.randn(5, 3), torch.full((5,), 0.2)
    folder.write_snapshot(0, 5.5, {"v": v, "s": -v}, problem="bkw_3d", weight=weight)
    folder.write_snapshot(7, 5.6, {"v": 2 * v, "s": -v, "log_f": v[:, 0]}, problem="bkw_3d", weight=weight)
    with h5py.File(folder.snapshots) as file:
        assert (file.attrs["problem"], file.attrs["d"]) == ("bkw_3d", 3)
        assert sorted(file) == ["00000000", "00000007", "weight"]
        assert (file["00000007"].attrs["t"], file["00000007"].attrs["step"]) == (5.6, 7)
        assert sorted(file["00000007"]) == ["log_f", "s", "v"]
        assert torch.equal(torch.from_numpy(file["00000007/v"][()]), 2 * v)


def test_rewind_keeps_the_snapshot_at_the_step_until_it_is_written_again(folder):
    for step in (0, 3, 6):
        folder.write_snapshot(step, 0.0, {"v": torch.full((2, 2), float(step))}, problem="p")
    folder.rewind(3)
    assert folder.snapshot_steps() == [0, 3]
    folder.write_snapshot(3, 0.0, {"v": torch.full((2, 2), 8.0)}, problem="p")
    with h5py.File(folder.snapshots) as file:
        assert file["00000003/v"][0, 0] == 8.0


def test_a_snapshot_that_fails_leaves_the_file_as_it_was(folder):
    folder.write_snapshot(0, 0.0, {"v": torch.zeros(2, 2)}, problem="p")
    before = folder.snapshots.read_bytes()
    with pytest.raises(AttributeError):
        folder.write_snapshot(1, 0.0, {"v": torch.zeros(2, 2), "s": None}, problem="p")
    assert folder.snapshots.read_bytes() == before


def test_summary_is_json(folder):
    assert folder.read_summary() is None
    folder.write_summary({"steps": 3, "kl": None})
    assert json.loads(folder.summary.read_text()) == {"steps": 3, "kl": None} == folder.read_summary()


def test_a_row_of_other_columns_is_refused(folder):
    """A run begun by another version is not continued under a header that does not fit."""
    folder.config.write_text("# graphlandau 0.0.1, torch 2.0\nseed: 0\n")
    folder.write_row({"step": 0, "t": 0.0, "energy": 1.0})
    folder.close()
    folder = RunFolder.open(folder.path)
    folder.reopen("seed: 0\n")
    told = r"of graphlandau 0.0.1, torch 2.0, has other columns than graphlandau [\d.]+ writes \(kl\): start a new run"
    with pytest.raises(ValueError, match=told):
        folder.write_row({"step": 1, "t": 0.1, "energy": 1.0, "kl": 0.0})
    folder.write_row({"step": 1, "t": 0.1, "energy": 1.0})
    assert [row["step"] for row in folder.read_rows()] == [0, 1]


@contextmanager
def files_of_at_most(size):
    """No file can grow beyond ``size`` bytes, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def snapshots_of(folder):
    if not folder.snapshots.exists():
        return {}
    with h5py.File(folder.snapshots) as file:
        return {f"{name}/{key}": file[name][key][()].tolist() for name in file for key in file[name]}


@pytest.mark.parametrize("rows", [5, 300, 7000])
def test_a_full_disk_is_an_error_at_any_size_and_loses_nothing(folder, rows):
    tensors = [{"v": torch.randn(rows, 3), "s": torch.randn(rows, 3), "log_f": torch.randn(rows)} for _ in range(3)]
    folder.write_snapshot(0, 0.0, tensors[0], problem="p")
    folder.write_snapshot(4, 0.4, tensors[1], problem="p")
    before, bytes_of = snapshots_of(folder), folder.snapshots.read_bytes()
    final = len(bytes_of) + 28 * rows
    for size in [0, 1, 511, *range(4096, final, final // 23)]:
        with files_of_at_most(size), pytest.raises(OSError, match=os.strerror(errno.EFBIG)):
            folder.write_snapshot(8, 0.8, tensors[2], problem="p")
        assert folder.snapshots.read_bytes() == bytes_of
        assert sorted(entry.name for entry in folder.path.iterdir()) == ["config.yaml", "snapshots.h5"]
    folder.write_snapshot(8, 0.8, tensors[2], problem="p")
    after = snapshots_of(folder)
    assert {key: after[key] for key in before} == before
    assert after["00000008/log_f"] == tensors[2]["log_f"].tolist()


@pytest.mark.usefixtures("small_and_quick")
def test_a_run_on_a_full_disk_stays_readable_and_is_continued_to_the_same_bits(tmp_path):
    whole = RunFolder.create(tmp_path / "whole", "")
    short_run(Blob(), folder=whole, particles=300, snapshots=6).run()
    largest = max(path.stat().st_size for path in whole.path.rglob("*") if path.is_file())
    stopped = set()
    for size in range(500, largest, 3900):
        folder = RunFolder.create(tmp_path / str(size), "")
        run = short_run(Blob(), folder=folder, particles=300, snapshots=6)
        with files_of_at_most(size), pytest.raises(OSError, match="File too large"):
            run.run()
        stopped.add(run.step)
        if folder.snapshots.exists() and folder.metrics.exists():
            assert RunRecord(folder.path).snapshot(-1).v.shape == (300, 2)
        result = short_run(Blob(), folder=folder, particles=300, snapshots=6).run()
        assert numbers(result.metrics) == numbers(whole.read_rows())
        assert snapshots_of(folder) == snapshots_of(whole)
        for key, x in load_checkpoint(whole.checkpoint).part("state").items():
            assert torch.equal(x, load_checkpoint(folder.checkpoint).part("state")[key])
        folder.close()
    assert len(stopped) >= 4
    whole.close()


@pytest.mark.parametrize("call", range(3))
def test_no_space_at_the_flush_leaves_the_files_as_they_were(folder, monkeypatch, call):
    """Network file systems say so only then."""
    folder.write_row({"step": 0, "t": 0.0})
    folder.write_snapshot(0, 0.0, {"v": torch.zeros(4, 2)}, problem="p")
    before = {path.name: path.read_bytes() for path in folder.path.iterdir()}

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files.os, "fsync", full)
    edits = [
        lambda: folder.write_snapshot(call, 0.0, {"v": torch.ones(4, 2)}, problem="p"),
        lambda: folder.write_summary({"steps": call}),
        lambda: folder.reopen(f"seed: {call}\n"),
    ]
    with pytest.raises(OSError, match="No space left"):
        edits[call]()
    assert {path.name: path.read_bytes() for path in folder.path.iterdir()} == before
