"""What a command imports: nothing heavy for a list or a typo, and a module of a user's own once."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from graphlandau.cli import main as cli
from graphlandau.cli.arguments import read_arguments
from graphlandau.cli.config import compose

LIGHT = """
import json, sys
from graphlandau.cli.main import main
found = {}
for line in json.loads(sys.argv[1]):
    status = main(line.split())
    found[line] = [status, [m for m in ("torch", "scipy", "torch_geometric", "matplotlib", "h5py") if m in sys.modules]]
print("\\n" + json.dumps(found))
"""
QUICK = {
    "list": 0,
    "--help": 0,
    "run --help": 0,
    "lisst": 2,
    "run --problem bkw2d --method sbtm": 2,
    "run --problem bkw_2d --method stbm": 2,
    "run --problem bkw_2d --metod sbtm": 2,
    "run --problem bkw_2d --method sbtm --problem.strenght 1": 2,
    "run --problem bkw_2d --method sbtm --method.stps 1": 2,
    "run --problem bkw_2d --method sbtm --score mlp --score.widht 1": 2,
    "run --config nowhere.yaml": 2,
}


def test_lists_help_and_typos_import_nothing_heavy():
    """torch takes seconds: a typo is answered without it."""
    command = [sys.executable, "-c", LIGHT, json.dumps(list(QUICK))]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert json.loads(out.splitlines()[-1]) == {line: [status, []] for line, status in QUICK.items()}


def test_the_quick_refusal_of_a_key_says_what_the_slow_one_does(capsys):
    for line in ("--method.stps 1", "--score.widht 1", "--problem.strenght 1"):
        given = f"run --problem bkw_2d --method sbtm --score mlp {line}".split()
        with pytest.raises(ValueError, match="is not a known key") as slow:
            compose(read_arguments(given[1:]))
        assert cli.main(given) == 2
        assert capsys.readouterr().err == f"error: {slow.value}\n"


MODULE = """
from pathlib import Path
with Path({log!r}).open("a") as file:
    file.write("imported\\n")
from torch import nn
from graphlandau.training import Schedule
class Net(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.layer = nn.Linear(d, d)
    def forward(self, v):
        return self.layer(v)
class Flat(Schedule):
    def __call__(self, elapsed):
        return 1.0
"""


@pytest.fixture
def lab(tmp_path, monkeypatch):
    """A module of a user's own, which counts how often it is executed."""
    log = tmp_path / "log.txt"
    (tmp_path / "my_own_lab.py").write_text(MODULE.format(log=str(log)))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    yield log
    sys.modules.pop("my_own_lab", None)


def test_a_module_of_ones_own_is_executed_once(lab, small_and_quick):
    line = "run --problem bkw_2d --method sbtm --score my_own_lab.Net --method.schedule my_own_lab.Flat --particles 50"
    line += " --dt 0.1 --t_end 0.1 --method.initial_steps 1 --method.steps 1 --figures false --out a"
    assert cli.main(line.split()) == 0
    assert lab.read_text() == "imported\n"


def test_a_module_that_fails_says_why_and_is_tried_once_each(lab, capsys):
    """The error of the module is in the line, and stays the cause; a schedule is no exception."""
    with (lab.parent / "my_own_lab.py").open("a") as file:
        file.write('\nraise ImportError("no module named warp_drive")\n')
    run = "run --problem bkw_2d --method sbtm"
    for line in (f"{run} --score my_own_lab.Net", f"{run} --score mlp --method.schedule my_own_lab.Flat"):
        assert cli.main(line.split()) == 2
        assert "ImportError: no module named warp_drive" in capsys.readouterr().err
        with pytest.raises(ValueError, match="warp_drive") as caught:
            compose(read_arguments(line.split()[1:]))
        assert isinstance(caught.value.__cause__, ImportError)
    assert lab.read_text() == "imported\n" * 4  # once by the command, once by compose
