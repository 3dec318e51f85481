import json
import math

import h5py
import pytest
import torch

import graphlandau
from graphlandau.base.errors import Diverged
from graphlandau.diagnostics import energy
from graphlandau.methods import SBTM, Blob, LandauTransport
from graphlandau.nn.score import ClosedFormScore, MLPScore
from graphlandau.problems import BKW, Anisotropic, Gaussian, Problem
from graphlandau.run.checkpoint import load_checkpoint, save_checkpoint
from graphlandau.run.folder import RunFolder
from graphlandau.run.observers import Observer
from graphlandau.run.observers.density_errors import DensityErrors, ExactTransport
from graphlandau.run.simulation import Simulation, count_steps


class Stochastic(LandauTransport):
    """A user's method that draws from torch's global generator."""

    def score(self, state):
        return -state.v + 0.1 * torch.randn_like(state.v), None


METHODS = {
    "stochastic": lambda: Stochastic(log_det="none"),
    "blob": lambda: Blob(batch_size=20, seed=3),
    "midpoint": lambda: Blob(integrator="midpoint", log_det="none"),
    "sbtm": lambda: SBTM(seeded_network(), objective="denoising", steps=2, minibatch=30, initial_steps=5),
    "closed_form": lambda: SBTM(ClosedFormScore(d=2)),
}


pytestmark = pytest.mark.usefixtures("small_and_quick")


def seeded_network():
    torch.manual_seed(1)
    return MLPScore(d=2, width=8, depth=1)


def simulation(method, **options):
    defaults = {"particles": 60, "dt": 0.02, "t_end": 0.2, "snapshots": 3, "checkpoint_every": 3}
    return Simulation(BKW(d=2), method, **defaults | options)


class StopAt(Observer):
    """Ends the process, as far as the run can tell, at one step and stage."""

    def __init__(self, step, stage):
        self.step, self.stage = step, stage

    def before_evaluate(self, run):
        if (run.step, "before") == (self.step, self.stage):
            raise KeyboardInterrupt

    def after_evaluate(self, run):
        if (run.step, "after") == (self.step, self.stage):
            raise KeyboardInterrupt


def snapshots(folder):
    with h5py.File(folder.snapshots) as file:
        steps = [name for name in file if name.isdigit()]
        return {f"{n}/{key}": torch.from_numpy(file[n][key][()]) for n in steps for key in file[n]}


def numbers(rows):
    return [{key: x for key, x in row.items() if key != "wall_seconds"} for row in rows]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("step", "stage"), [(0, "before"), (5, "after"), (6, "before"), (10, "after")])
def test_resumed_run_gives_the_same_bits(tmp_path, method, step, stage):
    whole = RunFolder.create(tmp_path / "whole", "")
    expected = simulation(METHODS[method](), folder=whole).run()

    folder = RunFolder.create(tmp_path / "cut", "")
    with pytest.raises(KeyboardInterrupt):
        simulation(METHODS[method](), folder=folder, observers=[StopAt(step, stage)]).run()
    folder.close()
    torch.manual_seed(123)  # a new process knows nothing of the old one's generators
    again = RunFolder.open(tmp_path / "cut")
    result = simulation(METHODS[method](), folder=again).run()

    assert torch.equal(result.state.v, expected.state.v)
    assert "log_f" not in result.state or torch.equal(result.state.log_f, expected.state.log_f)
    first, second = snapshots(whole), snapshots(again)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)
    # The rows before the checkpoint come back from text, which keeps every digit.
    assert numbers(result.metrics) == numbers(expected.metrics) == numbers(again.read_rows())


def test_longer_run_continues_to_the_bits_of_one_that_was_longer_from_the_start(tmp_path):
    folder = RunFolder.create(tmp_path / "a", "")
    simulation(METHODS["sbtm"](), folder=folder).run()
    result = simulation(METHODS["sbtm"](), folder=folder, t_end=0.3).run()
    expected = simulation(METHODS["sbtm"](), t_end=0.3).run()
    assert torch.equal(result.state.v, expected.state.v)
    assert folder.snapshot_steps() == [0, 5, 10, 15]  # three up to the end, twice
    assert [row["step"] for row in result.metrics] == list(range(16))


