"""The kinetic JKO scheme in an external potential."""

from __future__ import annotations

from torch import Tensor, nn
from torch_geometric.data import Data

from graphlandau.base.errors import InvalidArgument
from graphlandau.base.validation import require_one_of
from graphlandau.integrators.symplectic import kick
from graphlandau.methods.controlled import ControlledTransport, Start
from graphlandau.methods.kinetic_transport import Forced
from graphlandau.methods.options import Push
from graphlandau.objectives import ControlObjective
from graphlandau.problems import KineticProblem
from graphlandau.training.options import ControlTraining

__all__ = ["KineticJKO"]


class KineticJKO(ControlledTransport):
    r"""Kinetic JKO: Hamilton's equations constrain a step, dissipation is what it minimises.

    ``form="split"``: a symplectic map to :math:`(x^*, v^*)`, then :math:`v' = v^* + \Delta t \, u(x^*, v^*)` with

    .. math::
        J(u) = \tfrac{\Delta t}{2} \langle |u|^2 \rangle + \varepsilon \langle \tfrac12 |v'|^2
        - T_0 \log \det(I + \Delta t \, \nabla_v u) \rangle

    whose minimiser is :math:`u = -\varepsilon (v' + T_0 \nabla_v \log f')`, at the *new* density. ``form="joint"``:
    :math:`v' = v - \Delta t \nabla \phi(x) + \Delta t \, u(x, v)`, :math:`x' = x + \Delta t \, v'`, whose
    determinant is again :math:`\det(I + \Delta t \, \nabla_v u)`, and :math:`\varepsilon \langle \phi(x') \rangle` is
    minimised with the rest. ``log_det="exact"`` keeps the determinant: where ``u = 0`` is among the controls (closed
    forms minimise, so it is), the free energy falls in every collision step, whatever the sample. ``"trace"`` replaces
    its logarithm by :math:`\Delta t \nabla_v \cdot u`, as the paper computes: then this is score matching with an
    implicit drag, and the log-density comes out too low.

    Args:
        control: The field ``u``, or any ``nn.Module`` that maps :math:`(N, d_x), (N, d) \to (N, d)`.
        form: ``"split"`` or ``"joint"``.
        training: How it is fitted, and by which determinant.
        map: Symplectic map of the split form, see :class:`~graphlandau.methods.Push`.
        seed: Seed of mini-batches.

    Raises:
        ValueError: If an argument is out of range, the problem has no collisions, or a field of its own.
        NotInvertible: In a run, if the map of a step is not (:math:`\det \le 0` for a particle).

    Reference: arXiv:2603.23901, Eqs. (18), (25), (26), (30), (31), Algorithm 1, Propositions 4 and 6. The exact
    determinant and the closed forms are ours.
    """

    def __init__(
        self,
        control: nn.Module,
        *,
        form: str = "split",
        training: ControlTraining = ControlTraining(),
        map: str = "verlet",
        seed: int = 0,
    ) -> None:
        super().__init__(control, training, Push(map=map), seed)
        self.form = require_one_of("form", form, ("split", "joint"))

    def prepare(self, state: Data, problem: KineticProblem) -> None:
        """Refuse a field of the particles' own; the rest as every control."""
        if problem.self_consistent:
            raise InvalidArgument(
                "method", f"must be pic_jko for {problem.name}, which has a field of its own", "kinetic_jko"
            )
        if self.form == "joint" and problem.potential is None:
            raise InvalidArgument("form", "must be 'split' without a potential", repr(self.form))
        super().prepare(state, problem)

    @property
    def balanced(self) -> bool:
        """In the split form; the control of the joint one is of collisions and potential together."""
        return self.form == "split"

    def start(self, state: Data, frame: Forced, dt: float) -> Start:
        """After the map, or, in the joint form, between the kick and the positions, which follow the new velocities."""
        if self.form == "split":
            return super().start(state, frame, dt)
        pos, base = state["pos"], kick(state.v, frame.force, dt)

        def moved(v: Tensor) -> Tensor:
            return pos + dt * v[:, : self.problem.d_x]

        def arrive(v: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
            x = moved(v)
            return x, *self.force.begin(x)

        # Without a control the positions move by the kicked velocities: what the control changes is due to collisions.
        return Start((pos, state.v), base, (moved(base), base), arrive)

    def objective(self, start: Start, dt: float) -> ControlObjective:
        """That of the collisions alone, or of collisions and potential together."""
        if self.form == "split":
            return super().objective(start, dt)
        problem = self.problem
        assert problem.potential is not None
        e, temperature = problem.epsilon, problem.temperature
        return ControlObjective.joint(
            *start.at, problem.potential, dt=dt, epsilon=e, temperature=temperature, log_det=self.log_det
        )
