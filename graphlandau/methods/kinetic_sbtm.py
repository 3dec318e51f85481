"""Score-based transport for the kinetic Fokker-Planck equation."""

from __future__ import annotations

from torch import Tensor

from graphlandau.methods.controlled import ControlledTransport
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
        log_det: ``"exact"`` or ``"trace"``, in the log-density that is carried.
        steps: Gradient steps per time step, for a control that is not solved for.
        initial_steps: Gradient steps at the first time step.
        warm_start: Whether a time step begins with the control of the one before.
        learning_rate: Of Adam.
        minibatch: Particles per gradient step; ``None`` takes all.
        map: Symplectic map: ``"verlet"``, ``"kick_drift"`` or ``"drift_kick"``.
        order: Order of the B-spline, 0 to 3.
        cells: Cells in each direction; the problem's unless given.
        field: ``"poisson"`` or ``"ampere"``.
        seed: Seed of mini-batches.

    Raises:
        ValueError: If an argument is out of range, or the problem has no collisions.
        ArithmeticError: In a run, if a step folds velocity space (:math:`\det \le 0` for a particle).

    Reference: arXiv:2603.23901, Eq. (35), one time step at a time.
    """

    def objective(self, v: Tensor, dt: float) -> ControlObjective:
        """The implicit score-matching loss in the control, whatever ``dt``."""
        return ControlObjective.score_matching(v, epsilon=self.problem.epsilon, temperature=self.problem.temperature)
