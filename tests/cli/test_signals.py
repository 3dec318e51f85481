"""A scheduler's SIGTERM and a lost terminal end a run as Ctrl-C does."""

from __future__ import annotations

import signal
import threading

import pytest
import torch

from graphlandau.cli import main as cli
from graphlandau.cli.signals import ENDING, signals_interrupt
from graphlandau.run.checkpoint import load_checkpoint
from graphlandau.run.observers.checkpoints import Checkpoints

pytestmark = pytest.mark.usefixtures("small_and_quick")

RUN = "run --problem bkw_3d --method blob --particles 40 --dt 0.02 --t_end 5.64 --snapshots 2 --figures false"
RUN += " --checkpoint_every 2"


@pytest.fixture(autouse=True)
def harmless():
    """A signal that nobody waits for must not end the tests."""
    before = {number: signal.signal(number, lambda *_: None) for number in ENDING}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def particles(run):
    return load_checkpoint(run / "checkpoint" / "latest.safetensors").part("state")["v"]


@pytest.mark.parametrize("number", ENDING, ids=lambda number: number.name)
def test_the_run_is_kept_and_says_how_to_continue(number, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    handler = signal.getsignal(number)
    before_evaluate = Checkpoints.before_evaluate

    def signalled(self, run):
        before_evaluate(self, run)
        if run.step == 3:
            signal.raise_signal(number)

    with monkeypatch.context() as patched:
        patched.setattr(Checkpoints, "before_evaluate", signalled)
        assert cli.main([*RUN.split(), "--out", "cut"]) == 130
    said = capsys.readouterr().err.splitlines()[-1]
    assert said == "error: interrupted at step 3 of 7; continue with: graphlandau run --resume cut"
    assert signal.getsignal(number) is handler
    assert cli.main(["run", "--resume", "cut"]) == 0
    assert cli.main([*RUN.split(), "--out", "whole"]) == 0
    assert torch.equal(particles(tmp_path / "cut"), particles(tmp_path / "whole"))


def test_nohup_is_respected():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with signals_interrupt():
        signal.raise_signal(signal.SIGHUP)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)


def test_a_thread_runs_commands_too():
    status = []
    thread = threading.Thread(target=lambda: status.append(cli.main(["--version"])))
    thread.start()
    thread.join()
    assert status == [0]
