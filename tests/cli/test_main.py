import json
import os
import re
import resource
import shlex
import subprocess
import sys
from importlib.metadata import version

import h5py
import numpy as np
import pytest
import torch
import yaml

import graphlandau as package
from graphlandau import plotting
from graphlandau.cli import main as cli
from graphlandau.methods import Blob, Training
from graphlandau.run.checkpoint import load_checkpoint
from graphlandau.run.observers.checkpoints import Checkpoints

RUN = (
    "run --problem bkw_2d --method blob --particles 60 --dt 0.02 --t_end 0.2"
    " --snapshots 3 --checkpoint_every 3 --figures false"
)
SIZES = {"width": 8, "depth": 1, "velocity_width": 6, "velocity_depth": 1, "time_width": 4}
TRAINED_RUN = (
    "run --problem bkw_2d --method pinn_pm --particles 60 --dt 0.05 --t_end 0.2 --snapshots 3 --checkpoint_every 3"
    " --figures false --dtype float64 --method.iterations 25 --method.training_particles 30"
    " --method.collocation_times 2 --method.save_every 10 --method.learning_rate 1e-2"
)
TRAINED_RUN += "".join(
    f" --{group} time_mlp" + "".join(f" --{group}.{key} {n}" for key, n in SIZES.items()) for group in ("score", "flow")
)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Work in an empty folder, in one thread, without waiting for the disk."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "fsync", lambda _: None)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield tmp_path
    torch.set_num_threads(threads)


@pytest.fixture
def graphlandau(capsys):
    """Call the command in this process: ``status, stdout, stderr``."""

    def call(line):
        capsys.readouterr()
        status = cli.main(line.split())
        return status, *capsys.readouterr()

    return call


def particles(run):
    return load_checkpoint(run / "checkpoint" / "latest.safetensors").part("state")["v"]


def snapshots(run):
    with h5py.File(run / "snapshots.h5") as file:
        return {f"{name}/{key}": file[name][key][()] for name in file for key in file[name]}


def test_run_leaves_a_whole_folder(graphlandau, here):
    status, out, err = graphlandau(f"{RUN} --out runs/a --seed 4")
    assert status == 0
    assert sorted(os.listdir("runs/a")) == ["checkpoint", "config.yaml", "metrics.csv", "snapshots.h5", "summary.json"]
    summary = json.loads((here / "runs/a/summary.json").read_text())
    assert (summary["problem"], summary["method"], summary["score"]) == ("bkw_2d", "blob", None)
    assert (summary["particles"], summary["steps"], summary["seed"]) == (60, 10, 4)
    assert "density error" in out
    assert f"exact score {summary['rel_l2_density_exact_score']:.3g}" in out
    assert "runs/a" in out
    assert "preparing blob: 60 particles" in err


def test_run_draws_its_figures(graphlandau, here, monkeypatch):
    def plot_run(folder):
        (folder / "figures").mkdir()
        (folder / "figures" / "a.png").touch()
        return [folder / "figures" / "a.png"]

    monkeypatch.setattr(plotting, "plot_run", plot_run)
    status, out, _ = graphlandau(f"{RUN} --figures true --out a")
    assert status == 0
    assert f"picture{' ' * 21}a/figures/a.png" in out
    monkeypatch.setattr(plotting, "plot_run", lambda _: 1 / 0)
    status, _, err = graphlandau(f"{RUN} --figures true --out b")
    assert status == 0  # what was computed is complete
    assert "no figures (ZeroDivisionError" in err
    assert "graphlandau plot b" in err
    assert (here / "b/summary.json").exists()


def test_figures_of_another_format(graphlandau, here, monkeypatch):
    asked = []
    monkeypatch.setattr(plotting, "plot_run", lambda folder, *kind: asked.append((folder.name, *kind)) or [])
    assert graphlandau(f"{RUN} --figures pdf --out a")[0] == 0
    assert graphlandau("plot a")[0] == graphlandau("plot a --figures svg")[0] == 0
    assert asked == [("a", "pdf"), ("a", "png"), ("a", "svg")]
    for words in ("gif", "off", "PDF"):
        status, _, err = graphlandau(f"{RUN} --figures {words} --out b")
        assert (status, err.count("\n")) == (2, 1)
        assert f"'figures' must be true or false or one of png, pdf, svg (got '{words}')" in err
    assert graphlandau("plot a --figure svg")[0] == 2


