"""Fields on a grid: positions in a box, Poisson's and Ampère's equations, currents, external potentials."""

from graphlandau.fields.ampere import Ampere
from graphlandau.fields.current import conserving_current
from graphlandau.fields.poisson import Poisson, field_energy
from graphlandau.fields.potential import Potential, RippledWell
from graphlandau.graphs.grid import Grid

__all__ = ["Ampere", "Grid", "Poisson", "Potential", "RippledWell", "conserving_current", "field_energy"]
