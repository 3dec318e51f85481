"""The kinetic JKO scheme with the field of the particles themselves."""

from __future__ import annotations

from torch import nn
from torch_geometric.data import Data

from graphlandau.base.errors import InvalidArgument
from graphlandau.base.validation import require_one_of
from graphlandau.methods.controlled import ControlledTransport, Start
from graphlandau.methods.kinetic_transport import Forced
from graphlandau.methods.options import Push
from graphlandau.problems import KineticProblem
from graphlandau.training.options import ControlTraining

__all__ = ["PICJKO"]


class PICJKO(ControlledTransport):
    r"""PIC-JKO: particle in cell for the field, and a JKO step for the collisions at every time step.

    .. math::
        (x^*, v^*) = S(x, v; E), \qquad v' = v^* + \Delta t \, u(x^*, v^*), \qquad
        J(u) = \tfrac{\Delta t}{2} \langle |u|^2 \rangle + \varepsilon \langle \tfrac12 |v'|^2
        - T_0 \log \det(I + \Delta t \, \nabla_v u) \rangle

    The energy of the field does not depend on ``u``, so it is left out of the objective; particles weigh
    :math:`m / N`. Where collisions are strong take ``map="drift_kick"``: particles then drift with velocities that
    collisions have damped already, and fields fall at the right rate; with Störmer-Verlet they fall too fast by
    :math:`\varepsilon \Delta t / 2`. ``control_at="old"`` is the algorithm as it is printed: ``map="drift_kick"``, and
    the control at the positions and velocities *before* the step, :math:`v' = v^* + \Delta t \, u(x, v)`. The
    determinant of that step is :math:`\det(I + \Delta t \, u_v - \Delta t^2 u_x)`, which ``log_det="exact"`` takes; the
    printed formula, right to :math:`O(\Delta t^2)`, is ``"trace"``.

    Args:
        control: The field ``u``, or any ``nn.Module`` that maps :math:`(N, d_x), (N, d) \to (N, d)`.
        control_at: ``"new"`` or ``"old"``: where the control is evaluated.
        training: How it is fitted, and by which determinant.
        push: Symplectic map and field.
        seed: Seed of mini-batches.

    Raises:
        ValueError: If an argument is out of range, or the problem has no collisions or no field of its own.
        NotInvertible: In a run, if the map of a step is not (:math:`\det \le 0` for a particle).

    Reference: arXiv:2603.23901, Eq. (36), Algorithm 2. The split form, the exact determinant and the closed forms are
    ours.
    """

    def __init__(
        self,
        control: nn.Module,
        *,
        control_at: str = "new",
        training: ControlTraining = ControlTraining(),
        push: Push = Push(),
        seed: int = 0,
    ) -> None:
        super().__init__(control, training, push, seed)
        self.control_at = require_one_of("control_at", control_at, ("new", "old"))
        if control_at == "old" and push.map != "drift_kick":
            raise InvalidArgument("map", "must be 'drift_kick' for control_at 'old'", repr(push.map))

    def prepare(self, state: Data, problem: KineticProblem) -> None:
        """Refuse a problem without a field; the rest as every control."""
        if not problem.self_consistent:
            raise InvalidArgument(
                "method", f"must be kinetic_jko for {problem.name}, which has no field of its own", "pic_jko"
            )
        super().prepare(state, problem)

    def start(self, state: Data, frame: Forced, dt: float) -> Start:
        """After the map, with the control of the new particles or of the old ones."""
        start = super().start(state, frame, dt)
        if self.control_at == "new":
            return start
        shear = -dt if self.log_det == "exact" else 0.0
        return start._replace(at=(state["pos"], state.v), shear=shear)
