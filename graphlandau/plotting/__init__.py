"""Figures of a run, drawn from its folder alone."""

from graphlandau.plotting.figures import FIGURES, KINETIC_FIGURES, plot_run
from graphlandau.plotting.kinetic import animate_phase_space
from graphlandau.plotting.run_record import RunRecord, Snapshot

__all__ = ["FIGURES", "KINETIC_FIGURES", "RunRecord", "Snapshot", "animate_phase_space", "plot_run"]
