"""The benchmarks: what they measure against is right, tables go on, and every script runs through at its smallest."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from graphlandau.cli.arguments import read_arguments
from graphlandau.cli.config import compose
from graphlandau.physics.landau_kernel import LandauKernel

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def script(monkeypatch):
    """Import a benchmark as it would run, from its own folder."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    yield importlib.import_module
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None)).startswith(str(BENCHMARKS)):
            del sys.modules[name]


@pytest.mark.parametrize("gamma", [-3.0, 0.0])
def test_the_reference_is_the_direct_sum(script, gamma):
    measure = script("measure")
    v, s = measure.particles(60, 3)
    reference = measure.Reference(v, s, gamma, targets=20)
    kernel, v, s = LandauKernel(gamma), v.double(), s.double()
    terms = torch.stack([kernel(v[i] - v, s[i] - s) / 60 for i in reference.index])
    torch.testing.assert_close(reference.drift, -terms.sum(1), rtol=1e-12, atol=1e-14)
    exact = torch.zeros_like(v)
    exact[reference.index] = reference.drift
    assert reference.errors(exact) == (0, 0)
    assert reference.errors(1.01 * exact)[0] == pytest.approx(0.01)
    worst = (0.01 * reference.drift.norm(dim=1) / terms.norm(dim=2).sum(1)).max()
    assert reference.errors(1.01 * exact)[1] == pytest.approx(float(worst))


def test_exponents_are_those_of_power_laws(script):
    """Of the last three sizes up to each row, so that what a small size costs at least does not count."""
    growth = script("growth")
    rows = [
        {"case": "a", "N": n, "seconds": 0.1 if n < 1_000 else 2e-8 * n**1.5, "memory_MiB": 1e-4 * n}
        for n in (100, 1_000, 10_000, 100_000)
    ]
    found = growth.with_exponents(rows)
    assert [row["N"] for row in found if "exponent" in row] == [10_000, 100_000]
    assert found[-1]["exponent"] == pytest.approx(1.5)
    assert found[-1]["memory_exponent"] == pytest.approx(1)


def test_a_table_keeps_the_rows_that_are_there(script, tmp_path):
    measure = script("measure")
    first = measure.Table(tmp_path / "a.csv", ("method", "N", "options"))
    first.add({"method": "blob", "N": 100, "options": None, "seconds": 1.25})
    first.add({"method": "blob", "N": 200, "options": "--x 1", "seconds": None})
    again = measure.Table(tmp_path / "a.csv", ("method", "N", "options"))
    assert again.find(method="blob", N=100, options=None)["seconds"] == 1.25
    assert again.find(method="blob", N=200, options="--x 1")["seconds"] is None
    assert again.find(method="blob", N=200, options=None) is None
    assert not measure.Table(tmp_path / "a.csv", ("method",), anew=True).rows


def test_a_call_that_refuses_is_left_out_and_says_why(script):
    def refuse():
        raise ValueError("too\nlarge")

    times, refusals = script("measure").take_turns({"works": lambda: None, "refuses": refuse}, 2)
    assert set(times) == {"works"}
    assert refusals == {"refuses": "too large"}


def test_the_speedup_is_over_runs_that_do_no_worse(script):
    solve = script("solve")
    closed = [{"seconds": 1.0, "error": 0.1}, {"seconds": 3.0, "error": 0.01}, {"seconds": 4.0, "error": 0.005}]
    networks = [{"seconds": t, "error": e} for t, e in ((5.0, 0.2), (30.0, 0.02), (60.0, 0.03))]
    assert [row["seconds"] for row in solve.front(networks)] == [5.0, 30.0]
    assert solve.speedup(closed, networks[1]) == (closed[1], 10)
    assert solve.speedup(closed, {"seconds": 9.0, "error": 0.001}) is None


