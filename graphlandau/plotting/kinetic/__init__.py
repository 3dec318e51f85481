"""Figures of runs of particles with positions: phase space, field, relaxation to equilibrium."""

from graphlandau.plotting.kinetic.animation import animate_phase_space
from graphlandau.plotting.kinetic.phase_snapshot import PhaseSnapshot, phase_snapshot, phase_snapshots

__all__ = ["PhaseSnapshot", "animate_phase_space", "phase_snapshot", "phase_snapshots"]
