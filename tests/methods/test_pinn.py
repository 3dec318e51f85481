"""The global-in-time method in the time loop: no steps for the flow, steps for the score, and what resumes to what."""

from __future__ import annotations

import json
import math
import os
from itertools import pairwise

import pytest
import torch
from torch import nn

from graphlandau.base.errors import Diverged
from graphlandau.cli.option_groups import closed
from graphlandau.methods import PINN, Recipe, TrainedFlow, Training, TrainingDivergedError
from graphlandau.nn import GNNScore, LandauDrift, MLPScore, TimeField, TimeMLP
from graphlandau.problems import BKW, Anisotropic, Gaussian, Problem, Truncated
from graphlandau.run.checkpoint import load_checkpoint
from graphlandau.run.folder import RunFolder
from graphlandau.run.observers import Observer
from graphlandau.run.observers.certificate import Certificate
from graphlandau.run.protocols import density_error
from graphlandau.run.simulation import Simulation

RECIPE = {"iterations": 25, "training_particles": 30, "collocation_times": 2, "save_every": 10, "learning_rate": 1e-2}


pytestmark = pytest.mark.usefixtures("small_and_quick")


def network(seed=1, d=2):
    torch.manual_seed(seed)
    return TimeMLP(d, 6, 1, 4, 1, 8, 1)


def pinn(score=None, flow=None, **options):
    networks = (x if x is not None else network(seed) for x, seed in ((score, 1), (flow, 2)))
    score, flow = (x.double() for x in networks)
    return PINN(score, flow, **closed(PINN, RECIPE | options))


def run(method, folder=None, problem=None, **options):
    defaults = {"particles": 40, "dt": 0.1, "t_end": 0.4, "dtype": torch.float64, "baselines": False, "snapshots": 3}
    problem = BKW(2) if problem is None else problem
    return Simulation(problem, method, folder=folder, **defaults | {"checkpoint_every": 2} | options)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A pair that is trained already, to t = 0.4."""
    path = tmp_path_factory.mktemp("trained") / "trained.safetensors"
    method = pinn(iterations=60)
    torch.set_num_threads(1)
    run(method).run()
    method.pair.save(path)
    return path


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


def numbers(rows):
    return [{key: x for key, x in row.items() if key != "wall_seconds"} for row in rows]


# The flow


def test_the_flow_does_not_know_the_time_step(trained):
    """Where the particles end is the map at t_end: to the last bit for any steps, since all times are decimal."""
    ends = [run(pinn(trained=str(trained)), dt=dt).run().state for dt in (0.4, 0.1, 0.05)]
    v0 = BKW(2).sample(40, generator=torch.Generator().manual_seed(0))
    expected = TrainedFlow.load(trained).flow.at(v0, 0.4)
    for state in ends:
        # Times are sums of steps, rounded: 1e-16 relative.
        torch.testing.assert_close(state.v, expected, atol=1e-13, rtol=1e-13)
        torch.testing.assert_close(state.log_f, ends[0].log_f, atol=1e-12, rtol=1e-12)
    assert float((expected - v0).abs().max()) > 1e-3


def test_the_flow_takes_any_number_of_particles(trained):
    """Not that of the training; each moves alone."""
    sizes = {n: run(pinn(trained=str(trained)), particles=n).run().state.v for n in (2, 7, 500)}
    flow = TrainedFlow.load(trained).flow
    for n, v in sizes.items():
        v0 = BKW(2).sample(n, generator=torch.Generator().manual_seed(0))
        torch.testing.assert_close(v, flow.at(v0, 0.4), atol=1e-13, rtol=1e-13)


def test_a_run_is_an_enquiry_of_the_trained_pair():
    """At every step: particles by the map, score by the score of that time, drift by the sum over these particles."""
    problem, seen = BKW(2), []

    class Watch(Observer):
        def after_evaluate(self, run):
            seen.append((run.t, run.state.v, run.frame))

    method = pinn()
    run(method, problem=problem, observers=[Watch()]).run()
    v0 = problem.sample(40, generator=torch.Generator().manual_seed(0))
    assert torch.equal(seen[0][1], v0)
    for t, v, frame in seen:
        torch.testing.assert_close(v, method.pair.flow.at(v0, t), atol=1e-13, rtol=1e-13)
        torch.testing.assert_close(frame.s, method.model_at(t)(v), atol=1e-13, rtol=1e-13)
        torch.testing.assert_close(frame.drift, LandauDrift(0.0, 1 / 16)(v, frame.s), atol=1e-13, rtol=1e-13)


def test_the_log_density_is_that_of_the_map(trained):
    """log f0(v0) - log det of the map's Jacobian, by central differences: h^2 = 1e-10, rounding 1e-16 / h."""
    problem, flow = BKW(2), TrainedFlow.load(trained).flow
    state = run(pinn(trained=str(trained)), problem=problem).run().state
    v0, h = problem.sample(40, generator=torch.Generator().manual_seed(0)), 1e-5
    columns = [
        (flow.at(v0 + h * e, 0.4) - flow.at(v0 - h * e, 0.4)) / (2 * h) for e in torch.eye(2, dtype=torch.float64)
    ]
    volume = torch.linalg.det(torch.stack(columns, dim=2)).log()
    torch.testing.assert_close(state.log_f, problem.log_prob(v0) - volume, atol=1e-8, rtol=1e-8)
    assert float(volume.abs().max()) > 1e-5


