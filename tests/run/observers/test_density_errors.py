"""The error of the density beside what exact scores, and exact samples, leave of it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from short_runs import StopAt, short_run

from graphlandau.methods import Blob, Collisions, Step
from graphlandau.problems import BKW, Anisotropic
from graphlandau.run.folder import RunFolder
from graphlandau.run.observers.density_errors import DensityErrors, ExactTransport
from graphlandau.run.simulation import Simulation

pytestmark = pytest.mark.usefixtures("small_and_quick")


def test_density_columns_are_filled_at_snapshots_only():
    rows = short_run(Blob(), snapshots=3).run().metrics
    columns = ("rel_l2_density", "rel_l2_density_exact_score", "rel_l2_density_fresh")
    for row in rows:
        for key in columns:
            assert (row[key] is None) == (row["step"] not in (0, 5, 10))
    # At the start the particles of the run and of the baseline are the same ones.
    assert rows[0]["rel_l2_density"] == rows[0]["rel_l2_density_exact_score"] != rows[0]["rel_l2_density_fresh"]


def test_baseline_is_the_run_with_the_exact_score():
    problem = BKW(d=2)
    baseline = short_run(Blob(step=Step(integrator="midpoint"))).run().summary["rel_l2_density_exact_score"]
    exact = short_run(ExactTransport(problem, like=Blob(step=Step(integrator="midpoint")))).run()
    assert exact.summary["rel_l2_density"] == baseline
    assert exact.summary["rel_fisher_divergence"] < 1e-12  # one formula in two precisions


def test_fresh_baseline_shrinks_as_the_sample_grows():
    errors = [short_run(Blob(), particles=n, t_end=0.02).run().summary["rel_l2_density_fresh"] for n in (100, 1600)]
    # N^-1/2 gives a factor 4 while the noise dominates the bias of the kernel.
    assert errors[0] > 2 * errors[1]


@pytest.mark.parametrize("stop", [None, 6])
def test_density_known_at_some_times_only(tmp_path, stop):
    class Between(BKW):
        def density(self, t):
            return super().density(t) if t < 0.05 or t > 0.15 else None

    def run(folder, observers=()):
        options = {"particles": 60, "dt": 0.02, "t_end": 0.2, "snapshots": 3, "checkpoint_every": 5}
        return Simulation(Between(d=2), Blob(), folder=folder, observers=observers, **options).run()

    folder = RunFolder.create(tmp_path, "")
    if stop:
        with pytest.raises(KeyboardInterrupt):
            run(folder, [StopAt(stop, "after")])
    first, middle, last = (run(folder).metrics[step] for step in (0, 5, 10))
    for key in ("rel_fisher_divergence", "kl", "entropy_exact", "rel_l2_density", "rel_l2_density_fresh"):
        assert first[key] is not None
        assert middle[key] is None
        assert last[key] is not None
    # The particles of the baseline cannot get past a time without a score.
    assert last["rel_l2_density_exact_score"] is None


def test_seeds_up_to_the_largest_run():
    assert short_run(Blob(), seed=2**63 - 1, t_end=0.02).run().summary["rel_l2_density_fresh"] > 0


def test_no_baselines_no_columns():
    rows = short_run(Blob(), baselines=False).run().metrics
    assert "rel_l2_density" in rows[0]
    assert "rel_l2_density_fresh" not in rows[0]


def test_density_errors_only_where_there_is_a_density():
    assert DensityErrors.where_known(Anisotropic(d=3), Blob(), baselines=True, seed=0) == []
    assert len(DensityErrors.where_known(BKW(d=3), Blob(), baselines=True, seed=0)) == 1


def test_baseline_takes_every_option_of_the_drift():
    like = Blob(
        step=Step(integrator="midpoint"),
        collisions=Collisions(batch_size=7, backend="mesh", mesh_tolerance=0.02),
        seed=5,
    )
    exact = ExactTransport(BKW(d=2), like)
    assert (exact.step, exact.collisions, exact.seed) == (replace(like.step, log_det="none"), like.collisions, 5)
