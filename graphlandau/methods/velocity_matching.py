"""Velocity matching: the kinetic equation as a transport equation in phase space, structure not respected."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from graphlandau.base.copies import copied
from graphlandau.base.errors import InvalidArgument
from graphlandau.methods.controlled import ControlledTransport
from graphlandau.methods.kinetic_transport import Forced, carried
from graphlandau.methods.options import Mesh, Push
from graphlandau.objectives import ControlObjective
from graphlandau.problems import KineticProblem
from graphlandau.training.control_fit import ControlFit
from graphlandau.training.initial_fit import forget
from graphlandau.training.options import ControlTraining

__all__ = ["VelocityMatching"]


class VelocityMatching(ControlledTransport):
    r"""Velocity matching in the whole of phase space.

    .. math::
        x' = x + \Delta t \, u^x(x, v), \qquad v' = v + \Delta t \, u^v(x, v)

    with the fields that match :math:`-A \nabla \frac{\delta \mathcal{E}}{\delta f}`,

    .. math::
        u^x = v + T_0 \nabla_v \log f, \qquad
        u^v = F - T_0 \nabla_x \log f - \varepsilon (v + T_0 \nabla_v \log f),

    by least squares over the particles, after integration by parts:
    :math:`\langle \tfrac12 |u^x|^2 - u^x \cdot v + T_0 \nabla_v \cdot u^x + \tfrac12 |u^v|^2
    - u^v \cdot (F - \varepsilon v) - T_0 (\nabla_x + \varepsilon \nabla_v) \cdot u^v \rangle`. (Printed with the
    opposite sign of the :math:`v + \nabla_v \log f` in :math:`u^v`, and without :math:`\varepsilon`.) The added terms
    :math:`\pm T_0 \nabla \log f` move no density, but they move particles. The fields are fitted at one time after the
    other: with parameters of their own at every time, that is the fixed point of the iteration over whole time
    intervals.

    Args:
        control: Both fields, each a copy, or any ``nn.Module`` that maps :math:`(N, d_x), (N, d) \to (N, d)`.
        training: How they are fitted, and by which determinant the log-density is carried.
        mesh: Grid of a field of the particles' own.
        seed: Seed of mini-batches.

    Raises:
        ValueError: If an argument is out of range, the problem has no collisions, or not as many dimensions of
            position as of velocity.
        NotInvertible: In a run, if the map of a step is not.

    Reference: arXiv:2603.23901, Eqs. (32)-(34).
    """

    def __init__(
        self,
        control: nn.Module,
        *,
        training: ControlTraining = ControlTraining(),
        mesh: Mesh = Mesh(),
        seed: int = 0,
    ) -> None:
        super().__init__(control, training, Push(**asdict(mesh)), seed)
        self.fit_x = ControlFit(copied(control), training)

    def foresee(self, t_end: float, workspace: Path | None) -> None:
        """Keep the first fits of both fields."""
        super().foresee(t_end, workspace)
        self.fit_x.kept = None if workspace is None else workspace / "initial_fit_x.safetensors"

    def checkpointed(self) -> None:
        """Remove their files."""
        super().checkpointed()
        if self.fit_x.begun:
            forget(self.fit_x.kept)

    @property
    def balanced(self) -> bool:
        """Its fields move particles by gradients in position and velocity together."""
        return False

    def prepare(self, state: Data, problem: KineticProblem) -> None:
        """Prepare both fields."""
        if problem.d_x != problem.d:
            dimensions = f"{problem.d_x} of position, {problem.d} of velocity"
            raise InvalidArgument("problem", "must have as many dimensions of position as of velocity", dimensions)
        super().prepare(state, problem)
        self.fit_x.prepare(state, self.generator)

    @torch.no_grad()
    def advance(self, state: Data, frame: Forced, dt: float) -> Data:
        """Fit both fields at the particles, and take an explicit step along them."""
        problem, x, v = self.problem, state["pos"], state.v
        e, temperature = problem.epsilon, problem.temperature
        self.fit_x(ControlObjective(1.0, -v, -temperature), x, v)
        # The divergence that the loss takes of u^v is (grad_x + epsilon grad_v), a sheared one.
        self.fit(ControlObjective(1.0, e * v - frame.force, e * temperature), x, v, 1 / e)
        jacobian, velocity = self._jacobian(x, v)
        log_det = self.log_det_of(jacobian, dt)
        moved = dt * velocity[:, : problem.d_x]
        force, field = self.force.follow(x, moved, frame.field, dt)
        after = v + dt * velocity[:, problem.d_x :]
        self.note(state, (x + moved, v), (x + moved, after), field, log_det)
        tensors = {"v": after} | carried(state, log_det)
        return self.after(state.t + dt, self.force.wrap(x + moved), force, field, tensors)

    def _jacobian(self, x: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Derivatives of both fields in position and velocity, ``(N, 2d, 2d)``, and the fields, ``(N, 2d)``."""
        rows, values = [], []
        for model in (self.fit_x.model, self.fit.model):
            value, by_v = model.value_and_jacobian(x, v)
            by_x = model.value_and_jacobian(x, v, 1.0)[1] - by_v
            rows.append(torch.cat([by_x, by_v], dim=2))
            values.append(value)
        return torch.cat(rows, dim=1), torch.cat(values, dim=1)

    def state_dict(self) -> dict[str, Tensor]:
        """Both fields."""
        return super().state_dict() | {f"x.{key}": tensor for key, tensor in self.fit_x.state_dict().items()}

    def load_state_dict(self, tensors: dict[str, Tensor]) -> None:
        """Restore them."""
        super().load_state_dict(tensors)
        self.fit_x.load_state_dict({key.removeprefix("x."): x for key, x in tensors.items() if key.startswith("x.")})
