"""The certificate in a run: what it adds to the metrics, that it disturbs nothing, resumes, and is refused."""

from __future__ import annotations

import json

import pytest
import torch

from graphlandau.base.errors import Diverged
from graphlandau.cli.main import main
from graphlandau.diagnostics import relative_fisher_divergence
from graphlandau.diagnostics.certificates import push_score, score_matching_loss
from graphlandau.methods import JKO, SBTM, Blob, Collisions, EpochFit, Fit, InnerStep, LandauTransport, Method, Step
from graphlandau.nn import LandauDrift
from graphlandau.nn.score import ClosedFormScore, GNNScore, MLPScore
from graphlandau.problems import BKW, Anisotropic, Rosenbluth, Truncated
from graphlandau.run.folder import RunFolder
from graphlandau.run.observers import Observer
from graphlandau.run.observers.certificate import Certificate
from graphlandau.run.simulation import Simulation

pytestmark = pytest.mark.usefixtures("small_and_quick")


def network():
    torch.manual_seed(1)
    return MLPScore(2, width=8, depth=1)


METHODS = {
    "closed_form": lambda: SBTM(ClosedFormScore(2)),
    "network": lambda: SBTM(network(), fit=Fit(steps=2, minibatch=30, initial_steps=5), objective="denoising"),
    "batches": lambda: SBTM(ClosedFormScore(2), collisions=Collisions(batch_size=20), seed=3),
    "midpoint": lambda: SBTM(ClosedFormScore(2), step=Step(integrator="midpoint", log_det="none")),
    "jko": lambda: JKO(ClosedFormScore(2), fit=EpochFit(minibatch=30)),
    "blob": lambda: Blob(0.5),
}


def simulation(method, problem=None, certificate=True, observers=(), **options):
    problem = BKW(2, t_start=0.5) if problem is None else problem
    defaults = {"particles": 60, "dt": 0.02, "t_end": problem.t_start + 0.2, "snapshots": 3, "checkpoint_every": 3}
    own = [Certificate(problem, method)] if certificate else []
    return Simulation(problem, method, baselines=False, observers=[*own, *observers], **defaults | options)


class StopAt(Observer):
    """Ends the process, as far as the run can tell, at one step."""

    def __init__(self, step):
        self.step = step

    def after_evaluate(self, run):
        if run.step == self.step:
            raise KeyboardInterrupt


def numbers(rows):
    return [{key: x for key, x in row.items() if key != "wall_seconds"} for row in rows]


def test_columns_are_the_definitions():
    """Column by column from the states of the run: the score pushed along, losses, left end points."""
    problem, seen = BKW(2, t_start=0.5), []

    class Watch(Observer):
        def after_evaluate(self, run):
            v = run.state.v
            sigma = problem.score(v) if run.step == 0 else self.next
            seen.append((v, run.frame.s, sigma))
            self.next = push_score(run.method.step_jacobian(run.state, run.frame, run.dt), v, sigma)[0]

    result = simulation(METHODS["closed_form"](), problem, dtype=torch.float64, observers=[Watch()]).run()
    assert len({tuple(row) for row in result.metrics}) == 1
    drift, total = LandauDrift(0.0, problem.strength), 0.0
    for row, (v, s, sigma) in zip(result.metrics, seen, strict=True):
        loss = float(score_matching_loss(v, s, sigma, drift))
        expected = {
            "tracked_fisher": float(relative_fisher_divergence(s, sigma)),
            "score_loss": loss,
            "score_loss_integral": total,
            "kl_bound": 2 * total,
        }
        assert {key: row[key] for key in expected} == pytest.approx(expected, rel=1e-12)
        total += 0.02 * loss
    assert result.summary["score_loss_integral"] == result.metrics[-1]["score_loss_integral"]
    assert result.summary["certificate"].startswith("Corollary 4.2 of Ilin, Hu and Wang 2025: KL(t) <= kl_bound")


@pytest.mark.parametrize(
    ("problem", "columns", "theorem"),
    [
        (BKW(2, t_start=0.5), {"kl_bound", "kl_bound_pairs", "kl_bound_any_score"}, "Corollary 4.2"),
        (Anisotropic(2), {"covariance_gap"}, "Theorem 4.2 of Ilin, Hu and Wang"),
        (Rosenbluth(), set(), "Theorem 4.2 of Ilin 2025"),
        (Anisotropic(2, gamma=-3.0), set(), "no theorem"),
    ],
)
def test_a_bound_only_where_it_is_a_number(problem, columns, theorem):
    method = SBTM(ClosedFormScore(problem.d))
    result = simulation(method, problem, dt=0.1).run()
    always = {"tracked_fisher", "score_loss", "score_loss_integral"}
    possible = {"kl_bound", "kl_bound_pairs", "kl_bound_any_score", "covariance_gap"}
    assert always < set(result.metrics[-1])
    assert possible & set(result.metrics[-1]) == columns
    assert theorem in result.summary["certificate"]
    assert all(result.metrics[-1][key] > 0 for key in always | columns)


@pytest.mark.parametrize("method", METHODS)
def test_it_only_watches(method):
    """The particles of the run, bit for bit, are those without it; without it there are no columns."""
    watched = simulation(METHODS[method]()).run()
    alone = simulation(METHODS[method](), certificate=False).run()
    assert torch.equal(watched.state.v, alone.state.v)
    assert set(alone.metrics[0]).isdisjoint({"tracked_fisher", "score_loss", "kl_bound"})
    assert "certificate" not in alone.summary


