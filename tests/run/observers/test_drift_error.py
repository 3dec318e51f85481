"""The column ``drift_error`` of a run on the mesh: when it is measured, what is said, what a resume does."""

from __future__ import annotations

import csv
import logging
import warnings

import pytest
import torch

from graphlandau.cli import main as cli
from graphlandau.methods import Blob, Collisions, Step, Vlasov
from graphlandau.problems import Anisotropic
from graphlandau.run.folder import RunFolder
from graphlandau.run.observers import Observer
from graphlandau.run.observers.drift_error import DriftError
from graphlandau.run.simulation import Simulation

pytestmark = pytest.mark.usefixtures("small_and_quick")

STEPS = 7
MEASURED = [0, 3, 6, 7]


def simulation(backend="mesh", tolerance=0.3, gamma=-1.0, steps=STEPS, **options):
    method = Blob(step=Step(log_det="none"), collisions=Collisions(backend=backend, mesh_tolerance=tolerance))
    defaults = {"particles": 200, "dt": 0.01, "t_end": 0.01 * steps, "snapshots": 2, "checkpoint_every": 3}
    problem = Anisotropic(d=3, gamma=gamma)
    return Simulation(problem, method, baselines=False, dtype=torch.float64, **defaults | options)


def column(folder):
    with (folder / "metrics.csv").open(encoding="utf-8") as file:
        return [row["drift_error"] for row in csv.DictReader(file)]


def test_measured_at_the_first_step_the_checkpoints_and_the_last(tmp_path):
    folder = RunFolder.create(tmp_path / "run", "")
    result = simulation(folder=folder).run()
    errors = [row["drift_error"] for row in result.metrics]
    assert [step for step, error in enumerate(errors) if error is not None] == MEASURED
    assert all(0 < errors[step] < 0.3 for step in MEASURED)
    assert [step for step, cell in enumerate(column(tmp_path / "run")) if cell] == MEASURED
    assert [float(cell) for cell in column(tmp_path / "run") if cell] == pytest.approx([errors[s] for s in MEASURED])
    assert result.summary["drift_error"] == errors[-1]
    assert result.summary["backend"] == "mesh"


def test_it_is_the_error_of_the_drift_that_moves_the_particles():
    """All 200 particles are targets: the first figure is that of a direct sum over them."""

    class Look(Observer):
        def after_evaluate(self, run):
            if run.step == 0:
                exact = Simulation(run.problem, Blob(collisions=Collisions(backend="dense")), particles=200).method
                exact.prepare(run.state, run.problem)
                u = exact.drift(run.state.v, run.frame.s)
                self.error = float((run.frame.drift - u).norm() / u.norm())

    look = Look()
    result = simulation(observers=[look], steps=1).run()
    assert result.metrics[0]["drift_error"] == pytest.approx(look.error, rel=1e-6)


def test_the_first_figure_is_said(caplog):
    with caplog.at_level(logging.INFO, logger="graphlandau.run.observers.drift_error"):
        result = simulation().run()
    said = [record.getMessage() for record in caplog.records if record.name == "graphlandau.run.observers.drift_error"]
    assert said == [f"drifts by the mesh: measured error {result.metrics[0]['drift_error']:.1e} (tolerance 0.3)"]


def test_an_error_above_the_tolerance_is_warned_of_and_only_then(monkeypatch):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        simulation(steps=3).run()
    monkeypatch.setattr("graphlandau.nn.conv.LandauDrift.error", lambda *_, **__: 0.5)
    with pytest.warns(UserWarning, match="drifts have a relative error") as caught:
        simulation(steps=3).run()
    said = [str(each.message) for each in caught if "drifts have" in str(each.message)]
    assert said == [
        f"drifts have a relative error of 5.0e-01 at step {step} of 3, above 0.3; "
        "a smaller --mesh_tolerance takes a finer lattice"
        for step in (0, 3)
    ]


@pytest.mark.parametrize("step", [3, 6])
def test_a_resume_continues_the_column(tmp_path, step):
    class Stop(Observer):
        def after_evaluate(self, run):
            if run.step == step + 1:
                raise KeyboardInterrupt

    whole = RunFolder.create(tmp_path / "whole", "")
    expected = simulation(folder=whole).run()
    folder = RunFolder.create(tmp_path / "cut", "")
    with pytest.raises(KeyboardInterrupt):
        simulation(folder=folder, observers=[Stop()]).run()
    folder.close()
    result = simulation(folder=RunFolder.open(tmp_path / "cut")).run()
    assert torch.equal(result.state.v, expected.state.v)
    assert column(tmp_path / "cut") == column(tmp_path / "whole")


def test_watching_changes_no_number():
    watched, free = simulation(), simulation()
    free.observers = [each for each in free.observers if not isinstance(each, DriftError)]
    a, b = watched.run(), free.run()
    assert torch.equal(a.state.v, b.state.v)
    assert "drift_error" not in b.metrics[0]


@pytest.mark.parametrize("backend", ["dense", "auto"])
def test_exact_backends_have_no_column(backend):
    result = simulation(backend=backend, steps=2).run()
    assert all("drift_error" not in row for row in result.metrics)
    assert result.summary["backend"] == "dense"


def test_auto_has_the_column_where_it_takes_the_mesh(monkeypatch):
    monkeypatch.setattr("graphlandau.nn.pairs.choice.MESH_FROM", 200)
    result = simulation(backend="auto", steps=2).run()
    assert result.metrics[0]["drift_error"] > 0
    assert result.summary["backend"] == "mesh"


def test_methods_without_a_collision_drift_have_none():
    assert DriftError.of(Vlasov(), 3) == []
    assert [type(each) for each in DriftError.of(Blob(), 3)] == [DriftError]


def test_the_command_takes_backend_and_tolerance(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    line = "run --problem anisotropic_coulomb_3d --method blob --particles 200 --dt 0.1 --t_end 0.2 --figures false"
    line += " --backend mesh --mesh_tolerance 0.2 --checkpoint_every 2 --baselines false --out"
    assert cli.main([*line.split(), "run"]) == 0
    captured = capsys.readouterr()
    assert "drifts by the mesh: measured error" in captured.err + captured.out
    assert [bool(cell) for cell in column(tmp_path / "run")] == [True, False, True]
    assert "mesh_tolerance: 0.2" in (tmp_path / "run" / "config.yaml").read_text()
    refused = [*line.split(), "refused", "--mesh_tolerance", "1e-7"]
    assert cli.main(refused) in (1, 2)
    errors = [each for each in capsys.readouterr().err.splitlines() if each.startswith("error")]
    assert len(errors) == 1
    assert "'tolerance' must be larger" in errors[0]
    assert not (tmp_path / "refused").exists()
