"""Particles with positions: a symplectic map for Vlasov's part of the equation, then collisions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch_geometric.data import Data

from graphlandau.base.state import particle_state
from graphlandau.base.validation import as_number, require_finite
from graphlandau.integrators.symplectic import MAPS
from graphlandau.methods.forces import Force, force_of
from graphlandau.methods.method import Frame, Method
from graphlandau.methods.options import Push
from graphlandau.problems import KineticProblem

__all__ = ["Forced", "KineticTransport", "carried"]


@dataclass
class Forced(Frame):
    r"""Force on every particle, :math:`(N, d_x)`, and the electric field on the grid, if there is one."""

    force: Tensor
    field: Tensor | None = None

    def computed(self) -> dict[str, Tensor]:
        """Return force and field."""
        return {"force": self.force} | self.shown()

    def shown(self) -> dict[str, Tensor]:
        """Return the field."""
        return {} if self.field is None else {"field": self.field}


def carried(state: Data, log_det: Tensor | float = 0.0) -> dict[str, Tensor]:
    """The log-density after a step with this logarithm of its determinant; nothing where it is not known."""
    return {"log_f": state.log_f - log_det} if "log_f" in state else {}


class KineticTransport(Method[KineticProblem, Forced]):
    r"""Vlasov's equation by particles, with collisions that a subclass adds.

    .. math::
        \partial_t f + v \cdot \nabla_x f + F \cdot \nabla_v f
        = \varepsilon \nabla_v \cdot (v f + T_0 \nabla_v f)

    A step is a symplectic map :math:`(x, v) \to (x^*, v^*)` and then the collisions of :meth:`collide` for the whole
    time step, at fixed positions. Force and field stay in the state (``force``, ``field``): a step solves for them
    once.

    Args:
        push: Symplectic map and field.
        seed: Seed of every random choice of the method.
    """

    solves: ClassVar[Any] = KineticProblem
    force: Force

    def __init__(self, push: Push = Push(), seed: int = 0) -> None:
        self.options, self.seed = push, as_number(seed)
        self.generator = torch.Generator().manual_seed(self.seed)

    def prepare(self, state: Data, problem: KineticProblem) -> None:
        """Take the force of ``problem`` and the device of ``state``."""
        self.problem = problem
        self.force = force_of(problem, self.options)
        self.generator = torch.Generator(device=state.v.device).manual_seed(self.seed)

    @torch.no_grad()
    def initialise(self, state: Data, problem: KineticProblem) -> Data:
        """Prepare, compute the force, and start the log-density from the initial density."""
        self.prepare(state, problem)
        require_finite("pos", state["pos"])
        state["pos"] = self.force.wrap(state["pos"])
        force, field = self.force.begin(state["pos"])
        tensors = {"v": state.v}
        if self.carries_log_f and "log_f" in state:
            tensors["log_f"] = state.log_f
        elif self.carries_log_f and problem.log_density_known:
            tensors["log_f"] = problem.log_f(state["pos"], state.v).to(state.v.dtype)
        return self.after(state.t, state["pos"], force, field, tensors)

    @property
    def energy_order(self) -> float | None:
        """That of the symplectic map."""
        return MAPS[self.options.map].order

    @property
    def carries_log_f(self) -> bool:
        """Whether the log-density is known along the trajectories, if it is known at the start."""
        return True

    def evaluate(self, state: Data, dt: float | None = None) -> Forced:
        """Force and field at ``state``, which carries them."""
        return Forced(state.force, state.get("field"))

    @torch.no_grad()
    def advance(self, state: Data, frame: Forced, dt: float) -> Data:
        """The state after the symplectic map and the collisions."""
        x, v, force, field = self.push(state, frame, dt)
        return self.after(state.t + dt, self.force.wrap(x), force, field, self.collide(state, x, v, field, dt))

    def push(self, state: Data, frame: Forced, dt: float) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Positions (not wrapped), velocities, force and field after the symplectic map."""
        followed: list[tuple[Tensor, Tensor | None]] = []

        def force_after(moved: Tensor) -> Tensor:
            followed.append(self.force.follow(state["pos"], moved, frame.field, dt))
            return followed[0][0]

        x, v = MAPS[self.options.map].step(state["pos"], state.v, frame.force, force_after, dt)
        return x, v, *followed[0]

    def collide(self, state: Data, x: Tensor, v: Tensor, field: Tensor | None, dt: float) -> dict[str, Tensor]:
        """What collisions change of the particles (``v``, ``log_f``) after the map; here nothing.

        Args:
            state: Before the step.
            x: Positions after the map, not wrapped.
            v: Velocities after the map.
            field: Field after the map.
            dt: Time step.
        """
        return {"v": v} | carried(state)

    def after(self, t: float, x: Tensor, force: Tensor, field: Tensor | None, tensors: dict[str, Tensor]) -> Data:
        """The state of these tensors at ``t``; without a field there is none in it."""
        return particle_state(t=t, pos=x, force=force, field=field, checked=False, **tensors)

    def state_dict(self) -> dict[str, Tensor]:
        """State of the random generator."""
        return {"generator": self.generator.get_state()}

    def load_state_dict(self, tensors: dict[str, Tensor]) -> None:
        """Restore the random generator."""
        self.generator.set_state(tensors["generator"])
