"""Sweeps: the grid is the product, each run is the single run, and what is there is not done twice."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from graphlandau import plotting
from graphlandau.cli import main as cli
from graphlandau.cli import sweep
from graphlandau.cli.arguments import read_arguments, read_cases, read_values, to_arguments
from graphlandau.cli.sweep import grid, run_sweep
from graphlandau.cli.workers import Worker
from graphlandau.methods import Blob
from graphlandau.run.checkpoint import load_checkpoint
from graphlandau.run.observers.checkpoints import Checkpoints

BASE = "--problem bkw_2d --dt 0.02 --t_end 0.1 --checkpoint_every 2 --snapshots 2 --baselines false --figures false"
SWEEP = f"sweep --out s {BASE} --method blob --over particles=60,50"
Call = Callable[[str], tuple[int, str, str]]


class InProcess:
    """Runs the command at once in this process, where the real one takes seconds to import torch."""

    started: ClassVar[list[list[str]]] = []

    def start(self, arguments: list[str]) -> None:
        self.started.append(arguments)
        self.text = io.StringIO()
        with redirect_stderr(self.text), redirect_stdout(io.StringIO()):
            self.status = cli.main(arguments)

    def poll(self) -> int:
        return self.status

    def said(self) -> str:
        return self.text.getvalue().strip()

    def close(self) -> None:
        """There is no process."""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Work in an empty folder, in one thread, without waiting for the disk; runs are in this process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "fsync", lambda _: None)
    monkeypatch.setattr(sweep, "Worker", InProcess)
    InProcess.started.clear()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield tmp_path
    torch.set_num_threads(threads)


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    def called(line: str) -> tuple[int, str, str]:
        capsys.readouterr()
        status = cli.main(shlex.split(line))
        return status, *capsys.readouterr()

    return called


def particles(run: str) -> torch.Tensor:
    return load_checkpoint(Path(run) / "checkpoint" / "latest.safetensors").part("state")["v"]


def table() -> dict[str, dict[str, str]]:
    with open("s/sweep.csv", newline="") as file:
        return {row["folder"]: row for row in csv.DictReader(file)}


def contents() -> dict[str, tuple[int, bytes]]:
    files = [path for path in Path("s").rglob("*") if path.is_file() and path.name != "sweep.csv"]
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


VALUES = st.lists(st.one_of(st.integers(), st.floats(allow_nan=False), st.text(max_size=8)), min_size=1, max_size=4)


@settings(max_examples=50)
@given(first=VALUES, second=VALUES, cases=st.sampled_from([None, {"x": ["--method", "blob"], "y": []}]))
def test_grid_is_the_product(first, second, cases):
    try:
        runs = grid(["--dt", "0.1"], {"a": first, "b.c": second}, cases)
    except ValueError as error:
        # Values that give one folder are refused, whatever they are.
        assume("two runs would have the folder" not in str(error))
        raise
    wanted = [(case, x, y) for case in cases or {"": 0} for x in first for y in second]
    assert len(runs) == len(wanted)
    for (name, arguments), (case, x, y) in zip(runs.items(), wanted, strict=True):
        assert re.fullmatch(r"[\w.+=,-]+", name)
        read = read_arguments(arguments)
        text = [value if isinstance(value, str) else json.dumps(value) for value in (x, y)]
        assert (read["a"], read["b.c"], read["dt"]) == ([text[0]], [text[1]], ["0.1"])
        assert ("method" in read) == (case == "x")
        assert name.startswith(f"{case}," if case else "a=")


ODD = st.sampled_from(["", "0.1", "-3", "-h", "--help", "--a=b", "a b", "=", "[1, 2]", "'"])


@given(st.dictionaries(st.sampled_from(["dt", "problem.gamma", "config"]), st.lists(ODD, min_size=1, max_size=3)))
def test_arguments_are_read_back(pairs):
    assert read_arguments(to_arguments(pairs)) == pairs


def test_lists_and_cases_of_the_command_line():
    texts = ["dt= 0.1, 0.2", "method.bandwidth=[silverman, 0.3, null]", "score.hidden=[[8, 8]]"]
    assert read_values("over", texts) == {
        "dt": ["0.1", "0.2"],
        "method.bandwidth": ["silverman", 0.3, None],
        "score.hidden": [[8, 8]],
    }
    runs = grid([], read_values("over", texts))
    assert runs["dt=0.1,method.bandwidth=null,score.hidden=_8,_8_"][-4:] == [
        "--method.bandwidth",
        "null",
        "--score.hidden",
        "[8, 8]",
    ]
    assert read_cases("case", ["a=--out 'b c'"]) == {"a": ["--out", "b c"]}


@pytest.mark.parametrize(
    ("axes", "cases", "message"),
    [
        ({"dt": [1, "1"]}, None, "two runs would have the folder 'dt=1'"),
        ({"dt": []}, None, "'dt' must be given at least one value"),
        ({}, None, "nothing varies"),
        ({"seed": [1]}, None, "'seed' must not be varied and be set for all runs too"),
        ({"dt": [1]}, {"x": ["--dt", "2"]}, "'dt' must not be varied and be set in the case 'x' too"),
        ({"score": ["long." * 50]}, None, "would have a name of 256 letters: name the cases"),
    ],
)
def test_grid_refuses(axes, cases, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        grid(["--seed", "1"], axes, cases)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (f"{SWEEP} --over bandwith=1", "'bandwith' is not a known key"),
        (f"{SWEEP} --over method.bandwith=0.1,0.2", "did you mean 'method.bandwidth'?"),
        (f"{SWEEP} --over dt2=1", "(in the run particles=60,dt2=1)"),
        (f"{SWEEP} --over seed=0,x", "'seed' must be an integer (got 'x') (in the run particles=60,seed=x)"),
        (f"{SWEEP},1", "'particles' must be an integer >= 2 (got 1) (in the run particles=1)"),
        (f"{SWEEP.replace('--dt 0.02', '')} --over dt=0.02,0.03", "'dt' must divide t_end - t_start = 0.1"),
        (f"{SWEEP} --score mlp", "'score' must not be given"),
        (f"{SWEEP} --particles 4", "'particles' must not be varied and be set for all runs too"),
        (f"{SWEEP} --resume s", "'resume' must not be given for a run of a sweep"),
        (f"{SWEEP} --print_config", "'print_config' must not be given for a run of a sweep"),
        (f"{SWEEP} --over out=a", "'out' must not be given for a run of a sweep"),
        (f"{SWEEP} --jobs 0", "'jobs' must be an integer >= 1 (got '0')"),
        (f"{SWEEP} --over seed", "'over' must be KEY=V1,V2,... (got 'seed')"),
        (f"{SWEEP} --over seed=0,,1", "'over' must be KEY=V1,V2,... or KEY=[...]"),
        (f"{SWEEP} --over 'seed=[0, 1'", "'over' must be KEY=V1,V2,... or KEY=[...]"),
        (f"{SWEEP} --over particles=7", "'over' must be given once for particles"),
        (f"{SWEEP} --case a/b='--seed 1'", "'case' must have a name of letters"),
        (f"{SWEEP} --case a=seed", "'case' a must be options as of a run (got 'seed': unexpected 'seed'"),
        (f"{SWEEP} --commands --over bandwith=1", "'bandwith' is not a known key"),
        (f"sweep {BASE} --over seed=0", "'out' must name the folder of the sweep (got '')"),
        (f"sweep {BASE} --out s", "'over' or 'case' must be given"),
        (f"{SWEEP} --out taken/x", "'out' must be a writable folder (got taken/x: Not a directory)"),
    ],
)
def test_sweep_refuses_before_the_first_run(call: Call, here: Path, line: str, message: str) -> None:
    (here / "taken").touch()
    status, out, err = call(line)
    assert (status, out) == (2, "")
    assert message in err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert os.listdir(here) == ["taken"]
    assert InProcess.started == []


def test_each_run_is_the_single_run(call: Call) -> None:
    status, out, err = call(f"{SWEEP.replace('--method blob', '')} --case b='--method blob' --case g='--method sbtm'")
    assert status == 0
    assert list(table()) == ["b,particles=60", "b,particles=50", "g,particles=60", "g,particles=50"]
    assert err.count("\n[") + err.startswith("[") == 4
    assert "[3 of 4] g,particles=60: done in" in err
    assert len(out.splitlines()) == 6
    assert call(f"run {BASE} --method sbtm --particles 50 --out single")[0] == 0
    assert torch.equal(particles("single"), particles("s/g,particles=50"))
    assert Path("single/config.yaml").read_text() == Path("s/g,particles=50/config.yaml").read_text()
    single = json.loads(Path("single/summary.json").read_text())
    row = table()["g,particles=50"]
    assert (row["status"], row["method"], row["score"], row["error"]) == ("done", "sbtm", "closed_form", "")
    clock = {"wall_seconds", "setup_seconds", "seconds_per_step", "covariance"}
    assert {key: row[key] for key in single.keys() - clock} == {
        key: "" if value is None else str(value) for key, value in single.items() if key not in clock
    }


def test_what_is_finished_is_left_alone(call: Call) -> None:
    assert call(SWEEP)[0] == 0
    before = contents()
    assert call(f"{SWEEP},40 --jobs 2")[0] == 0
    after = contents()
    assert {name: after[name] for name in before} == before
    assert [arguments[arguments.index("--particles") + 1] for arguments in InProcess.started] == ["60", "50", "40"]
    assert [row["status"] for row in table().values()] == ["done"] * 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            ("--t_end 0.1", "--t_end 0.2"),
            "'t_end' must be what it was, or 'out' another folder (got 0.2; s/particles=60",
        ),
        (("--method blob", "--method sbtm"), "'method' must be what it was"),
        (("--method blob", "--method blob --method.bandwidth 0.3"), "'method.bandwidth' must be what it was"),
    ],
)
def test_sweep_refuses_a_folder_with_another_run(call: Call, change: tuple[str, str], message: str) -> None:
    line = f"sweep --out s {BASE} --method blob --over particles=60"
    call(line)
    before = contents()
    status, _, err = call(line.replace(*change))
    assert status == 2
    assert message in err
    assert contents() == before


def test_a_run_that_fails_stops_no_other_and_is_tried_again(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(self, state):
        if state.v.size(0) == 60 and state.t > 0.05:
            raise RuntimeError("first\nsecond")
        return -state.v, None

    line = f"{SWEEP} --log_det none"
    monkeypatch.setattr(Blob, "score", breaks)
    status, out, err = call(line)
    assert status == 1
    assert err.splitlines()[-1].startswith("error: 1 of 2 runs failed")
    rows = table()
    assert [row["status"] for row in rows.values()] == ["failed", "done"]
    assert rows["particles=60"]["error"].startswith("RuntimeError: first at step 3 of 5")
    assert "RuntimeError: first" in out.splitlines()[1]
    monkeypatch.setattr(Blob, "score", lambda self, state: (-state.v, None))
    assert call(line)[0] == 0
    assert InProcess.started[2:] == [["run", "--resume", "s/particles=60"]]
    assert table()["particles=60"]["error"] == ""
    call(f"run {BASE} --method blob --log_det none --particles 60 --out single")
    assert torch.equal(particles("single"), particles("s/particles=60"))


def test_runs_that_diverge_are_rows(call: Call) -> None:
    line = "sweep --out s --problem bkw_2d --method blob --particles 20 --t_end 1e9 --figures false --over dt=1e8,5e7"
    status, _, _ = call(line)
    assert status == 1
    for row in table().values():
        assert row["status"] == "failed"
        assert "became non-finite at step" in row["error"]


def test_an_interrupted_run_is_continued(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    before_evaluate = Checkpoints.before_evaluate

    def interrupt(self, run):
        before_evaluate(self, run)
        if run.step == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Checkpoints, "before_evaluate", interrupt)
        assert call(f"run {BASE} --method blob --particles 60 --out s/particles=60")[0] == 130
    assert call(SWEEP)[0] == 0
    assert InProcess.started[0] == ["run", "--resume", "s/particles=60"]
    call(f"run {BASE} --method blob --particles 60 --out single")
    assert torch.equal(particles("single"), particles("s/particles=60"))


def test_a_run_without_figures_is_done(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether by an error of the figures, or by a kill in the middle of them."""
    monkeypatch.setattr(plotting, "plot_run", lambda _: 1 / 0)
    line = SWEEP.replace("--figures false", "--figures true")
    assert call(line)[0] == 0
    assert [row["status"] for row in table().values()] == ["done"] * 2
    started = InProcess.start

    def killed(self, arguments):
        started(self, arguments)
        self.status = -9

    monkeypatch.setattr(InProcess, "start", killed)
    assert call(f"{line} --seed 3".replace("--out s", "--out t"))[0] == 0