def test_the_entropy_is_that_of_the_moved_density():
    r""":math:`\int f_0 (\log f_0 - \log \det \nabla \Phi)` by the trapezoidal rule; four standard errors of 4,000."""
    problem = Anisotropic(2, strength=0.25)
    method = pinn(iterations=100)
    result = run(method, problem=problem, particles=4000, dt=0.4).run()
    axis = torch.linspace(-10, 10, 201, dtype=torch.float64)
    v0 = torch.cartesian_prod(axis, axis)
    weight = problem.log_prob(v0).exp() * 0.1**2
    # Beyond 10, seven thermal speeds, there is 1e-13 of the plasma.
    assert float(weight.sum()) == pytest.approx(1, abs=1e-10)
    log_det = method.pair.flow.at_with_log_det(v0, 0.4)[1]
    inside = weight > 1e-14
    assert not bool(torch.isnan(log_det[inside]).any())
    expected = float((weight * (problem.log_prob(v0) - log_det))[inside].sum())
    log_f = result.state.log_f
    assert result.metrics[-1]["entropy"] == pytest.approx(expected, abs=4 * float(log_f.std()) / 4000**0.5)
    # Of the volume alone, which varies far less.
    grew = problem.log_prob(result.state.v0) - log_f
    expected = float((weight * log_det)[inside].sum())
    assert float(grew.mean()) == pytest.approx(expected, abs=4 * float(grew.std()) / 4000**0.5)


def test_entropy_and_its_columns(trained):
    """The carried log-density is the entropy of the metrics; without it there is none, and the same particles."""
    with_it = run(pinn(trained=str(trained))).run()
    without = run(pinn(trained=str(trained), log_det="none")).run()
    assert with_it.metrics[-1]["entropy"] == pytest.approx(float(with_it.state.log_f.mean()), rel=1e-12)
    assert with_it.metrics[-1]["kl"] is not None
    assert {row["entropy"] for row in without.metrics} == {None}
    assert "log_f" not in without.state
    torch.testing.assert_close(without.state.v, with_it.state.v, atol=1e-14, rtol=1e-14)


class Folding(TimeField):
    """v1 -> v1 - 3 tau v1: turned over after a third of the time."""

    d = 2

    def __init__(self):
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, v, t):
        return torch.stack([-3 * v[..., 0], 0 * v[..., 1]], dim=-1) + self.unused + 0 * t[..., None]


