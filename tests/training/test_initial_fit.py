"""A fit that is interrupted anywhere goes on to the same bits, and says how far it is."""

from __future__ import annotations

import logging

import pytest
import torch
from short_runs import numbers, short_run
from torch import nn

from graphlandau.methods import JKO, SBTM
from graphlandau.problems import BKW, Truncated
from graphlandau.run.folder import RunFolder
from graphlandau.run.simulation import Simulation
from graphlandau.training import EpochFit, Fit
from graphlandau.training.descent import Descent
from graphlandau.training.initial_fit import InitialFit

pytestmark = pytest.mark.usefixtures("small_and_quick")


class Net(nn.Sequential):
    """With everything that a fit has to keep: moments, buffers, dropout."""

    def __init__(self):
        super().__init__(nn.Linear(2, 16), nn.Dropout(0.1), nn.Tanh(), nn.Linear(16, 2))


def sbtm(problem=None, steps=230):
    torch.manual_seed(5)
    return SBTM(Net(), fit=Fit(initial_steps=steps, initial_tolerance=1e-9, minibatch=40, steps=3))


def jko():
    torch.manual_seed(5)
    return JKO(Net(), fit=EpochFit(initial_steps=170, initial_tolerance=1e-9, minibatch=30, epochs=1))


RUNS = {
    "smooth": lambda folder: short_run(sbtm(), t_end=0.04, folder=folder),
    "jko": lambda folder: short_run(jko(), t_end=0.04, folder=folder),
    "jumps": lambda folder: Simulation(
        Truncated(), sbtm(), particles=80, dt=0.01, t_end=0.02, snapshots=2, baselines=False, folder=folder
    ),
}


@pytest.fixture
def interrupt(monkeypatch):
    """Let gradient steps end by Ctrl-C after so many."""

    def after(steps):
        step, left = Descent._step, iter(range(steps))

        def counted(self, *args, **more):
            if next(left, None) is None:
                raise KeyboardInterrupt
            step(self, *args, **more)

        monkeypatch.setattr(Descent, "_step", counted)

    return after


@pytest.mark.parametrize(("name", "steps"), [("smooth", 20), ("smooth", 149), ("jko", 103), ("jumps", 77)])
def test_an_interrupted_fit_goes_on_to_the_same_bits(tmp_path, monkeypatch, interrupt, caplog, name, steps):
    caplog.set_level(logging.INFO, "graphlandau")
    whole = RUNS[name](RunFolder.create(tmp_path / "whole", "")).run()
    folder = RunFolder.create(tmp_path / "cut", "")
    with monkeypatch.context():
        interrupt(steps)
        with pytest.raises(KeyboardInterrupt):
            RUNS[name](folder).run()
    monkeypatch.undo()
    monkeypatch.setattr("os.fsync", lambda _: None)
    assert (folder.training / "initial_fit.safetensors").exists()
    result = RUNS[name](folder).run()
    assert f"continues from step {steps // 50 * 50} of" in caplog.text
    assert numbers(result.metrics) == numbers(whole.metrics)
    assert torch.equal(result.state.v, whole.state.v)
    assert not folder.training.exists()


def test_what_took_a_while_is_kept_without_an_interruption(tmp_path, monkeypatch):
    """A kill leaves the last file; the run's own first checkpoint makes it superfluous."""
    monkeypatch.setattr(InitialFit, "SAVE_SECONDS", 0.0)
    kept = []
    save = InitialFit._save

    def spied(self):
        save(self)
        kept.append(int(self._tensors["done"]))
        if kept[-1] == 150:
            raise MemoryError  # what a kill leaves

    monkeypatch.setattr(InitialFit, "_save", spied)
    folder = RunFolder.create(tmp_path / "a", "")
    with pytest.raises(MemoryError):
        RUNS["smooth"](folder).run()
    monkeypatch.setattr(InitialFit, "_save", save)
    whole = RUNS["smooth"](None).run()
    assert torch.equal(RUNS["smooth"](folder).run().state.v, whole.state.v)
    assert kept == [0, 50, 100, 150]


def test_a_fit_says_how_far_it_is(caplog, monkeypatch):
    caplog.set_level(logging.INFO, "graphlandau")
    monkeypatch.setattr(InitialFit, "TELL_SECONDS", 0.0)
    RUNS["smooth"](None).run()
    told = [message for message in caplog.messages if message.startswith("initial fit: step")]
    assert [message.split(",")[0] for message in told] == [f"initial fit: step {n} of 230" for n in (50, 100, 150, 200)]
    assert all("relative error" in message and " s left" in message for message in told)
    assert any(message.startswith("initial fit: 230 steps in") for message in caplog.messages)


def test_refuses_the_fit_of_another_model(tmp_path, interrupt, monkeypatch):
    folder = RunFolder.create(tmp_path, "")
    with monkeypatch.context():
        interrupt(60)
        with pytest.raises(KeyboardInterrupt):
            RUNS["smooth"](folder).run()
    monkeypatch.undo()
    with pytest.raises(ValueError, match="'folder' must hold an initial fit of this model, or none: remove the file"):
        short_run(SBTM(nn.Linear(2, 2), fit=Fit(initial_steps=100)), folder=folder).run()


def test_a_finished_fit_is_not_continued(tmp_path, monkeypatch):
    """Where the loss of the validation set has ended it before its last step, too."""
    monkeypatch.setattr(InitialFit, "SAVE_SECONDS", 0.0)
    for name, problem in {"smooth": BKW(d=2), "jumps": Truncated()}.items():
        folder = RunFolder.create(tmp_path / name, "")
        whole = RUNS[name](None)
        whole_state = whole.run().state.v
        run = RUNS[name](folder)
        run.save_checkpoint = lambda: (_ for _ in ()).throw(OSError(28, "No space left on device"))
        with pytest.raises(OSError, match="No space"):
            run.run()
        assert torch.equal(RUNS[name](folder).run().state.v, whole_state), problem
