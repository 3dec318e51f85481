"""When checkpoints are written: at multiples, at the last step, before the method looks at the state."""

from __future__ import annotations

import pytest
from short_runs import short_run

from graphlandau.methods import Blob
from graphlandau.run.checkpoint import load_checkpoint
from graphlandau.run.folder import RunFolder
from graphlandau.run.observers import Observer

pytestmark = pytest.mark.usefixtures("small_and_quick")


class Look(Observer):
    """The step of the checkpoint that is there when the method has looked at each step."""

    def __init__(self):
        self.there = []

    def after_evaluate(self, run):
        self.there.append(load_checkpoint(run.folder.checkpoint).record["step"])


@pytest.mark.parametrize(("every", "there"), [(3, [0, 0, 0, 3, 3, 3, 6, 6]), (100, [0, 0, 0, 0, 0, 0, 0, 7])])
def test_at_multiples_and_at_the_last_step(tmp_path, every, there):
    look = Look()
    if every == 3:
        there[-1] = 7
    folder = RunFolder.create(tmp_path, "")
    short_run(Blob(), folder=folder, t_end=0.14, checkpoint_every=every, observers=[look]).run()
    assert look.there == there


def test_without_a_folder_there_is_none():
    assert short_run(Blob(), t_end=0.02).run().folder is None