def test_a_few_folded_particles_keep_their_density_and_are_counted(caplog):
    """v_1 - 0.05 tau v_1^3 folds at the end where |v_1| > 2.6: the others have the density of the map."""

    class Crease(TimeField):
        d = 2

        def __init__(self):
            super().__init__()
            self.like = nn.Parameter(torch.zeros(1, dtype=torch.float64))

        def forward(self, v, t):
            pull = -0.05 * v[..., :1] ** 3 + 0 * t[..., None]
            return torch.cat([pull, 0 * pull], -1)

    still = {"iterations": 1, "learning_rate": 1e-12}
    simulation = run(pinn(flow=Crease(), **still), particles=1000)
    rows = simulation.run().metrics
    v0, state = simulation.state.v0, simulation.state
    slope = 1 - 0.15 * v0[:, 0] ** 2
    folded = slope < 0
    assert 0 < int(folded.sum()) <= 10
    assert rows[-1]["not_invertible"] == int(folded.sum())
    assert "not invertible for" in caplog.text
    want = BKW(2).log_prob(v0) - slope.abs().log()
    torch.testing.assert_close(state.log_f[~folded], want[~folded])
    assert bool(torch.isfinite(state.log_f).all())


def test_a_folded_map_ends_the_run_unless_no_density_is_asked_for():
    still = {"iterations": 1, "learning_rate": 1e-12}
    with pytest.raises(Diverged, match=r"at step 1 of 4 .*not invertible: .* 40 of 40 particles.*--log_det none"):
        run(pinn(flow=Folding(), **still)).run()
    result = run(pinn(flow=Folding(), log_det="none", **still)).run()
    v0 = BKW(2).sample(40, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(result.state.v[:, 0], -2 * v0[:, 0], atol=1e-9, rtol=1e-9)


# The score


@pytest.mark.parametrize("integrator", ["euler", "midpoint"])
def test_the_score_moves_the_particles_in_steps(trained, integrator):
    """Each step by the drift of the score of its time: first order in dt for Euler, second for the midpoint's drift.

    The score is kept for a step in both: errors halve with the step (ratio 2 to 10 %).
    """
    ends = [
        run(pinn(trained=str(trained), transport="score", integrator=integrator), dt=dt).run().state
        for dt in (0.1, 0.05, 0.025)
    ]
    for key in ("v", "log_f"):
        coarse, fine = (float((a[key] - b[key]).norm()) for a, b in pairwise(ends))
        assert coarse / fine == pytest.approx(2, rel=0.1)
    # One step of Euler by hand.
    if integrator == "euler":
        loaded = TrainedFlow.load(trained)
        v0 = BKW(2).sample(40, generator=torch.Generator().manual_seed(0))
        expected = v0 + 0.4 * LandauDrift(0.0, 1 / 16)(v0, loaded.score.at(0.0)(v0))
        single = run(pinn(trained=str(trained), transport="score"), dt=0.4).run().state
        torch.testing.assert_close(single.v, expected.detach(), atol=1e-13, rtol=1e-13)


def test_the_score_conserves_what_the_flow_need_not(trained):
    """Momentum to rounding, energy too by the midpoint: the drift is a sum over pairs."""
    rows = run(pinn(trained=str(trained), transport="score", integrator="midpoint")).run().metrics
    assert rows[-1]["momentum_abs_drift"] < 1e-14
    assert rows[-1]["energy_rel_drift"] < 1e-13
    learned = run(pinn(trained=str(trained))).run().metrics
    assert learned[-1]["energy_rel_drift"] > 1e-9


# Training inside of a run


def test_the_units_are_those_of_the_plasma():
    """Mean and temperature of the problem; where it does not know them, of 100,000 samples (four standard errors)."""

    class Beam(Problem):
        def __init__(self):
            initial = Gaussian([3.0, -1.0], [[0.2, 0.0], [0.0, 1.0]])
            super().__init__(initial, gamma=-3.0, strength=0.1, t_end=1.0, dt=0.1, particles=30)

    for problem, mean, temperature in ((Beam(), [3.0, -1.0], 0.6), (BKW(2), [0.0, 0.0], 1.0)):
        method = pinn(iterations=1)
        run(method, problem=problem).run()
        for module in (method.pair.flow, method.pair.score):
            assert module.mean.tolist() == pytest.approx(mean, abs=1e-12)
            assert float(module.scale) == pytest.approx(temperature**0.5)
    problem, method = Truncated(), pinn(iterations=1)
    run(method, problem=problem).run()
    sample = problem.sample(100_000, generator=torch.Generator().manual_seed(9))
    error = 4 * (2 / 100_000) ** 0.5 * float(sample.std())
    assert float(method.pair.flow.mean.norm()) < error
    assert float(method.pair.flow.scale) == pytest.approx(float(sample.var(0).mean()) ** 0.5, abs=error)


def test_a_method_can_be_run_again():
    """It starts from the networks that it was given, which stay as they are."""
    method = pinn()
    before = [p.clone() for p in method.networks["flow"].parameters()]
    first, second = (run(method).run() for _ in range(2))
    assert torch.equal(first.state.v, second.state.v)
    assert numbers(first.metrics) == numbers(second.metrics)
    assert all(torch.equal(a, b) for a, b in zip(before, method.networks["flow"].parameters(), strict=True))
    other = run(pinn(seed=1)).run()
    assert not torch.equal(other.state.v, first.state.v)


@pytest.mark.parametrize("transport", ["flow", "score"])
@pytest.mark.parametrize(("step", "stage"), [(0, "before"), (1, "after"), (2, "before"), (3, "after")])
def test_a_resumed_run_gives_the_same_bits(tmp_path, transport, step, stage):
    whole = run(pinn(transport=transport), RunFolder.create(tmp_path / "whole", "")).run()
    folder = RunFolder.create(tmp_path / "cut", "")
    with pytest.raises(KeyboardInterrupt):
        run(pinn(transport=transport), folder, observers=[StopAt(step, stage)]).run()
    # Other initial weights: everything has to come from the folder. Unless it stopped before its first checkpoint.
    again = pinn(network(5), network(6), transport=transport) if step else pinn(transport=transport)
    resumed = run(again, folder).run()
    assert torch.equal(resumed.state.v, whole.state.v)
    assert torch.equal(resumed.state.log_f, whole.state.log_f)
    assert numbers(resumed.metrics) == numbers(whole.metrics)
    one, other = (load_checkpoint(tmp_path / x / "checkpoint" / "latest.safetensors").tensors for x in ("whole", "cut"))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one if not key.startswith("observer"))


