"""Particles in every kind of file are read as the numbers that were written, and what is wrong is said by name."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from graphlandau.base.errors import InvalidArgument
from graphlandau.base.particle_files import read_particles

RANDOM = np.random.default_rng(7)
V, X, W, L = RANDOM.normal(size=(23, 3)), RANDOM.random((23, 2)), RANDOM.random(23), RANDOM.normal(size=23)


def hdf5(path: Path, **arrays: np.ndarray) -> None:
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array


def table(path: Path, header: str, *columns: np.ndarray, delimiter: str = ",", comments: str = "") -> None:
    np.savetxt(path, np.column_stack(columns), fmt="%.17g", delimiter=delimiter, header=header, comments=comments)


WRITERS: dict[str, Callable[[Path], None]] = {
    "a.npz": lambda path: np.savez(path, v=V, pos=X, weight=W, log_f=L),
    "b.npz": lambda path: np.savez_compressed(path, velocities=V, x=X, w=W[:, None], log_f=L),
    "a.h5": lambda path: hdf5(path, v=V, pos=X, weight=W, log_f=L),
    "b.HDF5": lambda path: hdf5(path, velocity=V, positions=X, weights=W, log_f=L),
    "a.csv": lambda path: table(path, "v_1,v_2,v_3,x_1,x_2,weight,log_f", V, X, W, L),
    "b.csv": lambda path: table(path, "log_f;vz;vy;vx;y;x;w", L, V[:, ::-1], X[:, ::-1], W, delimiter=";"),
    "c.csv": lambda path: table(path, "v0\tv1\tv2\tpos0\tpos1\tw\tlog_f", V, X, W, L, delimiter="\t", comments="# "),
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_kind_of_file_gives_the_same_numbers(tmp_path: Path, name: str):
    WRITERS[name](tmp_path / name)
    found = read_particles(tmp_path / name)
    for key, array in {"v": V, "pos": X, "weight": W, "log_f": L}.items():
        assert np.array_equal(found[key].numpy(), array), key


@pytest.mark.parametrize("dtype", ["f4", "f2", "i8", "u1", ">f8"])
def test_any_real_dtype_is_read_in_double_precision(tmp_path: Path, dtype: str):
    array = np.abs(10 * V).astype(dtype)
    np.save(tmp_path / "v.npy", np.asfortranarray(array))
    assert np.array_equal(read_particles(tmp_path / "v.npy")["v"].numpy(), array.astype(np.float64))


def test_a_table_without_names_holds_velocities(tmp_path: Path):
    table(tmp_path / "v.csv", "", V)
    text = (tmp_path / "v.csv").read_text().lstrip("\n")
    (tmp_path / "v.csv").write_text("\ufeff" + text, encoding="utf-8")
    found = read_particles(tmp_path / "v.csv")
    assert list(found) == ["v"]
    assert np.array_equal(found["v"].numpy(), V)


def test_of_the_snapshots_of_a_run_the_last_is_read(tmp_path: Path):
    with h5py.File(tmp_path / "snapshots.h5", "w") as file:
        file["weight"] = W
        for step in (0, 9, 10):
            group = file.create_group(f"{step:08d}")
            group["v"], group["log_f"], group["s"] = V + step, L - step, V
    found = read_particles(tmp_path / "snapshots.h5")
    assert np.array_equal(found["v"].numpy(), V + 10)
    assert np.array_equal(found["log_f"].numpy(), L - 10)
    assert np.array_equal(found["weight"].numpy(), W)


def test_what_is_not_read_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    np.savez(tmp_path / "a.npz", v=V, weigth=W, time=3.0)
    assert list(read_particles(tmp_path / "a.npz")) == ["v"]
    table(tmp_path / "b.csv", "id,v1,v2", np.arange(23), V[:, :2])
    assert read_particles(tmp_path / "b.csv")["v"].shape == (23, 2)
    assert "a.npz: not read: weigth, time" in caplog.text
    assert "b.csv: not read: id" in caplog.text


def broken(path: Path) -> None:
    path.write_bytes(b"\x93NUMPY but not really")


REFUSED: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "no file": ("v.npy", lambda path: None, "must be a readable file .*No such file"),
    "a folder": ("v.npy", Path.mkdir, "must be a readable file"),
    "an ending": ("v.mat", broken, "must end in .npy, .npz, .csv, .h5, .hdf5"),
    "no npy": ("v.npy", broken, "must be a npy file"),
    "no npz": ("v.npz", broken, "must be a npz file"),
    "no hdf5": ("v.h5", broken, "must be a readable file"),
    "empty npy": ("v.npy", Path.touch, "must be a npy file"),
    "empty csv": ("v.csv", Path.touch, "must be a csv file .*it is empty"),
    "words": ("v.csv", lambda path: path.write_text("v1,v2\n1,one\n"), "must be a csv file"),
    "ragged": ("v.csv", lambda path: path.write_text("1,2\n1,2,3\n"), "must be a csv file"),
    "a gap": ("v.csv", lambda path: path.write_text("v1,v3\n1,2\n3,4\n"), "components of v are v1, v3"),
    "twice": ("v.csv", lambda path: path.write_text("v1,v1\n1,2\n3,4\n"), "two columns are 'v1'"),
    "two names": ("v.npz", lambda path: np.savez(path, v=V, velocities=V), "must hold v once"),
    "no velocities": ("v.npz", lambda path: np.savez(path, pos=X), "must hold velocities 'v'"),
    "complex": ("v.npy", lambda path: np.save(path, V + 1j), "must hold real numbers .*complex128"),
    "objects": ("v.npy", lambda path: np.save(path, np.array([None, {}]), allow_pickle=True), "must be a npy file"),
    "transposed": ("v.npy", lambda path: np.save(path, V.T), r"a row for each particle .*\(3, 23\), which looks"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_file_of_particles_is_refused_in_one_line(tmp_path: Path, case: str):
    name, write, said = REFUSED[case]
    write(tmp_path / name)
    with pytest.raises(InvalidArgument, match=f"'path' {said}" if said.startswith("must") else said) as caught:
        read_particles(tmp_path / name)
    assert re.search(r"\n", str(caught.value)) is None
