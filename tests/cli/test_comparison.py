"""Comparing runs: which may be compared, what they are called, and that the numbers are theirs."""

from __future__ import annotations

import csv
import json
import os
import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import yaml

from graphlandau.cli import comparison
from graphlandau.cli import main as cli
from graphlandau.cli.comparison import compare_runs, labels, read_runs, title
from graphlandau.plotting.style import save

RUN = "run --dt 0.02 --t_end 0.04 --snapshots 2 --baselines false --figures false --threads 1"
RUNS = {
    "blob": "--problem bkw_2d --method blob --particles 60",
    "more": "--problem bkw_2d --method blob --particles 80",
    "sbtm": "--problem bkw_2d --method sbtm --particles 60",
    "strong": "--problem bkw_2d --problem.strength 0.1 --method blob --particles 60",
    "gauss": "--problem anisotropic_3d --method sbtm --score gaussian --particles 60",
    "wave": "--problem landau_damping --method vlasov --particles 500 --t_end 12 --dt 0.1",
    "noisy": "--problem landau_damping --problem.loading random --method vlasov --particles 500 --t_end 12 --dt 0.1",
}
Call = Callable[[str], tuple[int, str, str]]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("runs")
    for name, line in RUNS.items():
        assert cli.main([*RUN.split(), *line.split(), "--out", str(base / name)]) == 0
    return base


