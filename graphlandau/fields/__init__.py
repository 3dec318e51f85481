"""Fields on a grid: positions in a box, Poisson's and Ampère's equations, currents, energies, external potentials."""

from graphlandau.fields.ampere import Ampere
from graphlandau.fields.current import conserving_current
from graphlandau.fields.energy import field_energy, field_square, potential_energy
from graphlandau.fields.poisson import Poisson
from graphlandau.fields.potential import Potential, RippledWell
from graphlandau.graphs.grid import Grid

__all__ = [
    "Ampere",
    "Grid",
    "Poisson",
    "Potential",
    "RippledWell",
    "conserving_current",
    "field_energy",
    "field_square",
    "potential_energy",
]