def test_default_folder_is_named_after_the_choices_and_numbered(graphlandau, here):
    graphlandau(RUN)
    graphlandau(RUN)
    assert sorted(os.listdir("runs")) == ["bkw_2d-blob", "bkw_2d-blob-2"]


def test_rerun_from_the_own_configuration_gives_the_same_bits(graphlandau, here):
    graphlandau(f"{RUN} --seed 3 --out a")
    status, _, _ = graphlandau("run --config a/config.yaml --out b")
    assert status == 0
    assert torch.equal(particles(here / "a"), particles(here / "b"))
    a, b = (yaml.safe_load((here / run / "config.yaml").read_text()) for run in "ab")
    assert a == b
    assert "out" not in a
    assert graphlandau("run --config a/config.yaml")[0] == 0
    assert (here / "runs/bkw_2d-blob/summary.json").exists()


def test_print_config_writes_nothing(graphlandau, here):
    status, out, _ = graphlandau(f"{RUN} --method.bandwidth 0.4 --print_config")
    assert status == 0
    assert yaml.safe_load(out)["method"]["init_args"]["bandwidth"] == 0.4
    assert yaml.safe_load(out)["dt"] == 0.02
    assert os.listdir(here) == []


def test_the_command_that_continues_can_be_pasted(graphlandau, here, capsys, monkeypatch):
    """Whatever the folder is called: two spaces in a row, a dollar, a quote."""

    def interrupt(self, run):
        if run.step == 4:
            raise KeyboardInterrupt

    name = "my  runs/it's $HOME"
    monkeypatch.setattr(Checkpoints, "after_evaluate", interrupt)
    assert cli.main([*RUN.split(), "--out", name]) == 130
    command = capsys.readouterr().err.splitlines()[-1].partition("continue with: ")[2]
    assert shlex.split(command) == ["graphlandau", "run", "--resume", name]
    monkeypatch.undo()
    monkeypatch.chdir(here)
    assert cli.main(shlex.split(command)[1:]) == 0
    assert cli.main([*RUN.split(), "--out", name]) == 2
    assert shlex.join(["graphlandau", "run", "--resume", name]) in capsys.readouterr().err


def test_interrupted_run_says_how_to_continue(graphlandau, here, monkeypatch):
    graphlandau(f"{RUN} --out whole")
    before_evaluate = Checkpoints.before_evaluate

    def interrupt(self, run):
        before_evaluate(self, run)
        if run.step == 5:
            raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoints, "before_evaluate", interrupt)
    status, _, err = graphlandau(f"{RUN} --out cut")
    assert status == 130
    assert err.splitlines()[-1] == "error: interrupted at step 5 of 10; continue with: graphlandau run --resume cut"
    monkeypatch.undo()
    monkeypatch.chdir(here)
    status, _, err = graphlandau("run --resume cut")
    assert status == 0
    assert "continuing from step 3 of 10" in err
    assert torch.equal(particles(here / "cut"), particles(here / "whole"))


def test_finished_run_is_left_alone_or_continued(graphlandau, here):
    graphlandau(f"{RUN} --out a")
    before = (here / "a/summary.json").read_bytes()
    status, out, _ = graphlandau("run --resume a")
    assert status == 0
    assert "a is finished at t = 0.2" in out
    assert (here / "a/summary.json").read_bytes() == before
    status, _, err = graphlandau("run --resume a --t_end 0.1")
    assert status == 2
    assert "'t_end' must be at least 0.2, the end so far (got 0.1)" in err
    status, _, _ = graphlandau("run --resume a --t_end 0.3")
    assert status == 0
    graphlandau(RUN.replace("--t_end 0.2", "--t_end 0.3") + " --out b")
    assert torch.equal(particles(here / "a"), particles(here / "b"))
    assert json.loads((here / "a/summary.json").read_text())["t"] == 0.3
    assert yaml.safe_load((here / "a/config.yaml").read_text())["t_end"] == 0.3