def test_matched_particles_have_the_exact_mean_and_covariance(script):
    problem = script("solve").MatchedCoulomb()
    v = problem.sample(50, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(v.mean(0), torch.zeros(3, dtype=torch.float64), rtol=0, atol=1e-14)
    torch.testing.assert_close(v.T @ v / 50, problem.initial.covariance, rtol=0, atol=1e-13)


def test_runs_of_the_pareto_plot_can_be_built(script):
    """One of each problem, method and set of options; names of rows are unique."""
    solve = script("solve")
    rows = solve.settings(quick=False)
    assert len({tuple(row[key] for key in solve.KEYS) for row in rows}) == len(rows)
    assert {22_500} <= {r["particles"] for r in rows if r["problem"] == "bkw_2d" and r["method"] == "sbtm_mlp"}
    unlike = {(row["problem"], row["method"], row["options"]): row["command"] for row in rows}
    for command in unlike.values():
        assert compose(read_arguments(command.split())).simulation().steps >= 5


def test_operations_of_a_pair_are_those_of_the_formula(script):
    """In 3D: z and u 6, two products 10, softening 3, root, cube and strength 4, A u 11, weight, sign and sum 9."""
    operations = script("gpu").operations
    assert operations(3, -3.0) == 6 + 10 + 3 + 4 + 11 + 9
    assert operations(3, 0.0) == 6 + 10 + 1 + 11 + 9


def test_gpu_refuses_a_machine_without_one(script, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["gpu"])
    with pytest.raises(SystemExit) as stopped:
        script("gpu").main()
    assert stopped.value.code == 2
    assert capsys.readouterr().err == "error: this machine has no CUDA device (try --device cpu --quick)\n"


# What a checkout of the peer must hold: its formula for the particles of a batch, in plain torch.
PEER = """
import torch
class ScoreMatching:
    def __init__(self, v, t, dt, C, *shape):
        torch.manual_seed(0)
        self.net = torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2))
    def odefunc(self, rows):
        v = rows[:, :2]
        s = self.net(v).detach()
        jacobian = torch.vmap(torch.func.jacrev(self.net))(v).detach()
        z, u = v[:, None] - v, s[:, None] - s
        A = z.square().sum(-1)[..., None, None] * torch.eye(2) - z[..., :, None] * z[..., None, :]
        growth = torch.einsum("ijab,iab->i", A, jacobian) - (z * u).sum((1, 2))
        drift = torch.einsum("ijab,ijb->ia", A, u)
        return -torch.cat([drift, growth[:, None]], dim=1) / len(v)
"""


def test_the_collisions_of_a_peer_are_compared_like_for_like(script, tmp_path, monkeypatch):
    """Drift and log-determinant of the same network in the same batches: equal to rounding of float32."""
    peers = script("peers")
    monkeypatch.setattr(peers, "BATCH", 64)
    (tmp_path / "ScoreLandau_BKW.py").write_text(PEER)
    code = peers.import_from("huang_wang", tmp_path, "ScoreLandau_BKW", ("ScoreMatching",))
    row = peers._batches(code, 150, 1)
    assert row["difference"] < 1e-5
    assert row["winner"] == ("huang_wang" if row["ratio"] < 1 else "graphlandau")
    del sys.modules["ScoreLandau_BKW"]


def test_a_peer_of_another_layout_is_one_line(script, tmp_path):
    peers = script("peers")
    with pytest.raises(SystemExit, match=r"^error: peer ilin_hu: .* holds no src/solver.py \(a checkout of another"):
        peers.import_from("ilin_hu", tmp_path, "src.solver", ("collision",))
    (tmp_path / "ScoreLandau_BKW.py").write_text("import a_package_that_is_not_there")
    with pytest.raises(SystemExit, match=r"cannot be imported here \(No module named 'a_package_that_is_not_there'"):
        peers.import_from("huang_wang", tmp_path, "ScoreLandau_BKW", ("ScoreMatching",))
    (tmp_path / "ScoreLandau_BKW.py").write_text("")
    with pytest.raises(SystemExit, match="has no ScoreMatching"):
        peers.import_from("huang_wang", tmp_path, "ScoreLandau_BKW", ("ScoreMatching",))


SMALLEST = {
    "drift": (["--sizes", "300", "--backends", "dense (eager)", "moments", "mesh"], "drift", 4),
    "growth": (["--cases", "moments_3d"], "growth", 3),
    "solve": (["--only", "bkw_2d blob"], "solve", 2),
    "gpu": (["--device", "cpu", "--repeats", "1"], "gpu_on_cpu", 9),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALLEST)
def test_smoke(name, tmp_path):
    """A table with its rows, and a picture; a second time nothing is measured again."""
    arguments, table, rows = SMALLEST[name]
    command = [sys.executable, str(BENCHMARKS / f"{name}.py"), "--quick", "--out", str(tmp_path), *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / f"{table}.csv").read_text().splitlines()
    assert len(lines) >= 1 + rows
    assert (tmp_path / f"{table}.png").stat().st_size > 10_000
    if name != "gpu":
        before = (tmp_path / f"{table}.csv").read_bytes()
        again = subprocess.run(command, capture_output=True, text=True)
        assert again.returncode == 0
        assert before == (tmp_path / f"{table}.csv").read_bytes()
