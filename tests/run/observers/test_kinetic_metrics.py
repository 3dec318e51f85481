"""Rows and summaries of runs with positions, and runs that go on from a checkpoint."""

from __future__ import annotations

import csv
import json
import math
from itertools import pairwise

import pytest
import torch

from graphlandau.base.errors import Diverged
from graphlandau.cli.option_groups import closed
from graphlandau.diagnostics import field_mode
from graphlandau.methods import PICJKO, KineticJKO, KineticSBTM, Langevin, VelocityMatching, Vlasov
from graphlandau.nn.control import AffineControl, FeatureControl, MLPControl, PhaseEmbedding
from graphlandau.problems import LandauDamping, TwoStream, VFPDoubleWell, VFPGaussian, VFPPeriodic, VPFPBeams
from graphlandau.run.folder import RunFolder
from graphlandau.run.observers import Observer
from graphlandau.run.observers.kinetic_metrics import KineticMetrics
from graphlandau.run.simulation import Simulation

pytestmark = pytest.mark.usefixtures("small_and_quick")


def control(problem, kind="affine"):
    embedding = PhaseEmbedding(problem.d_x, problem.d, lengths=problem.lengths, wavelengths=problem.wavelengths)
    if kind == "affine":
        return AffineControl(embedding)
    if kind == "features":
        return FeatureControl(embedding, 4, seed=1)
    torch.manual_seed(1)
    return MLPControl(embedding, width=6)


def run(problem, method, **options):
    return Simulation(
        problem, method, **{"dtype": torch.float64, "particles": 60, "t_end": 0.3, "dt": 0.1} | options
    ).run()


class ExactMoments(VFPGaussian):
    """Particles with exactly the moments of the Gaussian."""

    def sample(self, n, *, generator):
        z = torch.cat(super().sample(n, generator=generator), dim=1)
        z = z - z.mean(0)
        z = torch.linalg.solve_triangular(torch.linalg.cholesky(z.T @ z / n), z.T, upper=False).T
        z = self.initial.mean + z @ torch.linalg.cholesky(self.initial.covariance).T
        return z[:, : self.d], z[:, self.d :]


def test_a_row_has_the_integrals_of_the_gaussian():
    problem = ExactMoments()
    row = run(problem, KineticJKO(control(problem))).metrics[0]
    # Means (0, 1) and covariance [[2, 1], [1, 3]] in phi = x^2; entropy of a Gaussian; rounding.
    exact = {
        "kinetic": 2.0,
        "potential": 2.0,
        "energy": 4.0,
        "momentum": 1.0,
        "entropy": -math.log(2 * math.pi) - 0.5 * math.log(5) - 1,
    }
    exact["free_energy"] = exact["energy"] + exact["entropy"]
    # The stationary density is N(0, diag(1/2, 1)), of norm pi sqrt(2).
    exact["kl"] = exact["free_energy"] + math.log(math.pi * math.sqrt(2))
    for key, value in exact.items():
        assert row[key] == pytest.approx(value, abs=1e-12), key
    assert "e2" not in row
    assert "energy_rel_drift" not in row
    assert row["drift_error"] is None
    assert row["collision_free_energy_change"] == row["map_energy_change"] == 0


def test_the_distance_comes_with_its_standard_error():
    problem, distances = VFPDoubleWell(), []
    for seed in range(40):
        row = run(problem, KineticJKO(control(problem)), seed=seed, t_end=0.1, particles=200).metrics[0]
        distances.append((row["kl"], row["kl_stderr"]))
    values, errors = torch.tensor(distances).T
    # Forty values give their spread to 1 / sqrt(80), 11 percent; four of these.
    assert float(values.std()) == pytest.approx(float(errors.mean()), rel=0.45)
    assert run(problem, Langevin()).metrics[0]["kl"] is None


def test_a_plasma_row_has_field_and_mode():
    a, k, length = 0.05, 0.5, 4 * math.pi
    problem = LandauDamping(k=k, amplitude=a)
    result = run(problem, Vlasov(), particles=20_000, t_end=0.5)
    row = result.metrics[0]
    # E = (a / k) sin kx, off by the square of dx and the quiet start.
    assert row["mode_amplitude"] == pytest.approx(a / k, rel=0.01)
    assert row["mode_im"] == pytest.approx(-a / k, rel=0.01)
    assert row["e2"] == pytest.approx(length * (a / k) ** 2 / 2, rel=0.02)
    assert row["field_energy"] == 0.5 * row["e2"]
    assert row["kinetic"] == pytest.approx(length / 2, rel=0.01)
    assert row["energy"] == row["kinetic"] + row["field_energy"]
    assert row["mode_noise"] < 0.01 * row["mode_amplitude"]
    assert "potential" not in row
    for now in result.metrics:
        assert now["energy_rel_drift"] == abs(now["energy"] - row["energy"]) / row["energy"]
        assert abs(complex(now["mode_re"], now["mode_im"])) == now["mode_amplitude"]
    assert abs(field_mode(result.state.field, 1)) == result.metrics[-1]["mode_amplitude"]


