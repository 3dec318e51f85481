"""A run: the time loop, what watches it, and the folder that it leaves."""

from graphlandau.run.simulation import DivergedError, Result, Simulation

__all__ = ["DivergedError", "Result", "Simulation"]
