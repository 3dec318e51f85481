"""A command ends as it would if somebody read what it prints."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from graphlandau.cli import main as cli
from graphlandau.cli.streams import Forgiving, forgiving_streams

pytestmark = pytest.mark.usefixtures("small_and_quick")

PACKAGE_ROOT = Path(cli.__file__).parents[2]
RUN = "run --problem bkw_3d --method blob --particles 50 --dt 0.05 --t_end 5.6 --snapshots 2"


def broken_pipe():
    """A stream that nobody reads; every line reaches it at once."""
    reading, writing = os.pipe()
    os.close(reading)
    return os.fdopen(writing, "w", buffering=1, encoding="utf-8")


def closed():
    file = io.StringIO()
    file.close()
    return file


STREAMS = {
    "closed before the start": lambda: None,
    "closed": closed,
    "broken pipe": broken_pipe,
    "full disk": lambda: open("/dev/full", "w", buffering=1, encoding="utf-8"),  # noqa: SIM115
    "ascii": lambda: io.TextIOWrapper(io.BytesIO(), encoding="ascii", write_through=True),
}


@pytest.mark.parametrize("name", STREAMS)
def test_a_run_does_not_depend_on_its_streams(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for stream in ("stdout", "stderr"):
        monkeypatch.setattr(sys, stream, STREAMS[name]())
    assert cli.main([*RUN.split(), "--figures", "false", "--out", "a"]) == 0
    assert (tmp_path / "a/summary.json").exists()
    # A refusal keeps its status too.
    assert cli.main([*RUN.split(), "--out", "a"]) == 2
    if name == "ascii":
        assert sys.stdout.buffer.getvalue().startswith(rb"bkw_3d \xb7 blob \xb7 50 particles")


def test_what_is_left_of_a_broken_pipe_goes_nowhere():
    """The interpreter flushes once more at its end, where an error would be its status."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w", encoding="utf-8") as buffered:
        stream = Forgiving(buffered)
        stream.write("waits in the buffer")
        stream.drain()
        buffered.flush()


def test_streams_are_put_back():
    before = sys.stdout, sys.stderr
    with forgiving_streams():
        assert (sys.stdout, sys.stderr) != before
    assert (sys.stdout, sys.stderr) == before


def test_a_run_without_streams_from_a_notebook_draws_figures(tmp_path):
    """A process of its own: descriptors 1, 2 are closed; neither the backend it is told to take nor LaTeX is here."""
    (tmp_path / "matplotlibrc").write_text("text.usetex: True\n")
    env = os.environ | {
        "MPLBACKEND": "of_some_notebook",
        "MATPLOTLIBRC": str(tmp_path / "matplotlibrc"),
        "PYTHONPATH": str(PACKAGE_ROOT),
    }
    # One of the figures, as each is drawn alike.
    code = "import sys; from graphlandau.plotting import figures; "
    code += "figures.FIGURES = tuple(each for each in figures.FIGURES if each.name == 'entropy'); "
    code += "from graphlandau.cli.main import main; sys.exit(main(sys.argv[1:]))"
    command = f'{sys.executable} -P -c "{code}" {RUN} --threads 1 --out "{tmp_path}/a run" >&- 2>&-'
    assert subprocess.run(command, shell=True, env=env, cwd=tmp_path, check=False).returncode == 0
    assert [path.stem for path in (tmp_path / "a run/figures").iterdir()] == ["entropy"]
    assert (tmp_path / "a run/metrics.csv").read_text().startswith("step,t,")
