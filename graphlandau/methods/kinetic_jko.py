"""The kinetic JKO scheme in an external potential."""

from __future__ import annotations

import torch
from torch import nn
from torch_geometric.data import Data

from graphlandau.base.errors import InvalidArgument
from graphlandau.base.validation import require_one_of
from graphlandau.integrators.symplectic import kick
from graphlandau.methods.controlled import ControlledTransport
from graphlandau.methods.kinetic_transport import Forced
from graphlandau.objectives import ControlObjective
from graphlandau.problems import KineticProblem

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
        log_det: ``"exact"`` or ``"trace"``, in the objective and in the log-density that is carried.
        steps: Gradient steps per time step, for a control that is not solved for.
        initial_steps: Gradient steps at the first time step.
        warm_start: Whether a time step begins with the control of the one before.
        learning_rate: Of Adam.
        minibatch: Particles per gradient step; ``None`` takes all.
        map: Symplectic map of the split form: ``"verlet"``, ``"kick_drift"`` or ``"drift_kick"``.
        seed: Seed of mini-batches.

    Raises:
        ValueError: If an argument is out of range, the problem has no collisions, or a field of its own.
        ArithmeticError: In a run, if a step folds velocity space (:math:`\det \le 0` for a particle).

    Reference: arXiv:2603.23901, Eqs. (18), (25), (26), (30), (31), Algorithm 1, Propositions 4 and 6. The exact
    determinant and the closed forms are ours.
    """

    def __init__(
        self,
        control: nn.Module,
        *,
        form: str = "split",
        log_det: str = "exact",
        steps: int = 50,
        initial_steps: int = 1000,
        warm_start: bool = True,
        learning_rate: float = 1e-3,
        minibatch: int | None = 2048,
        map: str = "verlet",
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
            seed=seed,
        )
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

    @torch.no_grad()
    def advance(self, state: Data, frame: Forced, dt: float) -> Data:
        """The state after a step: the map first, or, in the joint form, positions after velocities."""
        if self.form == "split":
            return super().advance(state, frame, dt)
        problem, base = self.problem, kick(state.v, frame.force, dt)
        assert problem.potential is not None
        objective = ControlObjective.joint(
            state["pos"],
            state.v,
            problem.potential,
            dt=dt,
            epsilon=problem.epsilon,
            temperature=problem.temperature,
            log_det=self.log_det,
        )
        tensors, log_det = self.controlled(state, objective, (state["pos"], state.v), base, dt)
        x = state["pos"] + dt * tensors["v"][:, : problem.d_x]
        # Without a control the positions move by the kicked velocities: what the control changes is due to collisions.
        without = state["pos"] + dt * base[:, : problem.d_x]
        self.note(state, (without, base), (x, tensors["v"]), None, log_det)
        force, _ = self.force.begin(x)
        return self.after(state.t + dt, self.force.wrap(x), force, None, tensors)
