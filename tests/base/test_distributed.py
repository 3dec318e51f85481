import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import ranks
import torch

from graphlandau.base import distributed
from graphlandau.cli import main as cli
from graphlandau.methods import Blob, Collisions
from graphlandau.problems import BKW
from graphlandau.run.checkpoint import load_checkpoint
from graphlandau.run.simulation import Simulation

HERE = Path(__file__).parents[1]
MORTAL = (
    "run --problem bkw_2d --method ranks.Mortal --particles 60 --dt 0.01 --t_end 0.1 --checkpoint_every 2"
    " --figures false --baselines false --dtype float64 --out"
)
SMALL = "run --problem bkw_2d --method blob --particles {} --dt 0.01 --t_end 0.02 --figures false --out out"


@pytest.fixture(autouse=True)
def _one_thread(small_and_quick):
    """As each of the processes has."""


def start(where, *arguments, count=2):
    """Start ``ranks.py`` as torchrun would, without the seconds that torchrun itself takes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, HERE / "ranks.py", *arguments]
    return [
        subprocess.Popen(
            command,
            env=os.environ | shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            cwd=where,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(count)
    ]


def finish(processes):
    """Status, standard output and standard error of each."""
    said = [process.communicate(timeout=120) for process in processes]
    return [(process.returncode, *texts) for process, texts in zip(processes, said, strict=True)]


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """What each of two processes has found; they resume a run that one process has begun, and begin one."""
    here = tmp_path_factory.mktemp("together")
    ranks.half_a_run(here / "by one")
    ended = finish(start(here, "compute", here))
    assert [status for status, _, _ in ended] == [0, 0], ended
    return here, [torch.load(here / f"{rank}.pt") for rank in (0, 1)]


@pytest.fixture(scope="module")
def alone():
    """What one process finds, each thing when it is asked for."""
    found = {}
    return lambda name: found.setdefault(name, ranks.COMPUTED[name]())


def relative_error(found, exact):
    assert found.keys() == exact.keys()
    assert found
    return max(float((found[k] - exact[k]).abs().max() / exact[k].abs().max()) for k in exact)


@pytest.mark.parametrize("name", ["rows", "dense", "moments", "other sums", "descent"])
def test_sums_and_derivatives_are_those_of_one_process(together, alone, name):
    # Other orders of summation: some 1e2 roundings of 1e-16; second derivatives of the drift of Maxwell molecules, a
    # difference of moments, lose three digits more.
    for found in together[1]:
        assert relative_error(found["computed"][name], alone(name)) < 1e-10


@pytest.mark.parametrize("kind", ["blob", "closed form", "implicit", "hutchinson"])
def test_twenty_steps_are_those_of_one_process(together, alone, kind):
    first, second = (found["computed"][f"run: {kind}"] for found in together[1])
    assert relative_error(first, alone(f"run: {kind}")) < 1e-6
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_checkpoint_is_resumed_by_another_number_of_processes(together, alone):
    # Both continue a run at its tenth step of twenty, one process where two have been and the other way round.
    here, found = together
    exact = alone("run: implicit")["v"]
    for continued in (ranks.the_rest(here / "by two"), *(one["continued"] for one in found)):
        assert float((continued - exact).abs().max() / exact.abs().max()) < 1e-6
    assert sorted(entry.name for entry in (here / "by two").iterdir()) == sorted(
        entry.name for entry in (here / "by one").iterdir()
    )


def test_processes_agree(together):
    for rank, found in enumerate(together[1]):
        assert found["agreed"] == (0, [0, 1], 2), rank


def test_refusals_are_the_same_in_all_processes(together):
    said = together[1][0]["refused"]
    assert together[1][1]["refused"] == said
    assert said["config"] == "'particles' must be the same in all processes (got 100 in rank 0, 101 in rank 1)"
    assert said["device"] == "'device' must be auto, cpu or cuda for several processes (got 'cuda:1')"
    assert said["first"] == "of rank 0"


def test_refuses_more_processes_than_particles_or_blocks(monkeypatch):
    monkeypatch.setattr(distributed, "world", lambda: 3)
    with pytest.raises(ValueError, match=r"^'particles' must be at least 3, one for each process \(got 2\)$"):
        Simulation(BKW(d=2), Blob(), particles=2)
    blocks = r"^'batch_size' must be at most 33, so that each of 3 processes has a block \(got 34\)$"
    with pytest.raises(ValueError, match=blocks):
        Simulation(BKW(d=2), Blob(collisions=Collisions(batch_size=34)), particles=100)
    assert Simulation(BKW(d=2), Blob(collisions=Collisions(batch_size=33)), particles=100).particles == 100


def test_refuses_more_processes_than_gpus(monkeypatch):
    monkeypatch.setattr(distributed, "world", lambda: 2)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setenv("LOCAL_RANK", "1")
    with pytest.raises(ValueError, match=r"^'device' must be cpu for more processes than GPUs"):
        distributed.own_device("cuda")
    assert distributed.own_device("cpu") == "cpu"


@pytest.fixture(scope="module")
def commands(tmp_path_factory):
    """Folder, and output of each of two processes that were given some commands one after the other."""
    here = tmp_path_factory.mktemp("commands")
    differ, unknown = SMALL.format("10RANK"), SMALL.format(100).replace("bkw_2d", "bkw_9d")
    (here / "of_0.yaml").write_text("seed: 0\n")
    lines = (
        differ,
        unknown,
        "list",
        SMALL.format(100),
        SMALL.format(100) + " --config of_RANK.yaml",
        f"{MORTAL} killed",
    )
    first, second = finish(start(here, *lines))
    assert first[0] == 0
    assert second[0] < 0  # killed in the last one
    assert "Traceback" not in first[2] + second[2]
    # What each command returns stands in a line.
    status = [re.split(r"^(\d+)\n", said, flags=re.MULTILINE) for said in (first[1], second[1])]
    return here, status, (first[2], second[2])


def test_errors_of_all_processes_are_said_once(commands):
    _, (first, second), said = commands
    assert first[1:6:2] == second[1:6:2] == ["2", "2", "2"]
    errors = [line for line in said[0].splitlines() if line.startswith("error: ")]
    assert errors[0] == "error: 'particles' must be the same in all processes (got 100 in rank 0, 101 in rank 1)"
    assert "got 'bkw_9d'; did you mean" in errors[1]
    assert errors[2] == "error: torchrun is for the command 'run' (got 'list')"
    assert len(errors) == 4  # and one when the other is killed


def test_error_of_one_process_is_said_with_its_rank(commands):
    # The other one, whose connection breaks then, has nothing to add.
    _, (first, second), said = commands
    assert first[9] == "1"
    assert second[9] == "2"
    (error,) = said[1].splitlines()
    assert re.fullmatch(r"error: 'config' .*of_1\.yaml.* \(rank 1 of 2\)", error)


def test_run_of_two_processes_is_reported_once(commands):
    here, (first, second), _ = commands
    assert first[7] == second[7] == "0"
    assert "density error" in first[6]
    assert "".join(second[::2]) == ""
    assert json.loads((here / "out" / "summary.json").read_text())["processes"] == 2


def test_killed_process_ends_the_run_and_leaves_a_checkpoint(commands, monkeypatch):
    here, (first, _), said = commands
    assert first[11] == "1"
    error = said[0].splitlines()[-1]
    assert error.startswith("error: rank 1 of 2 ended")
    assert error.endswith("at step 7 of 10; continue with: graphlandau run --resume killed")
    assert load_checkpoint(here / "killed" / "checkpoint" / "latest.safetensors").record["step"] == 6
    # One process goes on where two were stopped, to where it would have come alone.
    monkeypatch.chdir(here)
    monkeypatch.syspath_prepend(HERE)
    assert cli.main(["run", "--resume", "killed"]) == 0
    assert cli.main(f"{MORTAL} alone".split()) == 0
    v, exact = (load_checkpoint(here / run / "checkpoint" / "latest.safetensors") for run in ("killed", "alone"))
    assert v.record["step"] == exact.record["step"] == 10
    torch.testing.assert_close(v.tensors["state.v"], exact.tensors["state.v"], rtol=1e-6, atol=1e-9)


@pytest.mark.slow
def test_torchrun_makes_the_run_of_one_process(tmp_path, monkeypatch):
    run = (
        "run --problem bimaxwellian_2d --method sbtm --score closed_form --particles 301 --dt 0.1 --t_end 0.5"
        " --dtype float64 --figures false --out"
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "graphlandau"]
    done = subprocess.run([*command, *run.split(), "two"], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    monkeypatch.chdir(tmp_path)
    assert cli.main([*run.split(), "one"]) == 0
    v, exact = (load_checkpoint(tmp_path / run / "checkpoint" / "latest.safetensors") for run in ("two", "one"))
    torch.testing.assert_close(v.tensors["state.v"], exact.tensors["state.v"], rtol=1e-6, atol=1e-9)


@pytest.mark.slow
def test_torchrun_ends_when_a_process_is_killed(tmp_path):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "graphlandau"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(
        [*command, *MORTAL.split(), "out"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 1
    (error,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    # By the broken connection, or by the signal that torchrun sends then.
    assert re.match("error: (rank 1 of 2 ended|interrupted).* continue with: graphlandau run --resume out", error)
    assert load_checkpoint(tmp_path / "out" / "checkpoint" / "latest.safetensors").record["step"] == 6