@pytest.mark.parametrize("iteration", [4, 10, 17])
def test_a_run_killed_while_training_gives_the_same_bits(tmp_path, monkeypatch, iteration):
    """There is no checkpoint of the run yet; that of the training is enough."""
    whole = run(pinn(), RunFolder.create(tmp_path / "whole", "")).run()
    step = Training._step

    def interrupted(self):
        if self.iteration == iteration:
            raise KeyboardInterrupt
        return step(self)

    folder = RunFolder.create(tmp_path / "cut", "")
    with monkeypatch.context() as context:
        context.setattr(Training, "_step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(pinn(), folder).run()
    assert not folder.checkpoint.exists()
    assert (folder.training / "latest.safetensors").exists() == (iteration >= 10)
    resumed = run(pinn(), folder).run()
    assert torch.equal(resumed.state.v, whole.state.v)
    assert torch.equal(resumed.state.log_f, whole.state.log_f)
    assert numbers(resumed.metrics) == numbers(whole.metrics)
    assert (folder.training / "losses.csv").read_text().count("\n") == 4


def test_the_folder_keeps_the_trained_pair(tmp_path):
    """For other runs: with it nothing is trained, and the particles go the same way."""
    folder = RunFolder.create(tmp_path / "first", "")
    first = run(pinn(), folder).run()
    assert sorted(os.listdir(folder.training)) == ["latest.safetensors", "losses.csv", "trained.safetensors"]
    path = folder.training / "trained.safetensors"
    second = RunFolder.create(tmp_path / "second", "")
    again = run(pinn(trained=str(path)), second).run()
    assert torch.equal(again.state.v, first.state.v)
    assert not second.training.exists()
    shorter = run(pinn(trained=str(path)), t_end=0.2).run()
    torch.testing.assert_close(shorter.state.v, TrainedFlow.load(path).flow.at(first.state.v0, 0.2))
    assert json.loads(folder.summary.read_text())["method"] == "pinn"


def test_a_later_end_than_that_of_the_training_is_refused(tmp_path, trained):
    folder = RunFolder.create(tmp_path / "a", "")
    run(pinn(), folder).run()
    with pytest.raises(ValueError, match=r"'t_end' must be 0.4, to which the flow was trained \(got 0.6\)"):
        run(pinn(), folder, t_end=0.6).run()
    with pytest.raises(ValueError, match=r"'t_end' must be within the times of .*trained to t = 0.4 \(got 0.6\)"):
        run(pinn(trained=str(trained)), t_end=0.6).run()
    # Killed while it trained: the same.
    folder.checkpoint.unlink()
    with pytest.raises(ValueError, match=r"'t_end' must be 0\.4"):
        run(pinn(), folder, t_end=0.6).run()


def test_a_trained_run_can_be_continued_within_its_times(tmp_path, trained):
    folder = RunFolder.create(tmp_path / "a", "")
    run(pinn(trained=str(trained)), folder, t_end=0.2).run()
    longer = run(pinn(trained=str(trained)), folder, t_end=0.4).run()
    assert torch.equal(longer.state.v, run(pinn(trained=str(trained))).run().state.v)


@pytest.mark.parametrize(
    ("problem", "message"),
    [
        (Anisotropic(2), "'trained' must be for problem = 'anisotropic_2d'"),
        (BKW(2, strength=0.1), "'trained' must be for problem.strength = 0.1"),
        (BKW(2, t_start=0.1, t_end=1.0), "'trained' must be for problem.t_start = 0.1"),
        (Anisotropic(3), "'trained' must be for problem = 'anisotropic_3d'"),
    ],
)
def test_refuses_what_was_trained_for_another_problem(trained, problem, message):
    with pytest.raises(ValueError, match=message) as caught:
        run(pinn(trained=str(trained)), problem=problem, dt=0.05, t_end=problem.t_start + 0.1).run()
    assert "\n" not in str(caught.value)


def test_refuses_a_file_that_is_no_trained_pair(tmp_path):
    """In one line about the file, not about the particles."""
    folder = RunFolder.create(tmp_path / "a", "")
    run(pinn(iterations=1), folder).run()
    for path in (tmp_path / "absent", folder.checkpoint):
        with pytest.raises(ValueError, match=str(path)) as caught:
            run(pinn(trained=str(path))).run()
        assert "\n" not in str(caught.value)
        assert "particles cannot be used" not in str(caught.value)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_training_that_diverges_says_so(tmp_path, dtype):
    """Once, with the iteration and what helps; the checkpoint of the training stays."""
    method = PINN(network(1), network(2), recipe=Recipe(**RECIPE | {"learning_rate": 1e30, "save_every": 1}))
    folder = RunFolder.create(tmp_path / "a", "")
    with pytest.raises(Diverged, match=r"training diverged at iteration \d of 25 .*learning_rate") as caught:
        run(method, folder, dtype=dtype).run()
    assert isinstance(caught.value.__cause__, TrainingDivergedError)
    assert "\n" not in str(caught.value)


# Networks of the users


class Own(nn.Module):
    """Velocities (N, 2) and times (N,) to (N, 2), no more."""

    def __init__(self, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.net = nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Linear(6, 2))

    def forward(self, v, t):
        return self.net(torch.cat([v, t[:, None]], dim=1))


@pytest.mark.parametrize("transport", ["flow", "score"])
def test_plain_networks_are_trained_and_resumed(tmp_path, transport):
    """As any other: the losses fall, a cut run is continued to the same bits, its file is read with the networks."""
    options = {"transport": transport, "iterations": 60}
    whole = run(pinn(Own(1), Own(2), **options), RunFolder.create(tmp_path / "whole", "")).run()
    losses = (tmp_path / "whole" / "training" / "losses.csv").read_text().splitlines()
    physics = [float(line.split(",")[2]) for line in losses[1:]]
    assert physics[-1] < physics[0] / 2
    folder = RunFolder.create(tmp_path / "cut", "")
    with pytest.raises(KeyboardInterrupt):
        run(pinn(Own(1), Own(2), **options), folder, observers=[StopAt(3, "after")]).run()
    resumed = run(pinn(Own(3), Own(4), **options), folder).run()
    assert torch.equal(resumed.state.v, whole.state.v)
    path = folder.training / "trained.safetensors"
    again = run(pinn(Own(3), Own(4), **options, trained=str(path))).run()
    assert torch.equal(again.state.v, whole.state.v)
    with pytest.raises(ValueError, match="'flow' must be the network that was trained in"):
        run(pinn(**options, trained=str(path))).run()


def test_a_map_without_weights_needs_no_training_of_its_own():
    """A known flow: only the score is learned."""

    class Still(TimeField):
        d = 2

        def forward(self, v, t):
            return torch.zeros_like(v) + 0 * t[..., None]

    result = run(PINN(network(1).double(), Still(), recipe=Recipe(**RECIPE))).run()
    assert torch.equal(result.state.v, BKW(2).sample(40, generator=torch.Generator().manual_seed(0)))


class Coupled(nn.Module):
    def forward(self, v, t):
        return v - v.mean(0)


@pytest.mark.parametrize(
    ("networks", "message"),
    [
        ({"score": MLPScore(2)}, r"'score' must map velocities \(N, 2\) and times .*MLPScore"),
        ({"score": GNNScore(2, radius=1.0)}, r"'score' must .*GNNScore"),
        ({"flow": Coupled()}, "'flow' must act on each particle alone"),
        ({"flow": network(d=3)}, "'flow' must have d = 2"),
        ({"flow": nn.Linear(2, 2)}, "'flow' must map velocities"),
    ],
)
def test_refuses_networks_that_are_no_fields(networks, message):
    method = PINN(**{"score": network(), "flow": network()} | networks, recipe=Recipe(**RECIPE))
    with pytest.raises(ValueError, match=message) as caught:
        run(method, dtype=torch.float32).run()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"iterations": 0}, "'iterations' must be an integer >= 1"),
        ({"collocation_times": 0}, "'collocation_times' must be an integer >= 1"),
        ({"training_particles": 1}, "'training_particles' must be an integer >= 2"),
        ({"score_weight": -1.0}, "'score_weight' must be positive"),
        ({"initial": "penalty", "initial_weight": 0.0}, "'initial_weight' must be positive with initial 'penalty'"),
        ({"initial": "soft"}, "'initial' must be one of exact, penalty"),
        ({"base": "gaussian"}, "'base' must be one of maxwellian, none"),
        ({"transport": "both"}, "'transport' must be one of flow, score"),
        ({"log_det": "linear"}, "'log_det' must be 'exact' or 'none' with transport 'flow'"),
        ({"learning_rate": math.nan}, "'learning_rate' must be positive"),
        ({"integrator": "leapfrog"}, "'integrator' must be one of euler, midpoint"),
        ({"flow": "time_mlp"}, r"'flow' must be a torch.nn.Module \(got str\)"),
    ],
)
def test_refuses_options(options, message):
    with pytest.raises(ValueError, match=message):
        PINN(**{"score": network(), "flow": network()} | closed(PINN, RECIPE | options))