@pytest.mark.parametrize("method", METHODS)
def test_resumed_run_gives_the_same_bits(tmp_path, method):
    expected = simulation(METHODS[method]()).run()
    folder = RunFolder.create(tmp_path / "cut", "")
    with pytest.raises(KeyboardInterrupt):
        simulation(METHODS[method](), folder=folder, observers=[StopAt(5)]).run()
    folder.close()
    torch.manual_seed(123)
    result = simulation(METHODS[method](), folder=RunFolder.open(tmp_path / "cut")).run()
    assert numbers(result.metrics) == numbers(expected.metrics)
    assert result.summary["certificate"] == expected.summary["certificate"]


def test_a_jko_field_is_known_up_to_what_moves_nothing():
    """The score of the run is the network with a + b v added; the Jacobian of the step is the same with either."""
    method = JKO(network(), fit=EpochFit(epochs=1, minibatch=30, initial_steps=5))
    run = simulation(method, certificate=False, dtype=torch.float64, t_end=0.52)
    run.run()
    state, frame = run.state, run.frame
    assert float((frame.s - method.model(state.v).detach()).abs().max()) > 0.01
    expected = torch.eye(2, dtype=torch.float64) + 0.02 * method.drift.jacobian(state.v, frame.s, frame.jac_s)
    assert torch.allclose(method.step_jacobian(state, frame, 0.02)(state.v), expected, rtol=1e-11, atol=1e-12)


def test_single_precision_follows_double():
    """Particles and score in float32, sums and the score of the density in float64: as close as the inputs."""
    rows = [
        simulation(METHODS["closed_form"](), dtype=dtype).run().metrics[-1] for dtype in (torch.float32, torch.float64)
    ]
    for key in ("tracked_fisher", "score_loss_integral", "kl_bound_pairs"):
        assert rows[0][key] == pytest.approx(rows[1][key], rel=1e-3)


def test_a_folded_step_ends_the_run():
    """det J <= 0 somewhere: the density has no score there, and the error says at which step."""
    problem = BKW(2, t_start=0.5)
    run = simulation(METHODS["closed_form"](), problem, dt=20.0, t_end=40.5)
    with pytest.raises(
        Diverged, match=r"at step 0 of 2 .* the map is not invertible: det J <= 0 for \d+ of 60 particles"
    ):
        run.run()


def test_on_the_command_line(tmp_path):
    argv = ["run", "--problem", "bkw_2d", "--method", "sbtm", "--particles", "50", "--figures", "false"]
    argv += ["--dt", "0.05", "--t_end", "0.1"]
    assert main([*argv, "--certificate", "true", "--out", str(tmp_path / "a")]) == 0
    summary = json.loads((tmp_path / "a" / "summary.json").read_text())
    assert summary["kl_bound"] == 2 * summary["score_loss_integral"] > 0
    assert "certificate: true" in (tmp_path / "a" / "config.yaml").read_text()
    assert main(["run", "--resume", str(tmp_path / "a"), "--t_end", "0.15"]) == 0
    longer = json.loads((tmp_path / "a" / "summary.json").read_text())
    assert longer["score_loss_integral"] > summary["score_loss_integral"]


# What is refused, before anything is computed


class Still(Method):
    """A method that is no transport."""

    def initialise(self, state, problem):
        return state

    evaluate = advance = state_dict = load_state_dict = prepare = initialise


class Fieldless(LandauTransport):
    def score(self, state):
        return -state.v, None


@pytest.mark.parametrize(
    ("problem", "method", "message"),
    [
        (Truncated(), lambda: SBTM(ClosedFormScore(2)), "pointwise score .got truncated_2d, which has jumps"),
        (BKW(2), Still, "maps of each particle .got Still"),
        (BKW(2), Fieldless, "one particle's velocity .got Fieldless, which has no 'score_field'"),
        (BKW(2), lambda: SBTM(GNNScore(2, k=4), objective="hutchinson"), "got GNNScore, which couples particles"),
        (
            BKW(2),
            lambda: JKO(ClosedFormScore(2), step=InnerStep(inner_steps=2)),
            "one inner step of euler .got 2 of euler",
        ),
        (
            BKW(2),
            lambda: JKO(ClosedFormScore(2), step=InnerStep(integrator="rk4")),
            "one inner step of euler .got 1 of rk4",
        ),
    ],
)
def test_refuses_what_it_cannot_certify(problem, method, message):
    with pytest.raises(ValueError, match=f"'certificate' needs .*{message}"):
        Certificate(problem, method())


def test_refuses_on_the_command_line(tmp_path, capsys):
    argv = ["run", "--problem", "truncated_2d", "--method", "blob", "--particles", "50", "--certificate", "true"]
    assert main([*argv, "--out", str(tmp_path / "a")]) == 2
    assert "error: 'certificate' needs an initial density with a pointwise score" in capsys.readouterr().err
    assert not (tmp_path / "a").exists()


def test_a_certificate_begins_anew_with_every_run():
    """One object in two runs: the second does not go on from the first."""
    method = Blob(0.5)
    certificate = Certificate(BKW(2, t_start=0.5), method)
    first, second = (simulation(method, certificate=False, observers=[certificate]).run().metrics for _ in range(2))
    assert first[-1]["score_loss_integral"] > 0
    assert [row["score_loss_integral"] for row in first] == [row["score_loss_integral"] for row in second]