def test_run_of_another_version_is_continued_or_refused_with_that_version(graphlandau, here):
    graphlandau(f"{RUN} --out a")
    config = here / "a/config.yaml"
    text = config.read_text().replace(f"# graphlandau {package.__version__}", "# graphlandau 0.0.9")
    config.write_text(text)
    assert graphlandau("run --resume a --t_end 0.22")[0] == 0
    config.write_text(text + "smoothness: 3\n")
    status, _, err = graphlandau("run --resume a --t_end 0.24")
    assert status == 2
    told = f"a/config.yaml, of graphlandau 0.0.9, torch {torch.__version__}, cannot be read by graphlandau "
    assert f"{told}{package.__version__}: 'smoothness'" in err.splitlines()[-1]
    # The present version's own: what is wrong stands in the file.
    config.write_text(text.replace("graphlandau 0.0.9", f"graphlandau {package.__version__}") + "smoothness: 3\n")
    status, _, err = graphlandau("run --resume a --t_end 0.24")
    assert status == 2
    assert err.splitlines()[-1].startswith("error: 'smoothness'")


def test_resume_takes_the_recorded_threads(graphlandau, here):
    graphlandau(f"{RUN} --threads 1 --out a")
    torch.set_num_threads(2)
    graphlandau("run --resume a --t_end 0.22")
    assert torch.get_num_threads() == 1


def test_threads_that_slow_a_run_down_are_said(graphlandau, monkeypatch):
    monkeypatch.setattr("graphlandau.base.threads._seconds", lambda count: {1: 0.1, 2: 0.9}[count])
    slow = "warning: 2 threads are 9 times as slow as one here, where others compute too: --threads 1 is faster"
    assert slow in graphlandau(f"{RUN} --threads 2 --out a")[2]
    assert "threads are" not in graphlandau("run --resume a --t_end 0.22 --threads 1")[2]


def test_late_refusal_of_a_method_is_a_failed_run(graphlandau, here, monkeypatch):
    def singular(self, state):
        if state.t > 0.1:
            raise ValueError("'v' must have a regular covariance (got a plane)")
        return -state.v, None

    monkeypatch.setattr(Blob, "score", singular)
    status, _, err = graphlandau(f"{RUN} --log_det none --out a")
    assert status == 1
    assert "(at step 6 of 10); once cured: graphlandau run --resume a" in err.splitlines()[-1]
    assert (here / "a/config.yaml").exists()


def test_own_classes_are_found_in_the_current_folder(graphlandau, here, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    (here / "own_nets_here.py").write_text("import torch\nclass Net(torch.nn.Linear):\n    pass\n")
    line = RUN.replace("blob", "sbtm") + " --score own_nets_here.Net --score.in_features 2 --score.out_features 2"
    status, out, _ = graphlandau(f"{line} --method.initial_steps 1 --method.steps 1 --out a")
    assert status == 0
    assert "sbtm · Net" in out


@pytest.mark.parametrize("error", [RuntimeError, TypeError, AttributeError, OSError, KeyError])
def test_run_that_breaks_ends_in_one_line(graphlandau, here, monkeypatch, error):
    def breaks_after(t_last):
        def score(self, state):
            if state.t > t_last:
                raise error("first\nsecond")
            return -state.v, None

        monkeypatch.setattr(Blob, "score", score)

    first = str(error("first\nsecond")).splitlines()[0]
    breaks_after(-1)
    status, _, err = graphlandau(f"{RUN} --log_det none --out a")
    assert status == 2
    assert err.splitlines()[-1] == f"error: the run could not start ({error.__name__}: {first})"
    assert os.listdir(here) == []
    breaks_after(0.1)
    status, _, err = graphlandau(f"{RUN} --log_det none --out a")
    assert status == 1
    assert err.splitlines()[-1] == (
        f"error: {error.__name__}: {first} at step 6 of 10; once cured: graphlandau run --resume a"
    )
    breaks_after(1)
    assert graphlandau("run --resume a")[0] == 0


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 80.00 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory: 40 bytes"),
    ],
)
def test_lack_of_memory_names_what_would_need_less(graphlandau, here, monkeypatch, error):
    def score(self, state):
        raise error

    monkeypatch.setattr(Blob, "score", score)
    needs = "need more memory than there is; take fewer --particles or a smaller --batch_size"
    status, _, err = graphlandau(f"{RUN} --log_det none --out a")
    assert status == 2
    who = "60 particles with the backend moments"
    assert err.splitlines()[-1] == f"error: the run could not start (MemoryError: {who} {needs})"
    _, _, err = graphlandau(f"{RUN} --problem anisotropic_coulomb_3d --dt 0.01 --t_end 0.1 --log_det none --out a")
    who = "60 particles with the backend dense"
    assert err.splitlines()[-1] == f"error: the run could not start (MemoryError: {who} {needs} or --backend mesh)"
    assert os.listdir(here) == []