def test_every_velocity_has_its_momentum():
    class Moving(VPFPBeams):
        def draw(self, n, *, generator):
            drawn = super().draw(n, generator=generator)
            return drawn | {"v": drawn["v"] - drawn["v"].mean(0) + torch.tensor([1.0, 2.0, 3.0])}

    problem = Moving(d=3, epsilon=0.0, cells=8)
    row = run(problem, Vlasov()).metrics[-1]
    for name, value in (("momentum", 1), ("momentum_2", 2), ("momentum_3", 3)):
        assert row[name] == pytest.approx(problem.mass * value, rel=1e-12)


@pytest.mark.parametrize("length", [2.0, 30.0])
def test_the_stationary_state_of_a_plasma_is_at_distance_zero(length):
    problem = LandauDamping(k=2 * math.pi / length, amplitude=0.0, epsilon=0.5)
    row = run(problem, PICJKO(control(problem))).metrics[0]
    assert row["kl"] == pytest.approx(0, abs=1e-12)
    # Mass times the mean of log N(v; 0, 1), where the mean density is 1.
    assert row["entropy"] == pytest.approx(-length * 0.5 * math.log(2 * math.pi) - row["kinetic"], abs=1e-11)


def test_the_drift_error_is_between_control_and_exact_friction():
    problem = ExactMoments()
    result = run(problem, KineticJKO(control(problem)), t_end=0.1)
    state, density = result.state, problem.density(0.1)
    friction = state.v + density.score_v(state["pos"], state.v)
    expected = (state.control + friction).square().sum(1).mean().sqrt()
    assert result.metrics[-1]["drift_error"] == pytest.approx(float(expected), rel=1e-12)
    # A method without a control has none; a problem without an exact solution has no such column.
    assert run(problem, Langevin()).metrics[-1]["drift_error"] is None
    other = VFPPeriodic()
    assert "drift_error" not in run(other, KineticJKO(control(other))).metrics[-1]


def test_rates_are_fitted_to_every_step_whatever_the_rows():
    problem = TwoStream(cells=16)
    options = {"particles": 2000, "t_end": 20.0, "snapshots": 2}
    every, few = (run(problem, Vlasov(), metrics_every=n, **options) for n in (1, 100))
    assert len(few.metrics) == 3
    for key in ("growth_rate", "frequency", "growth_rate_exact", "frequency_exact"):
        assert few.summary[key] == every.summary[key]
    assert every.summary["growth_rate_exact"] == problem.rate().real
    with_collisions = TwoStream(cells=16, epsilon=0.1)
    summary = run(with_collisions, Langevin(), particles=200).summary
    assert summary["growth_rate_exact"] is summary["growth_rate"] is None
    assert "growth_rate" not in run(VFPPeriodic(), Langevin()).summary


