"""What accelerates particles with positions: an external potential, or the electric field that they make themselves."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from graphlandau.base.errors import InvalidArgument
from graphlandau.fields import Ampere, Grid, Poisson, Potential, conserving_current
from graphlandau.graphs import Stencil, particle_cells
from graphlandau.graphs.grid import MIN_CELLS
from graphlandau.methods.options import Mesh, Push
from graphlandau.nn.conv import Deposit, Gather
from graphlandau.problems import KineticProblem

__all__ = ["AmpereForce", "ExternalForce", "Force", "PoissonForce", "force_of"]


class Force(ABC):
    """Force :math:`F(x)` at particles, and the field on a grid that it comes from, if it comes from one.

    Args:
        problem: Whose box, potential and mass it takes.
    """

    def __init__(self, problem: KineticProblem) -> None:
        self.potential: Potential | None = problem.potential

    @abstractmethod
    def wrap(self, pos: Tensor) -> Tensor:
        """Positions inside the box."""

    @abstractmethod
    def begin(self, pos: Tensor) -> tuple[Tensor, Tensor | None]:
        """Force at ``pos``, and the field, at the start of a run."""

    @abstractmethod
    def follow(self, pos: Tensor, moved: Tensor, field: Tensor | None, dt: float) -> tuple[Tensor, Tensor | None]:
        """Force at ``pos + moved``, and the field, after particles have moved there from ``pos`` in ``dt``."""

    def external(self, pos: Tensor, force: Tensor) -> Tensor:
        """``force`` and that of the potential."""
        return force if self.potential is None else force - self.potential.gradient(pos)


class ExternalForce(Force):
    r""":math:`F = -\nabla \phi` of a given potential, 0 without one; in a periodic box or in the whole space."""

    def __init__(self, problem: KineticProblem) -> None:
        super().__init__(problem)
        # A grid only for its box.
        self.box = None if problem.lengths is None else Grid(problem.lengths, MIN_CELLS)

    def wrap(self, pos: Tensor) -> Tensor:
        """Positions in [0, L), as they are in the whole space."""
        return pos if self.box is None else self.box.wrap(pos)

    def begin(self, pos: Tensor) -> tuple[Tensor, None]:
        """Force at ``pos``."""
        return self.external(pos, torch.zeros_like(pos)), None

    def follow(self, pos: Tensor, moved: Tensor, field: Tensor | None, dt: float) -> tuple[Tensor, None]:
        """Force at ``pos + moved``."""
        return self.begin(pos + moved)


class _SelfConsistent(Force):
    """The field of the particles' own charge on a periodic grid, each particle of charge mass / N."""

    def __init__(self, problem: KineticProblem, mesh: Mesh) -> None:
        super().__init__(problem)
        assert problem.lengths is not None
        self.mass = problem.mass
        cells = problem.cells if mesh.cells is None else mesh.cells
        assert cells is not None
        self.grid = Grid(problem.lengths, cells)
        self.deposit, self.gather = Deposit(self.grid, mesh.order), Gather(self.grid, mesh.order)

    def wrap(self, pos: Tensor) -> Tensor:
        """Positions in [0, L)."""
        return self.grid.wrap(pos)

    def density(self, pos: Tensor, stencil: Stencil | None = None) -> Tensor:
        """Charge density on the nodes of the grid, of mean mass / volume."""
        return self.deposit(pos, self.charge(pos), stencil=stencil) / self.grid.cell_volume

    def charge(self, pos: Tensor) -> Tensor:
        """Charge of each particle."""
        return pos.new_full((pos.size(0),), self.mass / pos.size(0))


class PoissonForce(_SelfConsistent):
    r""":math:`F = E` with :math:`\nabla \cdot E = \rho - \bar\rho` solved anew at every step."""

    def __init__(self, problem: KineticProblem, mesh: Mesh) -> None:
        super().__init__(problem, mesh)
        self.poisson = Poisson(self.grid)

    def begin(self, pos: Tensor) -> tuple[Tensor, Tensor]:
        """Deposit, solve, gather: with one and the same shape, so that no particle pushes itself."""
        stencil = particle_cells(pos, self.grid, self.deposit.order)
        field = self.poisson(self.density(pos, stencil))
        return self.external(pos, self.gather(pos, field, stencil=stencil)), field

    def follow(self, pos: Tensor, moved: Tensor, field: Tensor | None, dt: float) -> tuple[Tensor, Tensor]:
        """The field at the new positions."""
        return self.begin(self.wrap(pos + moved))


class AmpereForce(_SelfConsistent):
    r""":math:`\partial_t E = -(J - \bar J)` with a current that conserves charge: Gauss's law goes on to hold."""

    def __init__(self, problem: KineticProblem, mesh: Mesh) -> None:
        super().__init__(problem, mesh)
        self.ampere = Ampere(self.grid)

    def begin(self, pos: Tensor) -> tuple[Tensor, Tensor]:
        """The field of Gauss's law."""
        field = self.ampere.initial(self.density(pos))
        return self._at(pos, field), field

    def follow(self, pos: Tensor, moved: Tensor, field: Tensor | None, dt: float) -> tuple[Tensor, Tensor]:
        """The field after the current of the motion."""
        assert field is not None
        current = conserving_current(self.deposit, pos, moved, self.charge(pos), dt)
        field = self.ampere.advance(field, current, dt)
        return self._at(self.wrap(pos + moved), field), field

    def _at(self, pos: Tensor, field: Tensor) -> Tensor:
        return self.external(pos, self.gather(pos, self.ampere.at_nodes(field)))


def force_of(problem: KineticProblem, push: Push) -> Force:
    """Return the force that ``problem`` asks for.

    Raises:
        ValueError: If an option of the grid is given where there is none.
    """
    if not problem.self_consistent:
        for name in ("cells", "field", "order"):
            value = getattr(push, name)
            if value != getattr(Push(), name):
                which = f"{problem.name}, which has no field of its own"
                raise InvalidArgument(name, f"must not be given for {which}", repr(value))
        return ExternalForce(problem)
    return (AmpereForce if push.field == "ampere" else PoissonForce)(problem, push)