def test_errors_start_from_the_particles_and_not_from_where_the_map_puts_them():
    """A map that has to learn its initial condition is judged against the true start, at every time."""
    method = pinn(initial="penalty", log_det="none")
    simulation = run(method)
    rows = simulation.run().metrics
    exact = BKW(2).characteristics(simulation.state.v0, 0.4)
    wrong = simulation.state.v - exact
    want = wrong.square().sum() / exact.square().sum()
    assert rows[-1]["rel_trajectory_error"] == pytest.approx(float(want), rel=1e-12)
    # The network starts at zero: all particles at the mean, a relative error of one at once and no energy.
    assert rows[0]["rel_trajectory_error"] > 0.5
    assert rows[0]["energy_rel_drift"] > 0.5


def test_the_certificate_follows_the_steps_of_the_score(trained):
    """Steps along the learned score have a certificate; the flow has none and says what has."""
    method = pinn(trained=str(trained), transport="score")
    rows = run(method, observers=[Certificate(BKW(2), method)]).run().metrics
    assert rows[0]["score_loss_integral"] == 0
    assert 0 < rows[-1]["score_loss_integral"] == pytest.approx(0.1 * sum(row["score_loss"] for row in rows[:-1]))
    method = pinn(trained=str(trained))
    with pytest.raises(ValueError, match=r"'certificate' needs particles that the drift of their score moves: take"):
        Certificate(BKW(2), method)