def test_the_summary_repeats_what_a_run_is(tmp_path):
    problem = VPFPBeams(d=3, cells=8)
    folder = RunFolder.create(tmp_path / "run", "")
    summary = run(problem, PICJKO(control(problem)), folder=folder).summary
    assert (summary["epsilon"], summary["mass"], summary["self_consistent"]) == (0.005, problem.mass, True)
    assert summary["lengths"] in ([problem.length], (problem.length,))
    assert (summary["problem"], summary["method"], summary["d"]) == ("vpfp_1d3v", "picjko", 3)
    assert json.loads(folder.summary.read_text())["free_energy"] == summary["free_energy"]
    # Every row has the same columns.
    with (tmp_path / "run" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4
    assert all(None not in row.values() and None not in row for row in rows)


def test_single_precision_moves_the_numbers_by_its_rounding():
    problem = VPFPBeams(epsilon=1.0, cells=8)
    rows = [
        run(problem, PICJKO(control(problem)), particles=500, dtype=dtype).metrics[-1]
        for dtype in (torch.float32, torch.float64)
    ]
    for key in ("kinetic", "e2", "energy", "entropy", "free_energy", "kl"):
        # Three steps; log f of size 3 times the mass.
        assert rows[0][key] == pytest.approx(rows[1][key], rel=1e-5, abs=1e-5 * problem.mass), key


def test_particles_that_are_not_finite_are_refused():
    class Bad(VFPPeriodic):
        def draw(self, n, *, generator):
            drawn = super().draw(n, generator=generator)
            drawn["pos"][3] = math.nan
            return drawn

    problem = Bad()
    with pytest.raises((ValueError, Diverged), match="'pos' "):
        run(problem, KineticJKO(control(problem)))


METHODS = {
    **{f"kinetic_jko-{c}": (VFPDoubleWell, KineticJKO, c, {}) for c in ("affine", "features", "mlp")},
    "kinetic_jko-joint": (VFPDoubleWell, KineticJKO, "features", {"form": "joint"}),
    "kinetic_jko-cold": (VFPDoubleWell, KineticJKO, "mlp", {"warm_start": False}),
    **{f"pic_jko-{c}": (VPFPBeams, PICJKO, c, {}) for c in ("affine", "features", "mlp")},
    "pic_jko-old": (VPFPBeams, PICJKO, "features", {"control_at": "old", "map": "drift_kick"}),
    **{f"kinetic_sbtm-{c}": (VPFPBeams, KineticSBTM, c, {"field": "ampere"}) for c in ("affine", "features", "mlp")},
    **{f"velocity_matching-{c}": (VFPPeriodic, VelocityMatching, c, {}) for c in ("affine", "features", "mlp")},
    "vlasov": (TwoStream, Vlasov, None, {"order": 2}),
    "vlasov-ampere": (TwoStream, Vlasov, None, {"field": "ampere"}),
    "langevin": (VFPDoubleWell, Langevin, None, {"seed": 4}),
    "langevin-plasma": (VPFPBeams, Langevin, None, {"noise": "ornstein_uhlenbeck"}),
}


def of(name):
    """A problem and a method of its own for a run; options are flat here, as on the command line."""
    problem_class, method, kind, options = METHODS[name]
    problem = problem_class()
    if kind is None:
        return problem, method(**closed(method, options))
    if kind == "mlp":
        options = options | {"steps": 2, "initial_steps": 4, "minibatch": 30}
    return problem, method(control(problem, kind), **closed(method, options))


class StopAt(Observer):
    """Ends the process, as far as the run can tell."""

    def __init__(self, step):
        self.step = step

    def after_evaluate(self, run):
        if run.step == self.step:
            raise KeyboardInterrupt


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("name", METHODS)
def test_a_resumed_run_gives_the_same_bits(tmp_path, name, dtype):
    options = {"particles": 80, "dt": 0.01, "t_end": 0.06, "dtype": dtype, "checkpoint_every": 2, "snapshots": 2}
    expected = run(*of(name), **options)
    folder = RunFolder.create(tmp_path / "cut", "")
    with pytest.raises(KeyboardInterrupt):
        run(*of(name), folder=folder, observers=[StopAt(5)], **options)
    folder.close()
    torch.manual_seed(123)  # a new process knows nothing of the old one's generators
    again = RunFolder.open(tmp_path / "cut")
    result = run(*of(name), folder=again, **options)
    assert result.state.keys() == expected.state.keys()
    for key, x in expected.state.to_dict().items():
        assert x == result.state[key] if key in ("t", "num_nodes") else torch.equal(x, result.state[key]), key

    def numbers(rows):
        return [{key: x for key, x in row.items() if key != "wall_seconds"} for row in rows]

    # The rows before the checkpoint come back from text, which keeps every digit.
    assert numbers(result.metrics) == numbers(expected.metrics) == numbers(again.read_rows())
    same = (key for key in expected.summary if "seconds" not in key)
    assert all(result.summary[key] == expected.summary[key] for key in same)


def test_a_history_comes_back_from_a_state():
    problem = TwoStream(cells=8)
    first = KineticMetrics(problem)
    simulation = Simulation(problem, Vlasov(), particles=50, dt=0.1, t_end=0.5, observers=[first], dtype=torch.float64)
    simulation.run()
    second = KineticMetrics(problem)
    second.load_state_dict(first.state_dict())
    assert second.history == first.history
    assert [t for t, *_ in first.history] == pytest.approx([0.1 * n for n in range(6)])
    assert second.state_dict().keys() == first.state_dict().keys()
    assert KineticMetrics(problem).state_dict() == {}


def test_free_energy_falls_from_row_to_row_but_for_the_map():
    problem = VPFPBeams(epsilon=10.0, cells=16)
    rows = run(problem, PICJKO(control(problem, "features")), particles=300, dt=0.02).metrics
    for before, after in pairwise(rows):
        assert after["free_energy"] <= before["free_energy"] + max(0.0, after["map_energy_change"])
        assert after["collision_free_energy_change"] < 0
