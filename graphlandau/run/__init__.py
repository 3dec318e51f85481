"""A run: the time loop, what watches it, and the folder that it leaves."""

from graphlandau.base.errors import Diverged
from graphlandau.run.observers import Observer
from graphlandau.run.record import RunRecord, Snapshot
from graphlandau.run.simulation import Result, Simulation

__all__ = ["Diverged", "Observer", "Result", "RunRecord", "Simulation", "Snapshot"]
