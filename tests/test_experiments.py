"""The experiment scripts: every run they would start can be built, and a script runs through in its smoke mode."""

from __future__ import annotations

import csv
import importlib
import io
import math
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from graphlandau.cli import main as cli
from graphlandau.cli.arguments import read_arguments
from graphlandau.cli.config import compose
from graphlandau.cli.study import growth_exponent, make_figures, snapshots_at, with_failures
from graphlandau.cli.sweep import sweep_commands
from graphlandau.plotting.density import axis_points, axis_slice
from graphlandau.plotting.exact import smoothed_slice
from graphlandau.problems import BKW, Rosenbluth
from graphlandau.training.descent import Descent

ROOT = Path(__file__).parents[1]
# Bytes that no empty picture has, at the coarse resolution of the smoke runs.
PICTURE = 3000
FIGURES = ["figure_5_2", "figure_5_3", "figure_5_4", "figure_5_5"]


@pytest.fixture
def script(monkeypatch):
    """Import a script as it would run, from its own folder."""

    def load(folder, name):
        monkeypatch.syspath_prepend(str(ROOT / folder))
        return importlib.import_module(name)

    yield load
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None)).startswith(str(ROOT / "experiments")):
            del sys.modules[name]  # the folders have modules of the same name


@pytest.mark.parametrize("figure", FIGURES)
def test_all_runs_of_a_figure_can_be_built(figure, script, tmp_path):
    study, module = script("experiments/sbtm_landau", "study"), script("experiments/sbtm_landau", figure)
    runs = study.scan(figure, study.CASES, module.SIZES)
    commands = sweep_commands(runs, tmp_path)
    assert len(commands) == len(study.CASES) * len(module.SIZES)
    assert not list(tmp_path.iterdir())


def test_the_paper_sizes_of_all_problems_can_be_built(script, tmp_path):
    module = script("experiments", "problems")
    for sizes in (module.PAPER, module.SIZES):
        runs = {name: f"--problem {name} {size} {module.BASE}".split() for name, size in sizes.items()}
        assert len(sweep_commands(runs, tmp_path)) == 10


JKO = "experiments/jko_landau"
EXAMPLES = ["bkw_2d", "bkw_3d", "bimaxwellian_2d", "rosenbluth_3d", "rosenbluth_3d_long", "anisotropic_10d"]


@pytest.mark.parametrize("example", EXAMPLES)
def test_all_runs_of_an_example_can_be_built(example, script, tmp_path):
    study = script(JKO, "study")
    assert len(sweep_commands(study.example_runs(example, list(study.CASES), smoke=False), tmp_path)) == 5
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("figure", "count"), [("figure_10", 3), ("figure_13", 26), ("figure_stability", 8)])
def test_all_runs_of_a_figure_with_its_own_can_be_built(figure, count, script, tmp_path):
    module = script(JKO, figure)
    assert len(sweep_commands(module.runs(smoke=False), tmp_path)) == count


def test_the_figures_that_share_runs_show_examples_and_cases_that_there_are(script):
    study = script(JKO, "study")
    assert list(study.SMOKE) == EXAMPLES
    shown = [script(JKO, f"figure_{k}") for k in (1, 3, 4, 5, 6, 12)]
    single = [script(JKO, f"figure_{k}") for k in (2, 8, 9)]
    assert {module.EXAMPLE for module in shown + single} <= set(EXAMPLES)
    assert {case for module in shown for case in module.SHOWN} | {module.CASE for module in single} <= set(study.CASES)