def test_wall_seconds_cumulate(tmp_path):
    folder = RunFolder.create(tmp_path, "")
    with pytest.raises(KeyboardInterrupt):
        simulation(Blob(), folder=folder, observers=[StopAt(6, "after")]).run()
    before = load_checkpoint(folder.checkpoint).record["wall_seconds"]
    result = simulation(Blob(), folder=folder).run()
    assert result.summary["wall_seconds"] > before > result.summary["setup_seconds"] > 0


def test_checkpoint_of_another_run_is_refused(tmp_path):
    folder = RunFolder.create(tmp_path, "")
    simulation(Blob(), folder=folder).run()
    with pytest.raises(ValueError, match=r"checkpoint of this run .* \(60, 2\) particles at step 10"):
        simulation(Blob(), folder=folder, particles=61).run()
    with pytest.raises(ValueError, match="checkpoint of this run"):
        simulation(Blob(), folder=folder, t_end=0.1).run()


def test_checkpoint_of_another_precision_is_refused(tmp_path):
    folder = RunFolder.create(tmp_path, "")
    simulation(Blob(), folder=folder).run()
    with pytest.raises(ValueError, match=r"^'dtype' must be float32, in which the checkpoint of .* \(got float64\)$"):
        simulation(Blob(), folder=folder, dtype=torch.float64).run()


def rewritten(folder, change):
    """The checkpoint of ``folder`` with the names of its tensors changed; ``None`` leaves one out."""
    checkpoint = load_checkpoint(folder.checkpoint)
    names = {key: change(key) for key in checkpoint.tensors}
    checkpoint.tensors = {names[key]: x for key, x in checkpoint.tensors.items() if names[key] is not None}
    save_checkpoint(folder.checkpoint, checkpoint)


def test_checkpoint_of_the_version_before_is_read(tmp_path):
    """There observers were called callbacks."""
    expected = simulation(Blob()).run()
    folder = RunFolder.create(tmp_path, "")
    with pytest.raises(KeyboardInterrupt):
        simulation(Blob(), folder=folder, observers=[StopAt(7, "after")]).run()
    rewritten(folder, lambda key: key.replace("observer_", "callback_"))
    result = simulation(Blob(), folder=folder).run()
    assert torch.equal(result.state.v, expected.state.v)
    assert numbers(result.metrics) == numbers(expected.metrics)


@pytest.mark.parametrize("lost", ["method.model.network.last.bias", "method.generator"])
def test_checkpoint_that_is_not_understood_is_refused_with_its_version(tmp_path, lost):
    folder = RunFolder.create(tmp_path, "")
    simulation(METHODS["sbtm"](), folder=folder).run()
    rewritten(folder, lambda key: None if key == lost else key)
    version = graphlandau.__version__
    told = rf"^'folder' must hold a checkpoint that version {version} can read .* written by graphlandau {version}"
    with pytest.raises(ValueError, match=told) as refused:
        simulation(METHODS["sbtm"](), folder=folder).run()
    assert "\n" not in str(refused.value)


def test_same_particles_for_every_method_and_dtype():
    states = []
    for method, dtype in (
        (Blob(), torch.float64),
        (Blob(correct=True), torch.float32),
        (METHODS["sbtm"](), torch.float64),
    ):
        first = FirstState()
        simulation(method, dtype=dtype, t_end=0.02, seed=7, observers=[first]).run()
        states.append(first.v)
    assert torch.equal(states[0], states[2])
    assert torch.equal(states[0].float(), states[1])
    other = FirstState()
    simulation(Blob(), t_end=0.02, seed=8, observers=[other]).run()
    assert not torch.equal(other.v, states[1])


class FirstState(Observer):
    def begin(self, run):
        self.v = run.state.v.clone()


