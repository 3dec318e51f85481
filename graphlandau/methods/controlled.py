"""Collisions by a control: a field of position and velocity that is fitted to the particles at every step."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from graphlandau.base.errors import InvalidArgument, NotInvertible
from graphlandau.base.validation import require_options
from graphlandau.fields import potential_energy
from graphlandau.integrators.inner_flow import segment_to_singular
from graphlandau.methods.kinetic_transport import Forced, KineticTransport, carried
from graphlandau.methods.method import Facts
from graphlandau.methods.options import Push
from graphlandau.nn.control import ControlModel
from graphlandau.objectives import ControlObjective, log_determinant
from graphlandau.physics.moments import kinetic_energy
from graphlandau.problems import KineticProblem
from graphlandau.training.control_fit import ControlFit
from graphlandau.training.initial_fit import forget
from graphlandau.training.options import ControlTraining

log = logging.getLogger(__name__)

__all__ = ["ControlledTransport", "Start"]

# Places between particles at which a step is looked at: whether its map is invertible there.
PROBES = 1000


class Start(NamedTuple):
    r"""Where the control of a step acts: :math:`v' = \text{base} + \Delta t \, u(\text{at})`.

    Attributes:
        at: Positions and velocities at which the control is fitted and evaluated.
        base: Velocities that it pushes.
        mapped: Positions and velocities to which the symplectic map leads, without a control.
        arrive: New velocities to positions (not wrapped), force and field there.
        shear: :math:`c` in the Jacobian :math:`u_v + c \, u_x` of the step.
    """

    at: tuple[Tensor, Tensor]
    base: Tensor
    mapped: tuple[Tensor, Tensor]
    arrive: Callable[[Tensor], tuple[Tensor, Tensor, Tensor | None]]
    shear: float = 0.0


class ControlledTransport(KineticTransport):
    r"""Particles that are pushed by a symplectic map and by a control, :math:`v' = v^* + \Delta t \, u(x, v)`.

    A subclass says which objective the control minimises (:meth:`objective`), and where in the step it acts
    (:meth:`start`; after the symplectic map, unless it says otherwise). A control that is linear in its coefficients is
    solved for; any other takes gradient steps (Adam), from where the step before left it: a control that starts anew
    needs hundreds of steps, and with too few of them a run looks plausible and is wrong.

    Args:
        control: The field ``u``, or any ``nn.Module`` that maps :math:`(N, d_x), (N, d) \to (N, d)`.
        training: How it is fitted, and by which determinant.
        push: Symplectic map and field.
        seed: Seed of mini-batches.

    Raises:
        ValueError: If ``control`` is no module.
        NotInvertible: In a run, if the map of a step is not (:math:`\det \le 0` for a particle).
    """

    def __init__(
        self,
        control: nn.Module,
        training: ControlTraining = ControlTraining(),
        push: Push = Push(),
        seed: int = 0,
    ) -> None:
        super().__init__(push, seed)
        self.fit = ControlFit(control, require_options("training", training, ControlTraining))
        self.log_det = training.log_det
        # Of the step that led to the state: what the metrics show beside it.
        self.change = {"collision_free_energy_change": 0.0, "map_energy_change": 0.0}
        self.balance = 0.0

    @property
    def model(self) -> ControlModel:
        """The control."""
        return self.fit.model

    def facts(self, problem: KineticProblem, particles: int) -> Facts:
        """The control."""
        return Facts(models={"control": type(self.fit.control).__name__})

    def foresee(self, t_end: float, workspace: Path | None) -> None:
        """Keep the first fit in ``workspace`` until a checkpoint of the run holds it."""
        self.fit.kept = None if workspace is None else workspace / "initial_fit.safetensors"

    def checkpointed(self) -> None:
        """Remove the file of the first fit once it is over."""
        if self.fit.begun:
            forget(self.fit.kept)

    def prepare(self, state: Data, problem: KineticProblem) -> None:
        """Take force and collisions of ``problem``, and fit the control to the device of ``state``."""
        if problem.epsilon == 0:
            raise InvalidArgument("epsilon", "must be positive for a method with collisions", "0")
        super().prepare(state, problem)
        self.fit.prepare(state, self.generator)
        self.change = dict.fromkeys(self.change, 0.0)
        self.balance = 0.0
        self.warned = False

    def start(self, state: Data, frame: Forced, dt: float) -> Start:
        """Where the control acts: after the symplectic map, on what it leads to."""
        x, v, force, field = self.push(state, frame, dt)
        return Start((x, v), v, (x, v), lambda _: (x, force, field))

    def objective(self, start: Start, dt: float) -> ControlObjective:
        """What the control of a step of ``dt`` minimises: that of a JKO step of the collisions alone."""
        e, temperature = self.problem.epsilon, self.problem.temperature
        return ControlObjective.split(start.base, dt=dt, epsilon=e, temperature=temperature, log_det=self.log_det)

    @torch.no_grad()
    def advance(self, state: Data, frame: Forced, dt: float) -> Data:
        """Fit the control where it acts, and push the velocities by it."""
        start = self.start(state, frame, dt)
        self.fit(self.objective(start, dt), *start.at, start.shear)
        u, jacobian = self.model.value_and_jacobian(*start.at, start.shear)
        log_det = self.log_det_of(jacobian, dt)
        self._warn_of_gaps(start, dt)
        v = start.base + dt * u
        x, force, field = start.arrive(v)
        self.note(state, start.mapped, (x, v), field, log_det)
        if self.balanced:
            dissipated = dt * (u * self.implied_score(start.base, v, u)).double().sum(1).mean()
            self.balance -= self.problem.mass * float(log_det.double().mean() + dissipated)
        tensors = {"v": v, "control": u} | carried(state, log_det)
        return self.after(state.t + dt, self.force.wrap(x), force, field, tensors)

    @property
    def balanced(self) -> bool:
        """Whether a control is a statement about the score, from which the entropy that it dissipates follows."""
        return True

    def implied_score(self, base: Tensor, v: Tensor, u: Tensor) -> Tensor:
        r"""The score that a control stands for, :math:`-(v' + u / \varepsilon) / T_0`: that after a JKO step."""
        return -(v + u / self.problem.epsilon) / self.problem.temperature

    def _warn_of_gaps(self, start: Start, dt: float) -> None:
        """Say once if the map is not invertible between particles: two of them may land on one place unnoticed."""
        x, v = start.at
        m = min(v.size(0) // 2, PROBES)
        if self.warned or m == 0:
            return
        # Midpoints of pairs of velocities lie inside the plasma, also where no particle is.
        jacobian = self.model.value_and_jacobian(x[:m], 0.5 * (v[:m] + v[-m:]), start.shear)[1]
        reach = segment_to_singular((_factor(jacobian, dt),))
        if bool((reach <= 1).any()):
            self.warned = True
            log.warning(
                "the map of a step is not invertible between the particles (%.1f%% of %d places looked at), where none "
                "shows it: the log-density comes out too low; with this control a dt below %.3g would have passed",
                100 * float((reach <= 1).double().mean()),
                m,
                float(reach.min()) * dt,
            )

    def log_det_of(self, jacobian: Tensor, dt: float) -> Tensor:
        r""":math:`\log\det(I + \Delta t \, J)`, or its first order in ``dt``, of each particle.

        Raises:
            NotInvertible: If on the segment from the identity a determinant reaches 0.
        """
        reach = segment_to_singular((_factor(jacobian, dt),))
        n, failing = len(reach), int((reach <= 1).sum())
        if failing:
            raise NotInvertible(failing, n, dt, float(reach.min()) * dt)
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
        r"""How the last step's collisions changed the free energy, and its symplectic map the energy.

        ``entropy_balance`` is what the carried entropy has changed by until now, less :math:`\sum \Delta t \, M \langle
        s \cdot u \rangle` with the score that the control stands for: zero to the order of the steps, if that is the
        score of the particles.
        """
        known = self.balanced and self.problem.log_density_known
        return self.change | ({"entropy_balance": self.balance} if known else {})

    def state_dict(self) -> dict[str, Tensor]:
        """Control, optimiser, random state, and what the last step changed."""
        change = {f"change.{key}": torch.tensor(x, dtype=torch.float64) for key, x in self.change.items()}
        change["balance"] = torch.tensor(self.balance, dtype=torch.float64)
        return super().state_dict() | self.fit.state_dict() | change

    def load_state_dict(self, tensors: dict[str, Tensor]) -> None:
        """Restore them."""
        super().load_state_dict(tensors)
        self.fit.load_state_dict(tensors)
        self.change = {key: float(tensors[f"change.{key}"]) for key in self.change}
        self.balance = float(tensors["balance"])


def _factor(jacobian: Tensor, dt: float) -> Tensor:
    return torch.eye(jacobian.size(1), dtype=jacobian.dtype, device=jacobian.device) + dt * jacobian
