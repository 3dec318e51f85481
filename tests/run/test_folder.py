import json
import os

import h5py
import pytest
import torch

from graphlandau.run.folder import RunFolder


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
