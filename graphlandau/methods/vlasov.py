"""Particle in cell without collisions."""

from __future__ import annotations

from torch_geometric.data import Data

from graphlandau.base.errors import InvalidArgument
from graphlandau.methods.kinetic_transport import KineticTransport
from graphlandau.problems import KineticProblem

__all__ = ["Vlasov"]


class Vlasov(KineticTransport):
    r"""The Vlasov equation by particles: :math:`\partial_t f + v \cdot \nabla_x f + F \cdot \nabla_v f = 0`.

    With a field of the particles' own (Vlasov-Poisson, Vlasov-Ampère) this is particle in cell. The log-density is
    constant along trajectories.

    Args:
        push: Symplectic map and field.
        seed: Not used; every method has one.

    Raises:
        ValueError: If an option is not one of its choices, or the problem has collisions.

    Reference: Birdsall and Langdon, Plasma Physics via Computer Simulation, 1985.
    """

    def prepare(self, state: Data, problem: KineticProblem) -> None:
        """Take the force of a problem without collisions."""
        if problem.epsilon > 0:
            raise InvalidArgument("epsilon", "must be 0 for a method without collisions", f"{problem.epsilon:g}")
        super().prepare(state, problem)