def test_a_full_disk_stops_the_sweep_in_one_line(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    write_csv = sweep.write_csv

    def full(path, rows):
        if rows[0]["status"] == "done":
            raise OSError(28, "No space left on device")
        write_csv(path, rows)

    with monkeypatch.context() as patched:
        patched.setattr(sweep, "write_csv", full)
        status, _, err = call(SWEEP)
    assert status == 1
    assert "No space left on device; once cured, the same command continues: graphlandau sweep" in err.splitlines()[-1]
    assert call(SWEEP)[0] == 0


def test_commands_are_the_runs_that_are_left(call: Call, here: Path) -> None:
    line = f"{SWEEP} --over 'method.bandwidth=[silverman, 0.5]' --commands"
    status, out, err = call(line)
    assert (status, err, InProcess.started) == (0, "", [])
    assert os.listdir(here) == []
    first, *others = out.splitlines()
    assert len(others) == 3
    assert all("--threads" not in command for command in others)
    assert first.startswith("graphlandau run --problem bkw_2d")
    assert call(first.removeprefix("graphlandau "))[0] == 0
    assert call(line)[1].splitlines() == others
    Path("s/particles=60,method.bandwidth=silverman/summary.json").unlink()
    resumed = "graphlandau run --resume s/particles=60,method.bandwidth=silverman"
    assert call(line)[1].splitlines() == [resumed, *others]


def test_sweep_of_given_runs_returns_what_came_of_each() -> None:
    runs = {"a": [*BASE.split(), "--method", "blob", "--particles", "60"]}
    runs["b"] = [*runs["a"], "--seed", "3"]
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    rows = run_sweep(runs, "s", jobs=2)
    assert [(row["name"], row["status"], row["error"]) for row in rows] == [("a", "done", ""), ("b", "done", "")]
    assert [row["summary"]["seed"] for row in rows] == [0, 3]
    assert rows[1]["summary"] == json.loads((rows[1]["folder"] / "summary.json").read_text())
    # What differs between the runs is a column, also where it is given for one of them only.
    assert [row["seed"] for row in table().values()] == ["0", "3"]
    # Looking at the runs again changes neither the generator nor the threads of a script.
    torch.set_rng_state(state)
    run_sweep(runs, "s", jobs=1)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize(
    ("processors", "own", "jobs", "share"), [(16, 8, 1, 8), (16, 8, 4, 4), (16, 2, 4, 2), (2, 2, 3, 1)]
)
def test_processors_are_shared(monkeypatch: pytest.MonkeyPatch, processors, own, jobs, share) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(processors)), raising=False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: own)
    assert sweep._share(jobs) == share


