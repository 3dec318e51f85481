"""Score-based transport for the kinetic Fokker-Planck equation."""

from __future__ import annotations

from torch import Tensor

from graphlandau.methods.controlled import ControlledTransport, Start
from graphlandau.objectives import ControlObjective

__all__ = ["KineticSBTM"]


class KineticSBTM(ControlledTransport):
    r"""Score matching with an explicit drag: what the kinetic JKO scheme is compared with.

    After the symplectic map :math:`v' = v^* - \varepsilon \Delta t \, (v^* + T_0 s(x^*, v^*))` with the score of the
    density there, by the implicit loss :math:`\langle |s|^2 + 2 \nabla_v \cdot s \rangle`. What is learned is the
    control :math:`u = -\varepsilon (v + T_0 s)`, in which the loss is
    :math:`\langle \tfrac12 |u + \varepsilon v^*|^2 - \varepsilon T_0 \nabla_v \cdot u \rangle`.

    Args:
        control: The field ``u``, or any ``nn.Module`` that maps :math:`(N, d_x), (N, d) \to (N, d)`.
        training: How it is fitted, and by which determinant.
        push: Symplectic map and field.
        seed: Seed of mini-batches.

    Raises:
        ValueError: If an argument is out of range, or the problem has no collisions.
        NotInvertible: In a run, if the map of a step is not (:math:`\det \le 0` for a particle).

    Reference: arXiv:2603.23901, Eq. (35), one time step at a time.
    """

    def objective(self, start: Start, dt: float) -> ControlObjective:
        """The implicit score-matching loss in the control, whatever ``dt``."""
        e, temperature = self.problem.epsilon, self.problem.temperature
        return ControlObjective.score_matching(start.base, epsilon=e, temperature=temperature)

    def implied_score(self, base: Tensor, v: Tensor, u: Tensor) -> Tensor:
        r"""The score that is learned, that before the step: :math:`-(v^* + u / \varepsilon) / T_0`."""
        return -(base + u / self.problem.epsilon) / self.problem.temperature
