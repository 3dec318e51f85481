"""All figures of a run, drawn from its folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from graphlandau.plotting import (
    conservation,
    covariance,
    density,
    entropy,
    errors,
    overview,
    particles,
    score,
)
from graphlandau.plotting.run_record import RunRecord
from graphlandau.plotting.style import STYLE, save

__all__ = ["FIGURES", "plot_run"]

FIGURES: dict[str, Callable[[RunRecord], Figure | None]] = {
    "overview": overview.figure,
    "density": density.figure,
    "particles": particles.figure,
    "score": score.figure,
    "covariance": covariance.figure,
    "conservation": conservation.figure,
    "entropy": entropy.figure,
    "errors": errors.figure,
}


def plot_run(run_dir: Path) -> list[Path]:
    """Draw every figure that makes sense for a run into ``run_dir/figures`` and return the files.

    Everything is read from the folder (``config.yaml``, ``metrics.csv``, ``snapshots.h5``), so a run can be
    drawn while it goes on, after it was stopped, or on another machine. A figure whose data the run does not
    have, for example errors without an exact solution, is left out.

    Raises:
        ValueError: If ``run_dir`` is no run folder, or its problem cannot be built.
    """
    run = RunRecord(Path(run_dir))
    folder = run.path / "figures"
    folder.mkdir(exist_ok=True)
    files = []
    for name, draw in FIGURES.items():
        with matplotlib.rc_context(STYLE):
            figure = draw(run)
        if figure is not None:
            files.append(save(figure, folder / f"{name}.png"))
    return files