@pytest.fixture
def here(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Work in a copy of the runs, which also holds the table of a sweep and a folder that is no run."""
    shutil.copytree(runs, tmp_path / "s")
    (tmp_path / "s" / "sweep.csv").touch()
    (tmp_path / "letters").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(comparison, "save", lambda figure, path: path.touch())  # a picture takes a second
    threads = torch.get_num_threads()
    yield tmp_path
    torch.set_num_threads(threads)


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    def called(line: str) -> tuple[int, str, str]:
        capsys.readouterr()
        status = cli.main(shlex.split(line))
        return status, *capsys.readouterr()

    return called


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_table_holds_the_last_row_of_each_run(call: Call, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison, "save", save)
    status, out, err = call("compare s/blob s/more s/sbtm s/sweep.csv")
    assert (status, err) == (0, "")
    found = rows(here / "comparison/comparison.csv")
    assert [row["label"] for row in found] == [
        "blob, particles=60",
        "blob, particles=80",
        "sbtm closed_form, particles=60",
    ]
    for row in found:
        last, summary = (
            rows(Path(row["folder"]) / "metrics.csv")[-1],
            json.loads(Path(row["folder"], "summary.json").read_text()),
        )
        for key in (
            "t",
            "rel_fisher_divergence",
            "cov_frobenius_error",
            "entropy",
            "energy_rel_drift",
            "rel_l2_density",
        ):
            assert float(row[key]) == float(last[key])
        assert (float(row["dt"]), int(row["particles"]), row["finished"]) == (0.02, summary["particles"], "yes")
        assert float(row["wall_seconds"]) == summary["wall_seconds"]
    assert len(out.splitlines()) == 1 + 3 + 2
    assert (here / "comparison/comparison.png").read_bytes()[1:4] == b"PNG"


def test_runs_with_positions_are_compared(call: Call, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """How particles are loaded may differ; the table has field, growth rate and theory."""
    monkeypatch.setattr(comparison, "save", save)
    status, out, err = call("compare s/wave s/noisy")
    assert (status, err) == (0, "")
    found = rows(here / "comparison/comparison.csv")
    assert [row["label"] for row in found] == ["loading=quiet", "loading=random"]
    for row in found:
        last = rows(Path(row["folder"]) / "metrics.csv")[-1]
        summary = json.loads(Path(row["folder"], "summary.json").read_text())
        for key in ("e2", "free_energy", "energy_rel_drift", "mode_amplitude"):
            assert float(row[key]) == float(last[key])
        for key in ("growth_rate", "growth_rate_exact"):
            assert (float(row[key]) if row[key] else None) == summary[key]
        assert float(row["growth_rate_exact"]) == pytest.approx(-0.1534, abs=1e-4)
    header = out.splitlines()[0]
    assert all(name in header for name in ("free energy", "field squared", "theory", "energy drift"))
    assert (here / "comparison/comparison.png").read_bytes()[1:4] == b"PNG"


def test_an_unfinished_run_is_compared_as_far_as_it_got(call: Call, here: Path) -> None:
    (here / "s/more/summary.json").unlink()
    metrics = here / "s/more/metrics.csv"
    lines = metrics.read_text().splitlines(keepends=True)
    metrics.write_text("".join(lines[:3]) + lines[3][:9])
    assert call("compare s/blob s/more --out c")[0] == 0
    first, second = rows(here / "c/comparison.csv")
    assert (float(first["t"]), first["finished"]) == (0.04, "yes")
    assert (float(second["t"]), second["finished"]) == (0.02, "no")
    assert float(second["wall_seconds"]) == float(rows(metrics)[1]["wall_seconds"])
    # The density error is measured at the snapshots only: there is none for this time.
    assert second["rel_l2_density"] == ""


def test_a_run_without_a_step_is_left_out(call: Call, here: Path) -> None:
    shutil.copytree(here / "s/blob", here / "s/begun", ignore=lambda *_: ["metrics.csv", "snapshots.h5"])
    status, _, err = call("compare s/blob s/begun s/sbtm --out c")
    assert status == 0
    assert err.startswith("warning: s/begun is left out")
    assert [row["label"] for row in rows(here / "c/comparison.csv")] == ["blob", "sbtm closed_form"]


def test_runs_of_other_versions_lack_columns(call: Call, here: Path) -> None:
    metrics = here / "s/more/metrics.csv"
    kept = [{k: x for k, x in row.items() if "fisher" not in k and "entropy" not in k} for row in rows(metrics)]
    with metrics.open("w", newline="") as file:
        writer = csv.DictWriter(file, kept[0])
        writer.writeheader()
        writer.writerows(kept)
    assert call("compare s/blob s/more --out c")[0] == 0
    first, second = rows(here / "c/comparison.csv")
    assert (first["entropy"] != "", second["entropy"], second["rel_fisher_divergence"]) == (True, "", "")
    assert second["cov_frobenius_error"] == kept[-1]["cov_frobenius_error"]


def test_defaults_of_a_problem_may_differ(call: Call, here: Path) -> None:
    """Two problems that only suggest other ends, steps and sizes of a run are the same problem."""
    config = here / "s/more/config.yaml"
    config.write_text(config.read_text().replace("t_end: 5.0", "t_end: 4.0", 1))
    assert call("compare s/blob s/more --out c")[0] == 0


def test_a_damaged_summary_is_named(call: Call, here: Path) -> None:
    (here / "s/more/summary.json").write_text("{damaged")
    status, _, err = call("compare s/blob s/more --out c")
    assert (status, err.count("\n")) == (2, 1)
    assert "'run_dir' must hold a readable summary.json (s/more/summary.json: " in err


def test_the_folder_of_the_comparison_is_none_of_the_runs(call: Call, here: Path) -> None:
    for _ in range(2):
        found = sorted(f"s/{name}" for name in os.listdir("s") if name in ("blob", "more", "sbtm", "sweep.csv", "a"))
        assert call(f"compare {' '.join(found)} --out s/a")[0] == 0
    assert len(rows(here / "s/a/comparison.csv")) == 3


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "s/blob s/sbtm s/gauss",
            "'problem' must be the same in all runs (s/blob has graphlandau.problems.BKW and s/gauss",
        ),
        ("s/blob s/strong", "'problem.strength' must be the same in all runs (s/blob has 0.0625 and s/strong has 0.1)"),
        (
            "s/blob s/wave",
            "'problem' must be the same in all runs (s/blob has graphlandau.problems.BKW and s/wave has graphlandau",
        ),
        ("s/blob letters", "'run_dir' must be the folder of a run (got letters, which has no config.yaml)"),
        ("s/blob nowhere", "'run_dir' must be the folder of a run (got nowhere, which has no config.yaml)"),
        ("s/blob s/sbtm ./s/../s/blob", "'run_dir' must not be given twice (got s/../s/blob)"),
        ("s/blob s/sweep.csv", "'run_dir' must be two or more run folders (got 1)"),
        ("", "'run_dir' must be two or more run folders (got 0)"),
        ("s/blob s/sbtm --outt c", "'outt' is not a known key of compare; did you mean 'out'?"),
        ("s/blob s/sbtm --out=", "'out' must name a folder (got '')"),
        ("s/blob s/sbtm --out s/sweep.csv/c", "'out' must be a writable folder (got s/sweep.csv/c: Not a directory)"),
    ],
)
def test_compare_refuses(call: Call, here: Path, line: str, message: str) -> None:
    before = sorted(str(path) for path in here.rglob("*"))
    status, out, err = call(f"compare {line}")
    assert (status, out) == (2, "")
    assert err.startswith("error: ")
    assert message in err
    assert err.count("\n") == 1
    assert sorted(str(path) for path in here.rglob("*")) == before


BLOB, SBTM = {"method": "graphlandau.methods.Blob"}, {"method": "graphlandau.methods.SBTM"}
MLP, RESIDUAL = {"score": "graphlandau.nn.MLPScore"}, {"score": "graphlandau.nn.ResidualScore"}


@pytest.mark.parametrize(
    ("configs", "expected"),
    [
        # Arguments that only one of the classes has say nothing that its name does not.
        ([BLOB | {"method.bandwidth": 0.1}, SBTM | MLP | {"method.steps": 9}], ["blob", "sbtm mlp"]),
        ([SBTM | MLP | {"dt": 0.1}, SBTM | RESIDUAL | {"dt": 0.1}], ["mlp", "residual"]),
        (
            [SBTM | MLP | {"score.width": 8}, SBTM | MLP | {"score.width": 16}, BLOB],
            ["sbtm mlp, width=8", "sbtm mlp, width=16", "blob"],
        ),
        # What is neither choice, particles, dt nor seed is named only where it tells two runs apart.
        ([BLOB | {"threads": 1, "dt": 0.1}, SBTM | {"threads": 2, "dt": 1e-3}], ["blob, dt=0.1", "sbtm, dt=0.001"]),
        ([BLOB | {"threads": 1}, BLOB | {"threads": 2}], ["threads=1", "threads=2"]),
        ([BLOB | {"particles": 10000}, BLOB | {"particles": 200}], ["particles=10000", "particles=200"]),
        (
            [SBTM | {"method.steps": i, "score.steps": j} for i, j in ((1, 1), (1, 2), (2, 1))],
            ["method.steps=1, score.steps=1", "method.steps=1, score.steps=2", "method.steps=2, score.steps=1"],
        ),
        ([BLOB, BLOB, SBTM], ["blob (a)", "blob (b)", "sbtm (c)"]),
        ([BLOB, BLOB], ["a", "b"]),
        # Values that look alike when shortened are not alike.
        ([BLOB | {"dt": 0.1}, BLOB | {"dt": 0.1 + 1e-9}], ["dt=0.1 (a)", "dt=0.1 (b)"]),
    ],
)
def test_labels_are_what_differs(configs: list[dict], expected: list[str]) -> None:
    assert labels(configs, ["a", "b", "c"][: len(configs)]) == expected


def test_title_is_what_is_common(here: Path) -> None:
    found = read_runs(["s/blob", "s/more"])
    assert title(list(found.values())) == "2 runs · bkw_2d · blob"
    assert title(list(read_runs(["s/blob", "s/sbtm"]).values())) == "2 runs · bkw_2d · 60 particles"


def test_an_unreadable_configuration_is_refused(here: Path) -> None:
    (here / "s/more/config.yaml").write_text("a: [")
    with pytest.raises(ValueError, match=re.escape("'config' must be a YAML file (got 's/more/config.yaml'")):
        compare_runs(["s/blob", "s/more"], "c")
    assert not Path("c").exists()
    (here / "s/more/config.yaml").write_text(yaml.safe_dump({"seed": 0}))
    with pytest.raises(ValueError, match=re.escape("'problem' must be the same in all runs")):
        compare_runs(["s/blob", "s/more"], "c")
