"""Which metrics belong to which problem; problems, methods and controls that do not fit each other."""

from __future__ import annotations

import re

import pytest

from graphlandau.cli import main as cli
from graphlandau.cli.arguments import read_arguments
from graphlandau.cli.config import compose
from graphlandau.methods import Blob, Langevin, Vlasov
from graphlandau.problems import BKW, Anisotropic, InitialValueProblem, TwoStream, VFPPeriodic
from graphlandau.run.observers.choice import metrics_of
from graphlandau.run.observers.density_errors import DensityErrors
from graphlandau.run.observers.kinetic_metrics import KineticMetrics
from graphlandau.run.observers.metrics import Metrics
from graphlandau.run.observers.trajectory_errors import TrajectoryErrors
from graphlandau.run.simulation import Simulation

pytestmark = pytest.mark.usefixtures("small_and_quick")


def kinds(problem, method):
    return [type(each) for each in metrics_of(problem, method, baselines=False, seed=0, every=25)]


def test_each_kind_of_problem_has_its_metrics():
    assert kinds(VFPPeriodic(), Langevin())[0] == kinds(TwoStream(), Vlasov())[0] == KineticMetrics
    # Where the density is known for all times errors of it follow the metrics, so that their columns do.
    assert kinds(BKW(d=2), Blob())[:2] == [Metrics, DensityErrors]
    assert TrajectoryErrors in kinds(BKW(d=2), Blob())
    assert kinds(Anisotropic(d=3), Blob())[0] == Metrics
    assert DensityErrors not in kinds(Anisotropic(d=3), Blob())


def test_refuses_a_problem_of_no_known_kind():
    class Other(InitialValueProblem):
        def draw(self, n, *, generator):
            return {}

        def facts(self):
            return {}

    other = Other(d=1, t_start=0.0, t_end=1.0, dt=0.1, particles=10)
    with pytest.raises(ValueError, match=r"'problem' must be a Problem or a KineticProblem \(got Other\)"):
        metrics_of(other, Blob(), baselines=False, seed=0, every=25)


@pytest.mark.parametrize(("problem", "method"), [(BKW(d=2), Vlasov()), (VFPPeriodic(), Blob())])
def test_refuses_a_method_for_another_equation(problem, method):
    with pytest.raises(ValueError, match=r"'problem' must be a problem of the class (Kinetic)?Problem for \w+ \(got"):
        Simulation(problem, method)


SHORT = "--particles 50 --dt 0.1 --t_end 0.1 --figures false"
# What is typed, and the line that comes back.
REFUSED = {
    "--problem vpfp_1d1v --method pic_jko --problem.epsilon -1": "'problem.epsilon' must not be negative (got -1)",
    "--problem vpfp_1d1v --method pic_jko --problem.temperature 0": "'problem.temperature' must be positive (got 0.0)",
    "--problem vpfp_1d1v --method pic_jko --problem.amplitude 1": "'problem.amplitude' must be in [0, 1) (got 1)",
    "--problem vpfp_1d1v --method pic_jko --problem.k 0.4": "= 0.25 (got 0.4; the nearest is 0.5)",
    "--problem two_stream --method vlasov --problem.length 30": "'problem.k' must be a multiple of 2 pi / length",
    "--problem vpfp_1d1v --method pic_jko --problem.cells 3": "'problem.cells' must be an integer >= 4 (got 3)",
    "--problem vpfp_1d1v --method pic_jko --problem.loading calm": "'problem.loading' must be",
    "--problem vpfp_1d1v --method blob": "'method' must be one for the equation of vpfp_1d1v (got 'blob'",
    "--problem bkw_2d --method pic_jko": "'method' must be one for the equation of bkw_2d (got 'pic_jko'",
    "--problem vfp_gaussian_1d --method kinetic_jko --score mlp": "'score' must not be given, kinetic_jko takes",
    "--problem bkw_2d --method blob --control affine": "'control' must not be given, blob has no control",
    "--problem landau_damping --method vlasov --control affine": "'control' must not be given, vlasov has no control",
    "--problem vfp_gaussian_1d --method kinetic_jko --control tanh": "'control' must be",
}
REFUSED_AT_THE_START = {
    "--problem vpfp_1d1v --method pic_jko --method.cells 3": "'method.cells' must be an integer >= 4 (got 3)",
    "--problem vpfp_1d1v --method kinetic_jko": "must be pic_jko for vpfp_1d1v, which has a field",
    "--problem vfp_gaussian_1d --method pic_jko": "must be kinetic_jko for vfp_gaussian_1d, which has no field",
    "--problem vpfp_1d1v --method vlasov": "'epsilon' must be 0 for a method without collisions (got 0.005)",
    "--problem landau_damping --method pic_jko": "'epsilon' must be positive for a method with collisions (got 0)",
    "--problem vpfp_1d3v --method velocity_matching": "(got 1 of position, 3 of velocity)",
    "--problem vfp_periodic_1d --method langevin --method.cells 8": "'cells' must not be given for vfp_periodic_1d",
    "--problem vfp_gaussian_1d --method kinetic_jko --certificate true": "'certificate' must be false",
    "--problem vfp_double_well_3d --method kinetic_jko --control my_controls.Flat": "a Flat that returned (8, 1)",
    "--problem vfp_gaussian_1d --method langevin --problem.epsilon 30": "'dt' must be below 2 / epsilon = 0.0666667",
    "--problem vpfp_1d1v --method kinetic_sbtm --problem.epsilon 1000": "with this field a dt below 0.00",
}


@pytest.fixture
def my_controls(tmp_path, monkeypatch):
    """A module of the user's in the current directory."""
    (tmp_path / "my_controls.py").write_text(
        "import torch\n"
        "class Mine(torch.nn.Module):\n"
        "    '''Mine.'''\n"
        "    def __init__(self, d_x, d, width: int = 4):\n"
        "        super().__init__()\n"
        "        self.net = torch.nn.Sequential(\n"
        "            torch.nn.Linear(d_x + d, width), torch.nn.Tanh(), torch.nn.Linear(width, d))\n"
        "    def forward(self, x, v):\n"
        "        return self.net(torch.cat([x, v], 1))\n"
        "class Flat(Mine):\n"
        "    def forward(self, x, v):\n"
        "        return super().forward(x, v)[:, :1]\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("line", REFUSED)
def test_refuses_in_one_line(line):
    with pytest.raises(ValueError, match=re.escape(REFUSED[line])) as refused:
        compose(read_arguments([*line.split(), *SHORT.split()]))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("line", REFUSED_AT_THE_START)
def test_refuses_in_one_line_where_a_run_begins(line, my_controls, capsys):
    assert cli.main(["run", *line.split(), *SHORT.split()]) in (1, 2)
    error = [each for each in capsys.readouterr().err.splitlines() if each.startswith("error")]
    assert len(error) == 1
    assert REFUSED_AT_THE_START[line] in error[0]


def test_a_control_of_ones_own_runs_by_its_import_path(my_controls, capsys):
    line = f"run --problem vfp_double_well_3d --method kinetic_jko --control my_controls.Mine {SHORT}"
    assert cli.main([*line.split(), "--control.width", "5", "--method.initial_steps", "3", "--out", "run"]) == 0
    assert (my_controls / "run" / "summary.json").exists()
    assert "width: 5" in (my_controls / "run" / "config.yaml").read_text()
