"""Steps in time: along the collision drift, along a field that is followed for an inner time, and symplectic maps."""

from graphlandau.integrators.steps import INTEGRATORS, Step, euler, midpoint
from graphlandau.integrators.symplectic import MAPS, kick, symplectic_step

__all__ = ["INTEGRATORS", "MAPS", "Step", "euler", "kick", "midpoint", "symplectic_step"]