def test_threads_that_are_given_are_kept(call: Call, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "_share", lambda jobs: 10**6)  # would be refused
    (here / "run.yaml").write_text("threads: 1\nmethod: blob\n")
    for option in ("--config run.yaml", "--method blob --threads 1"):
        InProcess.started.clear()
        assert call(f"sweep --out {len(option)} {BASE} --over particles=50 {option}")[0] == 0
        assert InProcess.started[0].count("--threads") == option.count("--threads")


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_interrupt_ends_the_processes(monkeypatch: pytest.MonkeyPatch, call: Call, sent: signal.Signals) -> None:
    # A shell starts what runs in its background with Ctrl-C ignored; here somebody is at the keyboard.
    keyboard = signal.signal(signal.SIGINT, signal.default_int_handler)
    before = signal.getsignal(signal.SIGTERM)
    workers: list[Worker] = []

    class Sleeper(Worker):
        command: ClassVar[list[str]] = [sys.executable, "-c", "import time; time.sleep(60)"]

        def start(self, arguments):
            super().start(arguments)
            workers.append(self)
            if len(workers) == 2:
                threading.Timer(0.2, signal.raise_signal, [sent]).start()

    monkeypatch.setattr(sweep, "Worker", Sleeper)
    line = f"{SWEEP} --over seed=0,1 --jobs 2"
    try:
        status, _, err = call(line)
    finally:
        signal.signal(signal.SIGINT, keyboard)
    assert status == 130
    assert err.splitlines()[-1].startswith("error: interrupted; the same command continues: graphlandau sweep --out s")
    assert [worker._process and worker._process.returncode for worker in workers] == [-signal.SIGTERM] * 2
    assert [row["status"] for row in table().values()] == ["waiting"] * 4
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_process_that_is_killed_says_by_what(monkeypatch: pytest.MonkeyPatch, call: Call) -> None:
    """Its worker ends with it, and another one takes the next run."""
    code = "import json, os, sys; task = json.loads(input()); open(task['said'], 'w').write('SystemError: odd'); "
    code += "os.kill(os.getpid(), 9) if '60' in task['arguments'] else sys.exit(1)"

    class Dying(Worker):
        command: ClassVar[list[str]] = [sys.executable, "-c", code]

    monkeypatch.setattr(sweep, "Worker", Dying)
    assert call(SWEEP)[0] == 1
    assert [row["error"] for row in table().values()] == ["ended by SIGKILL", "SystemError: odd"]


def test_a_run_in_a_process_of_its_own(monkeypatch: pytest.MonkeyPatch, here: Path, call: Call) -> None:
    monkeypatch.undo()
    monkeypatch.chdir(here)
    # A file of that name in the current folder must not hide the package's own imports.
    (here / "yaml.py").write_text("raise RuntimeError")
    lab = "open('log.txt', 'a').write('imported ')\nfrom graphlandau.problems import BKW\n"
    (here / "counted_lab.py").write_text(
        f"{lab}class Plasma(BKW):\n    def __init__(self):\n        super().__init__(2)\n"
    )
    line = BASE.replace("bkw_2d", "counted_lab.Plasma")
    assert call(f"sweep --out s {line} --method blob --over particles=50,60,40")[0] == 0
    # Once by the sweep, which checks all runs, and once by its one worker, which makes three of them.
    assert (here / "log.txt").read_text() == "imported imported "
    call(f"run {line} --method blob --particles 60 --out single")
    assert torch.equal(particles("single"), particles("s/particles=60"))
