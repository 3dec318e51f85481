"""What watches a run: it fills the metrics, writes snapshots and checkpoints, shows the progress."""

from graphlandau.run.observers.observer import Observer, Run

__all__ = ["Observer", "Run"]