def test_a_pair_for_another_initial_density_is_refused(tmp_path):
    """Name, kernel and dimension are the same; the density is not."""

    class Beam(Problem):
        def __init__(self, speed):
            initial = Gaussian([speed, 0.0], [[1.0, 0.0], [0.0, 0.5]])
            super().__init__(initial, gamma=0.0, strength=0.1, t_end=1.0, dt=0.1, particles=100)

    method = pinn()
    run(method, problem=Beam(2.0)).run()
    method.pair.save(tmp_path / "pair.safetensors")
    again = pinn(trained=str(tmp_path / "pair.safetensors"))
    run(again, problem=Beam(2.0)).run()
    with pytest.raises(ValueError, match=r"'trained' must be for the initial density of beam"):
        run(again, problem=Beam(3.0)).run()


@pytest.mark.parametrize("initial", ["exact", "penalty"])
def test_the_floor_of_a_flow_does_not_depend_on_how_often_one_looks(trained, initial):
    """It is where the exact drift carries the true initial particles, not steps of the run's dt."""
    ends = []
    for dt in (0.1, 0.4):
        method = pinn(initial=initial, log_det="none", iterations=2)
        rows = run(method, dt=dt, baselines=True, snapshots=2).run().metrics
        ends.append(rows[-1]["rel_l2_density_exact_score"])
        start = rows[0]["rel_l2_density_exact_score"]
    problem = BKW(2)
    v0 = problem.sample(40, generator=torch.Generator().manual_seed(0))
    assert ends[0] == pytest.approx(ends[1], rel=1e-12)
    assert ends[0] == pytest.approx(density_error(problem, problem.characteristics(v0, 0.4), 0.4), rel=1e-12)
    assert start == pytest.approx(density_error(problem, v0, 0.0), rel=1e-12)


def test_networks_without_anything_to_train_are_refused():
    """A map that is at rest by itself is no training."""

    class Still(nn.Module):
        def forward(self, v, t):
            return torch.zeros_like(v)

    with pytest.raises(ValueError, match="'score' and 'flow' must have something to train"):
        run(pinn(Still(), Still())).run()
