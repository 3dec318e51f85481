"""All figures of a run, drawn from its folder: one table, in which each says to which runs it applies."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from matplotlib.figure import Figure

from graphlandau.base.validation import require_one_of
from graphlandau.plotting import (
    conservation,
    covariance,
    density,
    entropy,
    errors,
    field,
    marginals,
    overview,
    particles,
    phase_conservation,
    phase_overview,
    phase_space,
    relaxation,
    score,
)
from graphlandau.plotting.style import FORMATS, save, styled
from graphlandau.run.record import RunRecord

__all__ = ["FIGURES", "RunFigure", "figures_of", "plot_run"]


class RunFigure(NamedTuple):
    """A figure of a run.

    Args:
        name: Name of the file.
        applies: Whether it makes sense for a run.
        draw: Draws it; ``None`` where the run lacks the data, for example errors without an exact solution.
    """

    name: str
    applies: Callable[[RunRecord], bool]
    draw: Callable[[RunRecord], Figure | None]


def _velocities_alone(run: RunRecord) -> bool:
    return not run.has_positions


def _with_positions(run: RunRecord) -> bool:
    return run.has_positions


# In the order in which they are drawn.
FIGURES = (
    RunFigure("overview", _velocities_alone, overview.figure),
    RunFigure("density", _velocities_alone, density.figure),
    RunFigure("particles", _velocities_alone, particles.figure),
    RunFigure("score", _velocities_alone, score.figure),
    RunFigure("covariance", _velocities_alone, covariance.figure),
    RunFigure("conservation", _velocities_alone, conservation.figure),
    RunFigure("entropy", _velocities_alone, entropy.figure),
    RunFigure("errors", _velocities_alone, errors.figure),
    RunFigure("overview", _with_positions, phase_overview.figure),
    RunFigure("phase_space", _with_positions, phase_space.figure),
    RunFigure("field", _with_positions, field.figure),
    RunFigure("relaxation", _with_positions, relaxation.figure),
    RunFigure("marginals", _with_positions, marginals.figure),
    RunFigure("conservation", _with_positions, phase_conservation.figure),
)


def figures_of(run: RunRecord) -> dict[str, Callable[[RunRecord], Figure | None]]:
    """Return the figures that apply to a run, by their names."""
    return {figure.name: figure.draw for figure in FIGURES if figure.applies(run)}


def plot_run(run_dir: Path, file_format: str = "png") -> list[Path]:
    """Draw every figure that makes sense for a run into ``run_dir/figures`` and return the files.

    Everything is read from the folder (``config.yaml``, ``metrics.csv``, ``snapshots.h5``), so a run can be drawn while
    it goes on, after it was stopped, or on another machine. A figure whose data the run does not have, for example
    errors without an exact solution, is left out.

    Args:
        run_dir: Folder of the run.
        file_format: ``"png"``, ``"pdf"`` or ``"svg"``; in the last two, particles are images.

    Raises:
        ValueError: If ``run_dir`` is no run folder, its problem cannot be built, or the format is another one.
    """
    require_one_of("figures", file_format, FORMATS)
    run = RunRecord(Path(run_dir))
    folder = run.path / "figures"
    folder.mkdir(exist_ok=True)
    files = []
    for name, draw in figures_of(run).items():
        with styled():
            figure = draw(run)
        if figure is not None:
            files.append(save(figure, folder / f"{name}.{file_format}"))
    return files