def test_summary_has_the_numbers_of_the_last_row(tmp_path):
    folder = RunFolder.create(tmp_path, "")
    result = simulation(METHODS["closed_form"](), folder=folder, seed=5).run()
    wanted = """problem method score particles d gamma strength dt t steps seed device dtype backend wall_seconds
        seconds_per_step energy_rel_drift momentum_abs_drift entropy entropy_dissipation covariance rel_l2_density
        rel_fisher_divergence cov_frobenius_error kl rel_l2_density_exact_score rel_l2_density_fresh"""
    assert set(wanted.split()) <= result.summary.keys()
    assert json.loads(folder.summary.read_text()) == result.summary
    assert result.summary["t"] == 0.2
    assert (result.summary["steps"], result.summary["seed"]) == (10, 5)
    assert (result.summary["gamma"], result.summary["strength"], result.summary["d"]) == (0.0, 1 / 16, 2)
    assert (result.summary["backend"], result.summary["dtype"]) == ("moments", "float32")
    assert result.summary["kl"] == result.metrics[-1]["kl"]
    sigma = torch.cov(result.state.v.double().T, correction=0)
    # float64 sums of 60 terms in two orders.
    torch.testing.assert_close(
        torch.tensor(result.summary["covariance"], dtype=torch.float64), sigma, atol=1e-14, rtol=0
    )


def test_metrics_measure_what_they_say():
    result = simulation(Blob(), dtype=torch.float64, particles=200).run()
    first, last = result.metrics[0], result.metrics[-1]
    assert first["energy_rel_drift"] == first["momentum_abs_drift"] == first["cov_sample_error"] == 0
    assert last["energy"] == pytest.approx(float(energy(result.state.v)), rel=1e-15)
    # Forward Euler adds dt^2 <|U|^2> / 2 of energy at every step, and nothing else.
    assert 0 < last["energy_rel_drift"] == pytest.approx(last["energy"] / first["energy"] - 1, rel=1e-9)
    assert last["momentum_abs_drift"] < 1e-15
    # log f starts at the exact density, so the first KL is rounding; the exact entropy falls.
    assert abs(first["kl"]) < 1e-15
    assert last["entropy_exact"] < first["entropy_exact"]
    assert all(row["entropy_dissipation"] < 0 for row in result.metrics)
    # The formula for the covariance holds for the particles' own to O(dt), not for the exact one, off by N^-1/2.
    assert last["cov_sample_error"] < 0.02 * last["cov_frobenius_error"]


def test_density_columns_are_filled_at_snapshots_only():
    rows = simulation(Blob(), snapshots=3).run().metrics
    columns = ("rel_l2_density", "rel_l2_density_exact_score", "rel_l2_density_fresh")
    for row in rows:
        for key in columns:
            assert (row[key] is None) == (row["step"] not in (0, 5, 10))
    # At the start the particles of the run and of the floor are the same ones.
    assert rows[0]["rel_l2_density"] == rows[0]["rel_l2_density_exact_score"] != rows[0]["rel_l2_density_fresh"]


def test_floor_is_the_run_with_the_exact_score():
    problem = BKW(d=2)
    floor = simulation(Blob(integrator="midpoint")).run().summary["rel_l2_density_exact_score"]
    exact = simulation(ExactTransport(problem, like=Blob(integrator="midpoint"))).run()
    assert exact.summary["rel_l2_density"] == floor
    assert exact.summary["rel_fisher_divergence"] < 1e-12  # one formula in two precisions


def test_fresh_floor_shrinks_as_the_sample_grows():
    errors = [simulation(Blob(), particles=n, t_end=0.02).run().summary["rel_l2_density_fresh"] for n in (100, 1600)]
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
    # The particles of the floor cannot get past a time without a score.
    assert last["rel_l2_density_exact_score"] is None


def test_seeds_up_to_the_largest_run():
    assert simulation(Blob(), seed=2**63 - 1, t_end=0.02).run().summary["rel_l2_density_fresh"] > 0


def test_no_floors_no_columns():
    rows = simulation(Blob(), floors=False).run().metrics
    assert "rel_l2_density" in rows[0]
    assert "rel_l2_density_fresh" not in rows[0]


def test_unknown_truth_leaves_its_columns_out():
    class Beam(Problem):
        def __init__(self):
            thermal = Gaussian(mean=[1.0, 0.0], covariance=[[0.2, 0.0], [0.0, 1.0]])
            super().__init__(thermal, gamma=-3.0, strength=0.1, t_end=0.2, dt=0.1, particles=30)

    result = Simulation(Beam(), Blob()).run()
    assert result.summary["problem"] == "beam"
    assert result.summary["backend"] == "dense"
    for key in ("kl", "rel_fisher_divergence", "rel_l2_density", "cov_frobenius_error", "cov_sample_error"):
        assert key not in result.metrics[0]
    assert result.summary["entropy"] is not None