def test_run_that_diverges_at_once_blames_its_input(graphlandau, here, monkeypatch):
    monkeypatch.setattr(Blob, "score", lambda self, state: (state.v / 0, None))
    status, _, err = graphlandau(f"{RUN} --log_det none --out a")
    assert status == 1
    assert err.splitlines()[-1].endswith("; change the input")
    assert os.listdir(here) == []


def test_resume_may_take_other_threads(graphlandau, here, monkeypatch):
    graphlandau(f"{RUN} --threads 1 --out a")
    config = here / "a/config.yaml"
    config.write_text(config.read_text().replace("threads: 1", "threads: 4096"))
    status, _, err = graphlandau("run --resume a --t_end 0.22")
    assert status == 2
    assert "'threads' must be at most" in err
    assert graphlandau("run --resume a --t_end 0.22 --threads 1")[0] == 0


def test_full_disk_at_the_first_checkpoint_leaves_no_trace(graphlandau, here, monkeypatch):
    def full(temporary, path):
        if path.suffix == ".safetensors":
            raise OSError(28, "No space left on device")
        os.replace(temporary, path)

    monkeypatch.setattr("graphlandau.base.files.replace_durably", full)
    status, _, err = graphlandau(f"{RUN} --out a")
    assert status == 2
    assert "could not start (OSError: [Errno 28] No space left on device)" in err
    assert os.listdir(here) == []