def test_the_fields_timed_by_figure_11_can_be_built(script):
    module = script(JKO, "figure_11")
    for n in module.SIZES:
        given = {case: module.arguments(case, n) for case in module.CASES}
        methods = {case: compose(arguments).simulation().method for case, arguments in given.items()}
        assert type(methods["jko"].model) is type(methods["sbtm"].model)
        # JKO passes 3 times over N // 640 mini-batches of 640 or a few more; SBTM takes as many steps.
        assert methods["sbtm"].fit.steps == methods["jko"].fit.epochs * (n // methods["jko"].fit.minibatch)
        assert methods["sbtm"].fit.minibatch == methods["jko"].fit.minibatch


def test_exponents_and_slopes_are_those_of_power_laws(script):
    quadratic = {100: 1.0, **{n: 3e-9 * n**2 for n in (1600, 6400, 25_600)}}  # the last three count
    assert growth_exponent(quadratic) == pytest.approx(2)
    assert script(JKO, "figure_13").slope({n: (4, 7 / math.sqrt(n)) for n in (400, 1600, 6400)}) == pytest.approx(-0.5)


def test_the_error_against_n_is_the_root_mean_square_over_seeds(script, monkeypatch):
    module = script(JKO, "figure_13")
    ends = {"network-400-0": (400, 3.0), "network-400-1": (400, 4.0), "network": (25_600, 0.5), "other-400-0": (400, 9)}
    found = {name: SimpleNamespace(config={"particles": n}, end=end) for name, (n, end) in ends.items()}
    monkeypatch.setattr(module, "series", lambda run, key: (np.zeros(2), np.array([100.0, run.end])))
    errors = module.against_particles(found, "network", "cov_frobenius_error")
    assert errors == {400: (2, pytest.approx(math.sqrt(12.5))), 25_600: (1, 0.5)}


def test_the_printed_entropy_is_the_integral_over_the_printed_density(script):
    """Over the radius, by the trapezoid rule; and at equilibrium the formula of the paper."""
    printed = script(JKO, "figure_10").printed
    problem = Rosenbluth()
    run = SimpleNamespace(problem=problem)
    r = np.linspace(0, 3, 30_001)
    for density in (problem.initial, problem.equilibrium()):
        v = torch.zeros(len(r), 3, dtype=torch.float64)
        v[:, 0] = torch.from_numpy(r)
        f = problem.mass * density.log_prob(v).exp().numpy()
        values = np.where(f > 0, f * np.log(np.maximum(f, 1e-300)), 0) * 4 * np.pi * r**2
        # Spacing 1e-4 against a shell 0.067 thick: the rule is good to (1e-4 / 0.067)^2 / 12 or better.
        assert printed(run, density.entropy()) == pytest.approx(
            float(torch.trapezoid(torch.from_numpy(values), torch.from_numpy(r))), rel=1e-6
        )
    rho, temperature = problem.mass, problem.initial.temperature
    level = rho * math.log(rho) - 1.5 * rho * math.log(2 * math.pi * math.e * temperature)
    assert printed(run, problem.equilibrium().entropy()) == pytest.approx(level, rel=1e-12)


def test_slices_are_the_smoothed_density():
    """The mean over the samples is the density smoothed by the kernel; 40,000 in 2D leave a noise of 2 to 4 %."""
    problem = BKW(d=2)
    v = problem.sample(40_000, generator=torch.Generator().manual_seed(0))
    run = SimpleNamespace(problem=problem, half_width=4.0)
    for component in (0, 1):
        f = axis_slice(run, v, component)
        expected = smoothed_slice(problem.initial, axis_points(run), component, problem.bandwidth)
        assert float((f - expected).norm() / expected.norm()) < 0.06


PINN = "experiments/pinn_pm"


@pytest.mark.parametrize(
    "problem", ["bkw_2d", "bkw_3d", "bimaxwellian_2d", "rosenbluth_3d_wide", "mixture_3d", "truncated_2d"]
)
def test_all_runs_of_a_problem_of_pinn_pm_can_be_built(problem, script, tmp_path):
    study = script(PINN, "study")
    runs = study.problem_runs(problem, study.CASES, tmp_path, smoke=False)
    assert len(sweep_commands(runs, tmp_path)) == 5
    assert not list(tmp_path.iterdir())


def test_all_runs_of_the_ablation_can_be_built_and_differ(script, tmp_path):
    runs = script(PINN, "ablation").runs(tmp_path, smoke=False)
    assert len(sweep_commands(runs, tmp_path)) == 8
    recipes = {case: compose(read_arguments(arguments)).simulation().method for case, arguments in runs.items()}
    assert {method.recipe.iterations for method in recipes.values()} == {1500, 5000}
    assert len({(method.recipe, method.initial, method.base) for method in recipes.values()}) == 8


def test_the_times_of_the_figures_are_snapshots_of_all_their_runs(script, tmp_path):
    """And the last is the end of the run: the figures take times as shares of that, for trials, which are shorter."""
    study = script(PINN, "study")
    figures = script(PINN, "figures")
    assert list(figures.FIGURES) == [str(k) for k in range(4, 26)]
    problems = {problem for _, _, problem in figures.TABLE.values()}
    assert problems == set(script(PINN, "drawing").TITLES) == set(study.BANDWIDTHS) == set(figures.TIMES)
    for problem, times in figures.TIMES.items():
        for arguments in study.problem_runs(problem, study.CASES, tmp_path, smoke=False).values():
            run = compose(read_arguments(arguments)).simulation()
            taken = [run.problem.t_start + step * run.dt for step in run.snapshot_steps]
            assert max(taken) == pytest.approx(times[-1])
            for t in times:
                # Or the nearest to it that the time steps meet.
                assert min(abs(t - other) for other in taken) <= run.dt / 2 + 1e-9


def test_a_run_that_failed_before_its_first_row_has_an_error_and_no_record(tmp_path, monkeypatch):
    monkeypatch.setattr("graphlandau.cli.study.records", lambda runs, options, may_fail: {"done": "its record"})
    monkeypatch.setattr("graphlandau.cli.study.RunRecord", lambda path: path.name)
    (tmp_path / "on the way").mkdir()
    (tmp_path / "on the way" / "snapshots.h5").touch()
    lines = [
        "folder,status,error",
        "done,done,",
        "on the way,failed,folds; change the input",
        "diverged,failed,diverged",
    ]
    (tmp_path / "sweep.csv").write_text("\n".join(lines))
    found, errors = with_failures({"diverged": [], "on the way": [], "done": []}, SimpleNamespace(runs=tmp_path))
    assert found == {"on the way": "on the way", "done": "its record"}
    assert errors == {"on the way": "folds", "diverged": "diverged"}


def test_times_of_a_trial_are_at_the_same_shares():
    run = SimpleNamespace(times=np.array([5.5, 5.55, 5.6]), snapshot=lambda index: index)
    assert snapshots_at(run, [0.0, 0.5, 1.0]) == [0, 1, 2]


def test_the_scores_table_has_the_identities_of_the_exact_score(script):
    """Integration by parts: <s> = 0 and <s_a v_a> = -1; the noise of 40,000 samples is 0.005 times a few."""
    problem = BKW(d=2)
    v = problem.sample(40_000, generator=torch.Generator().manual_seed(0), t=1.0)
    snapshot = SimpleNamespace(t=1.0, v=v, s=problem.score(v, 1.0))
    rows = script(PINN, "drawing").score_rows("exact", snapshot, problem)
    for row in rows:
        assert float(row["mean_s"]) == pytest.approx(0, abs=0.03)
        assert float(row["mean_s_v"]) == pytest.approx(-1, abs=0.03)
        assert float(row["rel_squared_error"]) == 0
    snapshot.s = 1.5 * snapshot.s
    doubled = script(PINN, "drawing").score_rows("scaled", snapshot, problem)
    assert [float(row["rel_squared_error"]) for row in doubled] == pytest.approx([0.25, 0.25])


def test_a_rate_that_rises_once_is_not_monotone(script):
    row = script(PINN, "drawing").structure_row
    t = np.arange(4.0)
    falling = row(t, np.array([8.0, 4.0, 2.0, 1.0]))
    assert (falling["entropy_falls"], falling["rate_monotone"], falling["rate_largest_rise"]) == (True, True, "-0.125")
    rising = row(t, np.array([8.0, 4.0, 6.0, 1.0]))
    assert (rising["entropy_falls"], rising["rate_monotone"], rising["rate_largest_rise"]) == (True, False, "0.25")


def test_the_exact_flow_and_score_have_no_error_in_the_ablation(script):
    """And a flow that stays where it is has that of the particles' own displacement."""
    module, problem = script(PINN, "ablation"), BKW(d=2)
    v0 = problem.sample(500, generator=torch.Generator().manual_seed(0))
    exact = {t: problem.characteristics(v0, t) for t in (0.0, 1.0)}

    def pair(at):
        flow = SimpleNamespace(at=at, parameters=lambda: iter([v0]))
        return SimpleNamespace(flow=flow, score=SimpleNamespace(at=lambda t: lambda v: problem.score(v, t)))

    found = module.measure(pair(problem.characteristics), exact)
    assert max(found["rel_trajectory_error"].max(), found["rel_fisher_divergence"].max()) < 1e-24
    still = module.measure(pair(lambda v, t: v), exact)
    moved = (v0 - exact[1.0]).square().sum(1).mean()
    assert still["distance"].tolist() == pytest.approx([0, float(moved)])
    assert still["energy_rel_drift"].max() == 0


KINETIC = "experiments/kinetic_jko"
KINETIC_FIGURES = [*map(str, range(1, 12)), "controls", "landau_damping", "as_printed"]


@pytest.mark.parametrize("number", KINETIC_FIGURES)
def test_the_first_runs_of_every_kinetic_figure_can_be_built(number, script, tmp_path, monkeypatch):
    asked = {}

    def capture(runs, out, jobs=1):
        asked.update(runs)
        raise SystemExit

    monkeypatch.setattr("graphlandau.cli.study.run_sweep", capture)
    argv = [number, "--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "out")]
    with pytest.raises(SystemExit):
        make_figures(None, script(KINETIC, "figures").FIGURES, argv)
    assert len(sweep_commands(asked, tmp_path / "runs")) == len(asked) >= 1


# Smoke: every figure of every table is made from a few particles, in one process; figures of one problem share runs.


class InProcess:
    """Runs a command at once in this process, where the real worker takes seconds to import torch."""

    def start(self, arguments):
        self.text = io.StringIO()
        with redirect_stderr(self.text), redirect_stdout(io.StringIO()):
            self.status = cli.main(arguments)

    def poll(self):
        return self.status

    def said(self):
        return self.text.getvalue().strip()

    def close(self):
        """There is no process."""


def few_steps(monkeypatch):
    """Let a descent take at most two steps, one epoch, one burst."""

    def shorten(name, most):
        full = getattr(Descent, name)
        monkeypatch.setattr(
            Descent, name, lambda self, first, count, *rest, **more: full(self, first, min(count, most), *rest, **more)
        )

    for name, most in (("run", 2), ("run_epochs", 1), ("run_while_better", 1)):
        shorten(name, most)


TRAINING = ["--method.iterations", "4", "--method.training_particles", "30", "--method.save_every", "2"]


@pytest.fixture
def smoke(script, tmp_path, monkeypatch, small_and_quick):
    """Make figures of a paper in the smoke mode; return the rows of the table of each.

    Scores are trained for a few steps: what is tested is that the scripts run through.
    """
    monkeypatch.setattr("graphlandau.cli.sweep.Worker", InProcess)
    monkeypatch.chdir(tmp_path)
    few_steps(monkeypatch)
    # The layout of many panels takes longer than to draw them.
    monkeypatch.setattr(Figure, "set_layout_engine", lambda self, *args, **options: None)

    def make(folder, numbers, tables, *more):
        argv = [*numbers, "--smoke", "--runs", str(tmp_path / "runs"), "--out", str(tmp_path), *more]
        make_figures(None, script(folder, "figures").FIGURES, argv)
        found = {}
        for name in tables:
            with (tmp_path / f"{name}.csv").open(newline="") as file:
                found[name] = list(csv.DictReader(file))
            assert found[name], name
            pictures = list(tmp_path.glob(f"{name}*.png"))
            assert all(picture.stat().st_size > PICTURE for picture in pictures)
        return found

    return make


SBTM_ROWS = {"figure_5_1": 4, "figure_5_2": 5, "figure_5_3": 5, "figure_5_4": 5, "figure_5_5": 10, "figure_5_6": 15}


@pytest.mark.parametrize("figure", SBTM_ROWS)
def test_smoke_of_sbtm(figure, smoke):
    """A table with a row for each run, and a picture."""
    sizes = (
        ["60"] if figure in ("figure_5_1", "figure_5_2", "figure_5_3", "figure_5_4", "figure_5_5") else ["60", "120"]
    )
    number = figure.removeprefix("figure_").replace("_", ".")
    rows = smoke("experiments/sbtm_landau", [number], [figure], "--sizes", *sizes)[figure]
    assert len(rows) == SBTM_ROWS[figure]


PINN_OF = {
    "bkw_2d": "4 5 6 7 8",
    "bkw_3d": "9 10 11 12 13",
    "mixture_3d": "14 15 16",
    "rosenbluth_3d_wide": "17 18 19",
    "bimaxwellian_2d": "20 21 22",
    "truncated_2d": "23 24 25",
}


@pytest.mark.parametrize("problem", PINN_OF)
def test_smoke_of_pinn_pm(problem, smoke, script):
    """Tables and pictures; whatever the score, the entropy falls."""
    script(PINN, "study").SMALL_TRAINING[:] = TRAINING
    numbers = PINN_OF[problem].split()
    found = smoke(PINN, numbers, [f"figure_{number}" for number in numbers])
    if problem == "bkw_2d":
        assert {row["entropy_falls"] for row in found["figure_7"]} == {"True"}
        assert {float(row["from_flow"]) for row in found["figure_4"] if row["run"] == "pinn_particle"} == {0}


JKO_OF = ["1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "stability", "examples"]


@pytest.mark.parametrize("number", JKO_OF)
def test_smoke_of_jko(number, smoke):
    """Tables; with the exact determinant the entropy falls at every step, however large."""
    name = "figure_stability" if number == "stability" else number if number == "examples" else f"figure_{number}"
    rows = smoke(JKO, [number], [name])[name]
    if number == "stability":
        outcome = {row["run"]: row for row in rows}
        assert "not invertible" in outcome["closed_form-20"]["status"]
        for run in ("closed_form_exact-5", "closed_form_exact-20"):
            assert outcome[run]["status"] == "done"
            assert float(outcome[run]["largest_rise"]) < 0


@pytest.mark.parametrize("number", KINETIC_FIGURES)
def test_smoke_of_kinetic_jko(number, smoke):
    """A table and a picture."""
    name = number if not number.isdecimal() else f"figure_{number}"
    assert smoke(KINETIC, [number], [name])[name]


@pytest.mark.parametrize(("name", "count"), [("ablation", 8), ("certificates", 6), ("cost", 4)])
def test_smoke_of_studies_of_pinn_pm(name, count, script, tmp_path, monkeypatch, smoke):
    """A table and, but of the costs, a picture."""
    script(PINN, "study").SMALL_TRAINING[:] = TRAINING
    module = script(PINN, name)
    monkeypatch.setattr(sys, "argv", [name, "--smoke", "--runs", str(tmp_path / "runs"), "--out", str(tmp_path)])
    module.main()
    with (tmp_path / f"{name}.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == count
    assert name == "cost" or (tmp_path / f"{name}.png").stat().st_size > PICTURE
    if name == "certificates":
        with (tmp_path / "certificates_density.csv").open(newline="") as file:
            for row in csv.DictReader(file):
                assert float(row["trajectory"]) <= float(row["trajectory_bound"])


@pytest.mark.parametrize("paper", ["sbtm_landau", "jko_landau", "kinetic_jko", "pinn_pm"])
def test_an_unknown_figure_is_refused_with_those_that_there_are(paper, script):
    figures = script(f"experiments/{paper}", "figures").FIGURES
    with pytest.raises(SystemExit) as refused:
        make_figures(None, figures, ["nowhere", "--smoke"])
    assert str(refused.value) == f"error: there is no figure 'nowhere' here; known: all, {', '.join(figures)}"


def test_a_table_lists_its_figures(script, capsys):
    with pytest.raises(SystemExit):
        make_figures(None, script(PINN, "figures").FIGURES, ["--list"])
    assert "14  A mixture of Gaussians in 3D, slices of the density" in capsys.readouterr().out