def test_known_covariance_alone_is_reported():
    result = Simulation(Anisotropic(d=5), Blob(), particles=50, dt=0.01, t_end=0.02).run()
    assert "kl" not in result.metrics[0]
    assert result.summary["cov_sample_error"] < result.summary["cov_frobenius_error"]
    # In high dimension only the diagonal has columns.
    assert [key for key in result.metrics[0] if key.startswith("cov_1_")] == ["cov_1_1"]


def test_rows_at_multiples_snapshots_and_the_end():
    rows = simulation(Blob(), metrics_every=4, snapshots=3).run().metrics
    assert [row["step"] for row in rows] == [0, 4, 5, 8, 10]
    assert [row["t"] for row in rows] == [0.0, 0.08, 0.1, 0.16, 0.2]


@pytest.mark.parametrize("integrator", ["euler", "midpoint"])
def test_huge_step_stops_where_it_becomes_infinite(tmp_path, integrator):
    folder = RunFolder.create(tmp_path, "")
    run = Simulation(
        BKW(d=2), Blob(integrator=integrator), particles=20, dt=1e8, t_end=1e9, folder=folder, checkpoint_every=1
    )
    with pytest.raises(Diverged, match=r"at step \d+ of 10"):
        run.run()
    assert load_checkpoint(folder.checkpoint).record["step"] <= run.step
    assert torch.isfinite(load_checkpoint(folder.checkpoint).tensors["state.v"]).all()
    assert not folder.summary.exists()


def test_bad_score_is_named_with_its_step(tmp_path):
    class Breaks(LandauTransport):
        def score(self, state):
            s = -state.v
            if state.t > 0.05:
                s = s.clone()
                s[4, 1] = math.nan
            return s, None

    folder = RunFolder.create(tmp_path, "")
    with pytest.raises(Diverged, match=r"'s' became non-finite at step 3 of 10 \(t = 0.06\)"):
        simulation(Breaks(log_det="none"), folder=folder, checkpoint_every=1).run()
    assert load_checkpoint(folder.checkpoint).record["step"] == 3
    assert [row["step"] for row in folder.read_rows()] == [0, 1, 2]


def test_steps_count_and_refusals():
    assert count_steps(0.0, 5.0, 0.01) == 500
    assert count_steps(5.5, 9.5, 0.01) == 400
    assert count_steps(0.0, 0.3, 0.1) == 3
    with pytest.raises(
        ValueError, match=r"'dt' must divide t_end - t_start = 1 \(got 0.3; the nearest that does is 0.333333"
    ):
        count_steps(0.0, 1.0, 0.3)
    with pytest.raises(ValueError, match=r"'dt' must divide .* \(got 2; the nearest that does is 1\)"):
        count_steps(0.0, 1.0, 2.0)
    with pytest.raises(ValueError, match=r"'t_end' must be after the start time 5.5 \(got 5\)"):
        count_steps(5.5, 5.0, 0.1)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("particles", 1),
        ("particles", -5),
        ("particles", 2.5),
        ("dt", 0.0),
        ("dt", math.inf),
        ("t_end", math.nan),
        ("seed", -1),
        ("seed", 2**63),
        ("device", "meta"),
        ("dtype", torch.float16),
        ("snapshots", 1),
        ("metrics_every", 0),
        ("checkpoint_every", 0),
    ],
)
def test_bad_numbers_are_refused_by_name(option, value):
    with pytest.raises(ValueError, match=f"'{option}' must be"):
        simulation(Blob(), **{option: value})


def test_density_errors_only_where_there_is_a_density():
    assert DensityErrors.where_known(Anisotropic(d=3), Blob(), floors=True, seed=0) == []
    assert len(DensityErrors.where_known(BKW(d=3), Blob(), floors=True, seed=0)) == 1


def test_user_observers_add_columns():
    class Hottest(Observer):
        def after_evaluate(self, run):
            if run.row_due:
                run.row["hottest"] = float(run.state.v.norm(dim=1).max())

    result = simulation(Blob(), observers=[Hottest()]).run()
    assert result.metrics[-1]["hottest"] == float(result.state.v.norm(dim=1).max())