def test_full_disk_says_how_to_continue(graphlandau, here):
    """HDF5 would end the process by a segmentation fault."""
    line = RUN.replace("--particles 60", "--particles 700").replace("--snapshots 3", "--snapshots 6")
    graphlandau(f"{line} --out whole")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, ((here / "whole/snapshots.h5").stat().st_size * 2 // 3, hard))
    try:
        status, _, err = graphlandau(f"{line} --out a")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert status == 1
    told = r"error: OSError: \[Errno 27\] File too large at step [1-9] of 10; once cured: graphlandau run --resume a"
    assert re.fullmatch(told, err.splitlines()[-1])
    assert graphlandau("run --resume a")[0] == 0
    assert torch.equal(particles(here / "a"), particles(here / "whole"))


def test_compiling_is_announced_for_sums_over_pairs_only(graphlandau):
    assert "compiled" not in graphlandau(f"{RUN} --out a")[2]
    assert "step 0 of 10: kernels are compiled" in graphlandau(f"{RUN} --backend dense --out b")[2]


def files(folder):
    """Contents of all files of a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_run_that_is_trained_first_keeps_what_it_learned(graphlandau, here):
    status, out, err = graphlandau(f"{TRAINED_RUN} --out a --seed 4")
    assert status == 0
    assert "training: iteration 20 of 25" in err
    assert out.startswith("bkw_2d · pinn_pm · time_mlp")
    assert sorted(os.listdir("a/training")) == ["latest.safetensors", "losses.csv", "trained.safetensors"]
    assert [line.split(",")[0] for line in (here / "a/training/losses.csv").read_text().split()] == [
        "iteration", "10", "20", "25",
    ]  # fmt: skip
    summary = json.loads((here / "a/summary.json").read_text())
    assert [summary[key] for key in ("method", "score", "flow")] == ["pinn_pm", "time_mlp", "time_mlp"]
    assert graphlandau(f"{TRAINED_RUN} --out b --seed 4")[0] == 0
    assert graphlandau("run --config a/config.yaml --out c")[0] == 0
    for other in "bc":
        assert torch.equal(particles(here / "a"), particles(here / other))
    # Nothing is trained with a trained pair, for as many particles as one likes, by the flow or by the score.
    trained = "--method.trained a/training/trained.safetensors"
    status, _, err = graphlandau(f"{TRAINED_RUN} {trained} --out d --seed 4")
    assert status == 0
    assert "training:" not in err
    assert not (here / "d/training").exists()
    assert torch.equal(particles(here / "a"), particles(here / "d"))
    assert graphlandau(f"{TRAINED_RUN} {trained} --method.transport score --particles 7 --out e")[0] == 0
    assert particles(here / "e").shape == (7, 2)


@pytest.mark.parametrize("iteration", [4, 17])
def test_run_interrupted_while_it_trains_is_continued(graphlandau, here, monkeypatch, iteration):
    graphlandau(f"{TRAINED_RUN} --out whole")
    step = Training._step

    def interrupt(self):
        if self.iteration == iteration:
            raise KeyboardInterrupt
        return step(self)

    monkeypatch.setattr(Training, "_step", interrupt)
    status, _, err = graphlandau(f"{TRAINED_RUN} --out cut")
    assert status == 130
    assert err.splitlines()[-1] == "error: interrupted at step 0 of 4; continue with: graphlandau run --resume cut"
    monkeypatch.setattr(Training, "_step", step)
    status, _, err = graphlandau("run --resume cut")
    assert status == 0
    assert ("training continues from iteration 10 of 25" in err) == (iteration > 10)
    assert torch.equal(particles(here / "cut"), particles(here / "whole"))


def test_run_cannot_outlive_its_training(graphlandau, here):
    """A later end is refused in one line, and the folder stays as it is: finished, and continued by nothing."""
    graphlandau(f"{TRAINED_RUN} --out a")
    before = files(here / "a")
    status, _, err = graphlandau("run --resume a --t_end 0.3")
    assert status == 2
    assert err.splitlines()[-1] == "error: 't_end' must be 0.2, to which the flow was trained (got 0.3)"
    assert files(here / "a") == before
    status, out, _ = graphlandau("run --resume a")
    assert status == 0
    assert "a is finished at t = 0.2" in out


def test_run_killed_in_training_keeps_its_end(graphlandau, here, monkeypatch):
    """There is no checkpoint yet, but weights that were trained to t = 0.2."""
    step = Training._step

    def interrupt(self):
        if self.iteration == 17:
            raise KeyboardInterrupt
        return step(self)

    monkeypatch.setattr(Training, "_step", interrupt)
    graphlandau(f"{TRAINED_RUN} --out a")
    monkeypatch.setattr(Training, "_step", step)
    before = files(here / "a")
    status, _, err = graphlandau("run --resume a --t_end 0.3")
    assert status == 2
    assert "'t_end' must be 0.2" in err.splitlines()[-1]
    assert files(here / "a") == before
    assert graphlandau("run --resume a")[0] == 0


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_training_that_diverges_says_so_in_one_line(graphlandau, here, dtype):
    line = f"{TRAINED_RUN} --method.learning_rate 1e30 --dtype {dtype} --out a"
    status, _, err = graphlandau(line)
    assert status == 1
    assert re.search(r"training diverged at iteration \d of 25 .*learning_rate", err.splitlines()[-1])
    assert os.listdir(here) == []  # it never came to a checkpoint


def test_training_that_diverges_late_keeps_its_last_checkpoint(graphlandau, here, monkeypatch):
    sample = Training._times

    def broken(self):
        times = sample(self)
        return times * float("nan") if self.iteration == 17 else times

    monkeypatch.setattr(Training, "_times", broken)
    status, _, err = graphlandau(f"{TRAINED_RUN} --out a")
    assert status == 1
    assert "training diverged at iteration 17 of 25" in err.splitlines()[-1]
    assert "those of iteration 10, kept in a/training/latest.safetensors" in err.splitlines()[-1]
    assert err.splitlines()[-1].endswith("the training is kept in a/training")
    monkeypatch.setattr(Training, "_times", sample)
    assert graphlandau("run --resume a")[0] == 0


def test_own_fields_are_found_in_the_current_folder(graphlandau, here, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    (here / "own_fields_here.py").write_text(
        "import torch\n"
        "class Field(torch.nn.Module):\n"
        "    def __init__(self, d, width: int = 4):\n"
        "        super().__init__()\n"
        "        self.net = torch.nn.Sequential(\n"
        "            torch.nn.Linear(d + 1, width), torch.nn.Tanh(), torch.nn.Linear(width, d)\n"
        "        )\n"
        "    def forward(self, v, t):\n"
        "        return self.net(torch.cat([v, t[:, None]], dim=1))\n"
    )
    own = "--score own_fields_here.Field --score.width 5 --flow own_fields_here.Field"
    line = TRAINED_RUN.partition(" --score")[0]
    status, out, _ = graphlandau(f"{line} {own} --out a")
    assert status == 0
    assert "pinn_pm · Field" in out
    trained = "--method.trained a/training/trained.safetensors"
    assert graphlandau(f"{line} {own} {trained} --out b")[0] == 0
    assert torch.equal(particles(here / "a"), particles(here / "b"))
    status, _, err = graphlandau(f"{line} {trained} --out c")
    assert status == 2
    assert "'flow' must be the network that was trained in a/training/trained.safetensors" in err.splitlines()[-1]


REFUSALS = [
    ("run --resume", "'resume' needs a value (got none)"),
    (f"{RUN} --out=", "'out' must name a folder (got '')"),
    ("run --resume . --seed 1 --dt 0.1", "'dt', 'seed' must not be given with --resume"),
    (
        f"{RUN.replace('blob', 'sbtm')} --score gaussian --out new --particles 2",
        "the initial particles cannot be used: 'v' must",
    ),
    ("run --resume .", "'resume' must be the folder of a run (got ., which has no config.yaml)"),
    ("run --resume taken --dt 0.1", "'dt' must not be given with --resume"),
    (f"{RUN} --out taken", "'out' must be a new or empty folder (got taken, which holds another run"),
    (f"{RUN} --out letters", "'out' must be a new or empty folder (got letters, which is not empty)"),
    (f"{RUN} --out taken/config.yaml/x", "'out' must be a writable folder (got taken/config.yaml/x: Not a directory)"),
    (f"{RUN} --out new --dt 0.03", "'dt' must divide t_end - t_start = 0.2"),
    (f"{RUN} --out new --particles 1", "'particles' must be an integer >= 2 (got 1)"),
    (f"{RUN} --out new --batch_size 1000", "'batch_size' must be at most the number of particles, 60 (got 1000)"),
    (f"{RUN} --out new --method.bandwith 1", "did you mean 'method.bandwidth'?"),
    (f"{RUN} --out new --flow time_mlp", "'flow' must not be given, blob learns no flow (got 'time_mlp')"),
    (
        TRAINED_RUN.partition(" --score")[0] + " --out new --score mlp",
        "'score' must map velocities (N, 2) and times (N,) to (N, 2) (got a MLPScore",
    ),
    (f"{TRAINED_RUN} --out new --method.iterations 0", "'method.iterations' must be an integer >= 1 (got 0)"),
    (f"{TRAINED_RUN} --out new --method.trained no", "'trained' must be a file of trained networks (got no: "),
    (f"{TRAINED_RUN} --out new --method.trained letters/love.txt", "'trained' must be a file of trained networks"),
    ("rum", "unknown command 'rum'"),
    ("plot", "plot takes one run folder"),
    ("plot letters", "letters"),
    ("list everything", "list takes no arguments"),
    ("doctor now", "doctor takes no arguments"),
]


@pytest.mark.parametrize(("line", "message"), REFUSALS)
def test_bad_input_is_one_line_and_leaves_no_trace(graphlandau, here, line, message):
    (here / "letters").mkdir()
    (here / "letters" / "love.txt").touch()
    (here / "taken").mkdir()
    (here / "taken" / "config.yaml").write_text("seed: 0\n")
    before = sorted(str(path) for path in here.rglob("*"))
    status, out, err = graphlandau(line)
    assert status == 2
    assert out == ""
    last = err.splitlines()[-1]
    assert last.startswith("error: ")
    assert message in last
    # Nothing before it but what is said while the method is being prepared.
    assert all(text.startswith("preparing") for text in err.splitlines()[:-1])
    assert sorted(str(path) for path in here.rglob("*")) == before


def test_run_that_diverges_keeps_its_checkpoint(graphlandau, here):
    line = "run --problem bkw_2d --method blob --particles 20 --dt 1e8 --t_end 1e9 --checkpoint_every 1 --out a"
    status, _, err = graphlandau(line)
    assert status == 1
    assert "became non-finite at step" in err.splitlines()[-1]
    assert torch.isfinite(particles(here / "a")).all()
    assert not (here / "a/summary.json").exists()


def test_list_names_every_choice(graphlandau):
    status, out, _ = graphlandau("list")
    assert status == 0
    for name in ("bkw_2d", "anisotropic_10d", "blob", "sbtm", "pinn_pm", "mlp", "closed_form", "moments", "keops"):
        lines = [line for line in out.splitlines() if line.split()[:1] == [name]]
        assert lines
        assert all(len(line.split()) > 3 for line in lines)


def test_usage_needs_no_arguments(graphlandau):
    assert graphlandau("")[:2] == graphlandau("--help")[:2] == (0, f"{cli.USAGE}\n")
    status, out, _ = graphlandau(f"{RUN} --help")
    assert status == 0
    assert "--method.bandwidth" in out
    assert graphlandau(f"{RUN} -h")[:2] == (0, out)
    assert graphlandau("--version")[:2] == (0, f"{version('graphlandau')}\n")


# One process imports the package; each run is a fork of it that is killed as hard as can be.
KILLED = """
import os, random, signal, sys, time
from graphlandau.cli.main import main
import graphlandau.cli.config

def start(line):
    child = os.fork()
    if child == 0:
        os._exit(main(line.split()))
    return child

def status(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

line, moments, random_state = sys.argv[1], int(sys.argv[2]), random.Random(0)
assert status(start(f"{line} --out whole")) == 0

def rows():
    return sum(1 for _ in open("cut/metrics.csv")) if os.path.exists("cut/metrics.csv") else 0

def running(child):
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None

killed = 0
for moment in range(moments):
    child = start("run --resume cut" if os.path.exists("cut/config.yaml") else f"{line} --out cut")
    # By the progress of the run and not by the clock, which other programs disturb; then at any point of a step.
    target = rows() + random_state.randint(0, 5)
    while rows() < target and running(child):
        time.sleep(0.001)
    time.sleep(random_state.random() * 0.02)
    os.kill(child, signal.SIGKILL)
    killed += status(child) == -signal.SIGKILL
assert status(start("run --resume cut")) == 0
print(killed)
"""


def test_run_killed_at_random_moments_gives_the_same_bits(here):
    line = (
        "run --problem bkw_2d --method sbtm --score mlp --method.steps 2 --method.initial_steps 50 --batch_size 100"
        " --particles 300 --dt 0.01 --t_end 0.4 --snapshots 21 --checkpoint_every 3 --figures false --threads 1"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", KILLED, line, "8"],
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.splitlines()[-1]) >= 3  # the others had finished before the signal
    assert torch.equal(particles(here / "whole"), particles(here / "cut"))
    whole, cut = snapshots(here / "whole"), snapshots(here / "cut")
    assert whole.keys() == cut.keys()
    assert all(np.array_equal(whole[key], cut[key]) for key in whole)
    whole, cut = (np.genfromtxt(here / run / "metrics.csv", delimiter=",", names=True) for run in ("whole", "cut"))
    for key in set(whole.dtype.names) - {"wall_seconds"}:
        assert np.array_equal(whole[key], cut[key], equal_nan=True), key
