"""Collisions by a control: a field of position and velocity that is fitted to the particles at every step."""

from __future__ import annotations

import logging

import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from graphlandau.base.errors import InvalidArgument, NotInvertible
from graphlandau.base.validation import require_one_of
from graphlandau.fields import potential_energy
from graphlandau.integrators.inner_flow import segment_to_singular
from graphlandau.methods.kinetic_transport import KineticTransport
from graphlandau.methods.method import Facts
from graphlandau.nn.control import ControlModel
from graphlandau.objectives import ControlObjective, log_determinant
from graphlandau.physics.moments import kinetic_energy
from graphlandau.problems import KineticProblem
from graphlandau.training.control_fit import ControlFit

log = logging.getLogger(__name__)

__all__ = ["ControlledTransport"]

# Places between particles at which a step is looked at for folds.
PROBES = 1000


class ControlledTransport(KineticTransport):
    r"""Particles that are pushed by a symplectic map and by a control, :math:`v' = v^* + \Delta t \, u(x, v)`.

    A subclass says which objective the control minimises. A control that is linear in its coefficients is solved for;
    any other takes gradient steps (Adam), from where the step before left it: a control that starts anew needs hundreds
    of steps, and with too few of them a run looks plausible and is wrong.

    Args:
        control: The field ``u``, or any ``nn.Module`` that maps :math:`(N, d_x), (N, d) \to (N, d)`.
        log_det: ``"exact"`` or ``"trace"``.
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
        ValueError: If an option is not one of its choices.
        ArithmeticError: In a run, if a step folds velocity space (:math:`\det \le 0` for a particle).
    """

    def __init__(
        self,
        control: nn.Module,
        *,
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
        super().__init__(map=map, order=order, cells=cells, field=field, seed=seed)
        self.fit = ControlFit(
            control,
            steps=steps,
            initial_steps=initial_steps,
            warm_start=warm_start,
            learning_rate=learning_rate,
            minibatch=minibatch,
        )
        self.log_det = require_one_of("log_det", log_det, ("exact", "trace"))
        # Of the step that led to the state: what the metrics show beside it.
        self.change = {"collision_free_energy_change": 0.0, "map_energy_change": 0.0}

    @property
    def model(self) -> ControlModel:
        """The control."""
        return self.fit.model

    def facts(self, problem: KineticProblem, particles: int) -> Facts:
        """The control."""
        return Facts(models={"control": type(self.fit.control).__name__})

    def prepare(self, state: Data, problem: KineticProblem) -> None:
        """Take force and collisions of ``problem``, and fit the control to the device of ``state``."""
        if problem.epsilon == 0:
            raise InvalidArgument("epsilon", "must be positive for a method with collisions", "0")
        super().prepare(state, problem)
        self.fit.prepare(state, self.generator)
        self.warned = False

    def collide(self, state: Data, x: Tensor, v: Tensor, field: Tensor | None, dt: float) -> dict[str, Tensor]:
        """Minimise at ``(x, v)``, where the map has led, and move the velocities from there."""
        tensors, log_det = self.controlled(state, self.objective(v, dt), (x, v), v, dt)
        self.note(state, (x, v), (x, tensors["v"]), field, log_det)
        return tensors

    def objective(self, v: Tensor, dt: float) -> ControlObjective:
        """What the control of a collision step from the velocities ``v`` minimises."""
        e, temperature = self.problem.epsilon, self.problem.temperature
        return ControlObjective.split(v, dt=dt, epsilon=e, temperature=temperature, log_det=self.log_det)

    def controlled(
        self,
        state: Data,
        objective: ControlObjective,
        at: tuple[Tensor, Tensor],
        base: Tensor,
        dt: float,
        shear: float = 0.0,
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Minimise ``objective`` over the controls at ``at``, and push the velocities ``base`` by the minimiser.

        Returns:
            New velocities, log-densities and the control at the particles; and the logarithm of the determinant.
        """
        self.fit(objective, *at, shear)
        u, jacobian = self.model.value_and_jacobian(*at, shear)
        log_det = self.log_det_of(jacobian, dt)
        self._warn_of_folds_between(*at, dt, shear)
        return {"v": base + dt * u, "log_f": state.log_f - log_det, "control": u}, log_det

    def _warn_of_folds_between(self, x: Tensor, v: Tensor, dt: float, shear: float) -> None:
        """Say once if the map folds in a gap between particles: then two of them may land on one place unnoticed."""
        m = min(v.size(0) // 2, PROBES)
        if self.warned or m == 0:
            return
        # Midpoints of pairs of velocities lie inside the plasma, also where no particle is.
        jacobian = self.model.value_and_jacobian(x[:m], 0.5 * (v[:m] + v[-m:]), shear)[1]
        reach = segment_to_singular((_factor(jacobian, dt),))
        if bool((reach <= 1).any()):
            self.warned = True
            log.warning(
                "the map of a step folds between the particles (%.1f%% of %d places looked at), where none shows it: "
                "the log-density comes out too low; with this control a dt below %.3g would have passed",
                100 * float((reach <= 1).double().mean()),
                m,
                float(reach.min()) * dt,
            )

    def log_det_of(self, jacobian: Tensor, dt: float) -> Tensor:
        r""":math:`\log\det(I + \Delta t \, J)`, or its first order in ``dt``, of each particle.

        Raises:
            ArithmeticError: If a step folds: on the segment from the identity a determinant reaches 0.
        """
        reach = segment_to_singular((_factor(jacobian, dt),))
        n, folded = len(reach), int((reach <= 1).sum())
        if folded:
            raise NotInvertible(folded, n, dt, float(reach.min()) * dt)
        if self.log_det == "trace":
            return dt * jacobian.diagonal(dim1=1, dim2=2).sum(-1)
        return log_determinant(jacobian, dt)

    def note(
        self,
        state: Data,
        mapped: tuple[Tensor, Tensor],
        collided: tuple[Tensor, Tensor],
        field: Tensor | None,
        log_det: Tensor,
    ) -> None:
        """Remember how the map changed the energy, and collisions the free energy.

        Args:
            state: Before the step.
            mapped: Positions and velocities after the map.
            collided: Positions and velocities after the collisions.
            field: Field after the step.
            log_det: Logarithm of the determinant of the collisions.
        """
        problem, mass = self.problem, self.problem.mass

        def energy(x: Tensor, v: Tensor, field: Tensor | None) -> float:
            place = {"mass": mass, "potential": problem.potential, "volume": problem.volume}
            return kinetic_energy(v, mass) + potential_energy(x, field=field, **place)

        between = energy(*mapped, field)
        entropy = -mass * problem.temperature * float(log_det.double().mean())
        self.change = {
            "collision_free_energy_change": energy(*collided, field) - between + entropy,
            "map_energy_change": between - energy(state["pos"], state.v, state.get("field")),
        }

    def record(self) -> dict[str, float]:
        """How the last step's collisions changed the free energy, and its symplectic map the energy."""
        return self.change

    def state_dict(self) -> dict[str, Tensor]:
        """Control, optimiser, random state, and what the last step changed."""
        change = {f"change.{key}": torch.tensor(x, dtype=torch.float64) for key, x in self.change.items()}
        return super().state_dict() | self.fit.state_dict() | change

    def load_state_dict(self, tensors: dict[str, Tensor]) -> None:
        """Restore them."""
        super().load_state_dict(tensors)
        self.fit.load_state_dict(tensors)
        self.change = {key: float(tensors[f"change.{key}"]) for key in self.change}


def _factor(jacobian: Tensor, dt: float) -> Tensor:
    return torch.eye(jacobian.size(1), dtype=jacobian.dtype, device=jacobian.device) + dt * jacobian
