"""The kinetic JKO scheme with the field of the particles themselves."""

from __future__ import annotations

import torch
from torch import nn
from torch_geometric.data import Data

from graphlandau.base.errors import InvalidArgument
from graphlandau.base.validation import require_one_of
from graphlandau.methods.controlled import ControlledTransport
from graphlandau.methods.kinetic_transport import Forced
from graphlandau.problems import KineticProblem

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
        log_det: ``"exact"`` or ``"trace"``, in the objective and in the log-density that is carried.
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
        ValueError: If an argument is out of range, or the problem has no collisions or no field of its own.
        ArithmeticError: In a run, if a step folds velocity space (:math:`\det \le 0` for a particle).

    Reference: arXiv:2603.23901, Eq. (36), Algorithm 2. The split form, the exact determinant and the closed forms are
    ours.
    """

    def __init__(
        self,
        control: nn.Module,
        *,
        control_at: str = "new",
        log_det: str = "exact",
        steps: int = 50,
        initial_steps: int = 1000,
        warm_start: bool = True,
        learning_rate: float = 1e-3,
        minibatch: int | None = 2048,
        map: str = "verlet",
        order: int = 1,
        cells: int | None = None,
        field: str = "poisson",
        seed: int = 0,
    ) -> None:
        super().__init__(
            control,
            log_det=log_det,
            steps=steps,
            initial_steps=initial_steps,
            warm_start=warm_start,
            learning_rate=learning_rate,
            minibatch=minibatch,
            map=map,
            order=order,
            cells=cells,
            field=field,
            seed=seed,
        )
        self.control_at = require_one_of("control_at", control_at, ("new", "old"))
        if control_at == "old" and map != "drift_kick":
            raise InvalidArgument("map", "must be 'drift_kick' for control_at 'old'", repr(map))

    def prepare(self, state: Data, problem: KineticProblem) -> None:
        """Refuse a problem without a field; the rest as every control."""
        if not problem.self_consistent:
            raise InvalidArgument(
                "method", f"must be kinetic_jko for {problem.name}, which has no field of its own", "pic_jko"
            )
        super().prepare(state, problem)

    @torch.no_grad()
    def advance(self, state: Data, frame: Forced, dt: float) -> Data:
        """The state after a step."""
        if self.control_at == "new":
            return super().advance(state, frame, dt)
        x, v, force, field = self.push(state, frame, dt)
        shear = -dt if self.log_det == "exact" else 0.0
        tensors, log_det = self.controlled(state, self.objective(v, dt), (state["pos"], state.v), v, dt, shear)
        self.note(state, (x, v), (x, tensors["v"]), field, log_det)
        return self.after(state.t + dt, self.force.wrap(x), force, field, tensors)
