"""Figures of a run, drawn from its folder alone."""

from graphlandau.plotting import agg as agg

# isort: split
from graphlandau.plotting.animation import animate_phase_space
from graphlandau.plotting.figures import FIGURES, RunFigure, figures_of, plot_run
from graphlandau.run.record import RunRecord, Snapshot

__all__ = ["FIGURES", "RunFigure", "RunRecord", "Snapshot", "animate_phase_space", "figures_of", "plot_run"]
