import math

import h5py
import pytest
import torch
from short_runs import StopAt, numbers, short_run

import graphlandau
from graphlandau.base.errors import Diverged
from graphlandau.methods import SBTM, Blob, Collisions, Fit, LandauTransport, Step
from graphlandau.nn.score import ClosedFormScore, MLPScore
from graphlandau.problems import BKW
from graphlandau.run.checkpoint import load_checkpoint, save_checkpoint
from graphlandau.run.folder import RunFolder
from graphlandau.run.observers import Observer
from graphlandau.run.simulation import Simulation


class Stochastic(LandauTransport):
    """A user's method that draws from torch's global generator."""

    def score(self, state):
        return -state.v + 0.1 * torch.randn_like(state.v), None


METHODS = {
    "stochastic": lambda: Stochastic(step=Step(log_det="none")),
    "blob": lambda: Blob(collisions=Collisions(batch_size=20), seed=3),
    "midpoint": lambda: Blob(step=Step(integrator="midpoint", log_det="none")),
    "sbtm": lambda: SBTM(seeded_network(), fit=Fit(steps=2, minibatch=30, initial_steps=5), objective="denoising"),
    "closed_form": lambda: SBTM(ClosedFormScore(d=2)),
}


pytestmark = pytest.mark.usefixtures("small_and_quick")


def seeded_network():
    torch.manual_seed(1)
    return MLPScore(d=2, width=8, depth=1)


def snapshots(folder):
    with h5py.File(folder.snapshots) as file:
        steps = [name for name in file if name.isdigit()]
        return {f"{n}/{key}": torch.from_numpy(file[n][key][()]) for n in steps for key in file[n]}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("step", "stage"), [(0, "before"), (5, "after"), (6, "before"), (10, "after")])
def test_resumed_run_gives_the_same_bits(tmp_path, method, step, stage):
    whole = RunFolder.create(tmp_path / "whole", "")
    expected = short_run(METHODS[method](), folder=whole).run()

    folder = RunFolder.create(tmp_path / "cut", "")
    with pytest.raises(KeyboardInterrupt):
        short_run(METHODS[method](), folder=folder, observers=[StopAt(step, stage)]).run()
    folder.close()
    torch.manual_seed(123)  # a new process knows nothing of the old one's generators
    again = RunFolder.open(tmp_path / "cut")
    result = short_run(METHODS[method](), folder=again).run()

    assert torch.equal(result.state.v, expected.state.v)
    assert "log_f" not in result.state or torch.equal(result.state.log_f, expected.state.log_f)
    first, second = snapshots(whole), snapshots(again)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)
    # The rows before the checkpoint come back from text, which keeps every digit.
    assert numbers(result.metrics) == numbers(expected.metrics) == numbers(again.read_rows())


def test_longer_run_continues_to_the_bits_of_one_that_was_longer_from_the_start(tmp_path):
    folder = RunFolder.create(tmp_path / "a", "")
    short_run(METHODS["sbtm"](), folder=folder).run()
    result = short_run(METHODS["sbtm"](), folder=folder, t_end=0.3).run()
    expected = short_run(METHODS["sbtm"](), t_end=0.3).run()
    assert torch.equal(result.state.v, expected.state.v)
    assert folder.snapshot_steps() == [0, 5, 10, 15]  # three up to the end, twice
    assert [row["step"] for row in result.metrics] == list(range(16))


def test_wall_seconds_cumulate(tmp_path):
    folder = RunFolder.create(tmp_path, "")
    with pytest.raises(KeyboardInterrupt):
        short_run(Blob(), folder=folder, observers=[StopAt(6, "after")]).run()
    before = load_checkpoint(folder.checkpoint).record["wall_seconds"]
    result = short_run(Blob(), folder=folder).run()
    assert result.summary["wall_seconds"] > before > result.summary["setup_seconds"] > 0


def test_checkpoint_of_another_run_is_refused(tmp_path):
    folder = RunFolder.create(tmp_path, "")
    short_run(Blob(), folder=folder).run()
    with pytest.raises(ValueError, match=r"checkpoint of this run .* \(60, 2\) particles at step 10"):
        short_run(Blob(), folder=folder, particles=61).run()
    with pytest.raises(ValueError, match="checkpoint of this run"):
        short_run(Blob(), folder=folder, t_end=0.1).run()


