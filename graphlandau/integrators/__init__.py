"""Steps in time: along the collision drift, along a field that is followed for an inner time, and symplectic maps."""

from graphlandau.integrators.integrator import Integrator, Moved
from graphlandau.integrators.midpoint import Midpoint
from graphlandau.integrators.named import INTEGRATORS, explicit_integrator, integrator_of
from graphlandau.integrators.runge_kutta import RungeKutta
from graphlandau.integrators.symplectic import MAPS, SymplecticMap, kick

__all__ = [
    "INTEGRATORS",
    "MAPS",
    "Integrator",
    "Midpoint",
    "Moved",
    "RungeKutta",
    "SymplecticMap",
    "explicit_integrator",
    "integrator_of",
    "kick",
]
