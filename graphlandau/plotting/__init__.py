"""Figures of a run, drawn from its folder alone."""

from graphlandau.plotting.figures import FIGURES, plot_run
from graphlandau.plotting.run_record import RunRecord, Snapshot

__all__ = ["FIGURES", "RunRecord", "Snapshot", "plot_run"]