def test_checkpoint_of_another_precision_is_refused(tmp_path):
    folder = RunFolder.create(tmp_path, "")
    short_run(Blob(), folder=folder).run()
    with pytest.raises(ValueError, match=r"^'dtype' must be float32, in which the checkpoint of .* \(got float64\)$"):
        short_run(Blob(), folder=folder, dtype=torch.float64).run()


def rewritten(folder, change):
    """The checkpoint of ``folder`` with the names of its tensors changed; ``None`` leaves one out."""
    checkpoint = load_checkpoint(folder.checkpoint)
    names = {key: change(key) for key in checkpoint.tensors}
    checkpoint.tensors = {names[key]: x for key, x in checkpoint.tensors.items() if names[key] is not None}
    save_checkpoint(folder.checkpoint, checkpoint)


def test_checkpoint_of_the_version_before_is_read(tmp_path):
    """There observers were called callbacks."""
    expected = short_run(Blob()).run()
    folder = RunFolder.create(tmp_path, "")
    with pytest.raises(KeyboardInterrupt):
        short_run(Blob(), folder=folder, observers=[StopAt(7, "after")]).run()
    rewritten(folder, lambda key: key.replace("observer_", "callback_"))
    result = short_run(Blob(), folder=folder).run()
    assert torch.equal(result.state.v, expected.state.v)
    assert numbers(result.metrics) == numbers(expected.metrics)


@pytest.mark.parametrize("lost", ["method.model.network.last.bias", "method.generator"])
def test_checkpoint_that_is_not_understood_is_refused_with_its_version(tmp_path, lost):
    folder = RunFolder.create(tmp_path, "")
    short_run(METHODS["sbtm"](), folder=folder).run()
    rewritten(folder, lambda key: None if key == lost else key)
    version = graphlandau.__version__
    told = rf"^'folder' must hold a checkpoint that version {version} can read .* written by graphlandau {version}"
    with pytest.raises(ValueError, match=told) as refused:
        short_run(METHODS["sbtm"](), folder=folder).run()
    assert "\n" not in str(refused.value)


def test_same_particles_for_every_method_and_dtype():
    states = []
    for method, dtype in (
        (Blob(), torch.float64),
        (Blob(correct=True), torch.float32),
        (METHODS["sbtm"](), torch.float64),
    ):
        first = FirstState()
        short_run(method, dtype=dtype, t_end=0.02, seed=7, observers=[first]).run()
        states.append(first.v)
    assert torch.equal(states[0], states[2])
    assert torch.equal(states[0].float(), states[1])
    other = FirstState()
    short_run(Blob(), t_end=0.02, seed=8, observers=[other]).run()
    assert not torch.equal(other.v, states[1])


class FirstState(Observer):
    def begin(self, run):
        self.v = run.state.v.clone()


def test_rows_at_multiples_snapshots_and_the_end():
    rows = short_run(Blob(), metrics_every=4, snapshots=3).run().metrics
    assert [row["step"] for row in rows] == [0, 4, 5, 8, 10]
    assert [row["t"] for row in rows] == [0.0, 0.08, 0.1, 0.16, 0.2]


@pytest.mark.parametrize("integrator", ["euler", "midpoint"])
def test_huge_step_stops_where_it_becomes_infinite(tmp_path, integrator):
    folder = RunFolder.create(tmp_path, "")
    run = Simulation(
        BKW(d=2),
        Blob(step=Step(integrator=integrator)),
        particles=20,
        dt=1e8,
        t_end=1e9,
        folder=folder,
        checkpoint_every=1,
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
        short_run(Breaks(step=Step(log_det="none")), folder=folder, checkpoint_every=1).run()
    assert load_checkpoint(folder.checkpoint).record["step"] == 3
    assert [row["step"] for row in folder.read_rows()] == [0, 1, 2]


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
        short_run(Blob(), **{option: value})
