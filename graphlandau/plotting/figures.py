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
from graphlandau.plotting.kinetic import conservation as kinetic_conservation
from graphlandau.plotting.kinetic import field, marginals, phase_space, relaxation
from graphlandau.plotting.kinetic import overview as kinetic_overview
from graphlandau.plotting.run_record import RunRecord
from graphlandau.plotting.style import STYLE, save
from graphlandau.problems import KineticProblem

__all__ = ["FIGURES", "KINETIC_FIGURES", "plot_run"]

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

KINETIC_FIGURES: dict[str, Callable[[RunRecord], Figure | None]] = {
    "overview": kinetic_overview.figure,
    "phase_space": phase_space.figure,
    "field": field.figure,
    "relaxation": relaxation.figure,
    "marginals": marginals.figure,
    "conservation": kinetic_conservation.figure,
}


def plot_run(run_dir: Path) -> list[Path]:
    """Draw every figure that makes sense for a run into ``run_dir/figures`` and return the files.

    These are :data:`KINETIC_FIGURES` for particles with positions, else :data:`FIGURES`. Everything is read from the
    folder (``config.yaml``, ``metrics.csv``, ``snapshots.h5``), so a run can be drawn while it goes on, after it was
    stopped, or on another machine. A figure whose data the run does not have, for example errors without an exact
    solution, is left out.

    Raises:
        ValueError: If ``run_dir`` is no run folder, or its problem cannot be built.
    """
    run = RunRecord(Path(run_dir))
    folder = run.path / "figures"
    folder.mkdir(exist_ok=True)
    files = []
    figures = KINETIC_FIGURES if isinstance(run.problem, KineticProblem) else FIGURES
    for name, draw in figures.items():
        with matplotlib.rc_context(STYLE):
            figure = draw(run)
        if figure is not None:
            files.append(save(figure, folder / f"{name}.png"))
    return files
