"""Snapshots: at their steps, with the particles and what the method shows."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from short_runs import short_run

from graphlandau.methods import Blob, Vlasov
from graphlandau.problems import TwoStream
from graphlandau.run.folder import RunFolder
from graphlandau.run.observers import Observer
from graphlandau.run.simulation import Simulation

pytestmark = pytest.mark.usefixtures("small_and_quick")


class Kept(Observer):
    """Velocities and scores of every step."""

    def begin(self, run):
        self.v, self.s = {}, {}

    def after_evaluate(self, run):
        self.v[run.step], self.s[run.step] = run.state.v.numpy().copy(), run.frame.s.numpy().copy()


def test_snapshots_are_the_state_at_their_steps(tmp_path):
    folder, kept = RunFolder.create(tmp_path, ""), Kept()
    short_run(Blob(), folder=folder, observers=[kept]).run()
    assert folder.snapshot_steps() == [0, 5, 10]
    with h5py.File(folder.snapshots) as file:
        assert file.attrs["problem"] == "bkw_2d"
        for step in (0, 5, 10):
            group = file[f"{step:08d}"]
            assert group.attrs["t"] == pytest.approx(0.02 * step)
            assert sorted(group) == ["log_f", "s", "v"]
            assert np.array_equal(group["v"], kept.v[step])
            assert np.array_equal(group["s"], kept.s[step])


def test_particles_with_positions_have_them_and_the_field(tmp_path):
    folder = RunFolder.create(tmp_path, "")
    Simulation(TwoStream(), Vlasov(), particles=200, dt=0.1, t_end=0.2, snapshots=2, folder=folder).run()
    with h5py.File(folder.snapshots) as file:
        assert {"v", "pos", "field"} <= set(file["00000002"])


def test_without_a_folder_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    short_run(Blob(), t_end=0.02).run()
    assert list(tmp_path.iterdir()) == []
