"""A control that is fitted to the particles, anew at every time step."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from graphlandau.base.errors import InvalidArgument
from graphlandau.base.precision import place
from graphlandau.nn.control import LinearControl, as_control_model
from graphlandau.nn.field import TRIED, require_derivatives
from graphlandau.objectives import ControlObjective
from graphlandau.training.descent import Descent
from graphlandau.training.initial_fit import InitialFit
from graphlandau.training.options import ControlTraining

__all__ = ["ControlFit"]

# Steps of the first fit between two looks at the clock.
INITIAL_BURST = 50


class ControlFit:
    """Minimises objectives over one control: by a solve where it is linear in its coefficients, else by Adam.

    Args:
        control: The field, or any ``nn.Module`` that maps :math:`(N, d_x), (N, d) \\to (N, d)`.
        training: How many steps, from where, and on how many particles.

    Raises:
        ValueError: If ``control`` is no module.
    """

    def __init__(self, control: nn.Module, training: ControlTraining) -> None:
        if not isinstance(control, nn.Module):
            raise InvalidArgument("control", "must be a torch.nn.Module", type(control).__name__)
        self.control, self.training = control, training
        # File of the first fit until a checkpoint of the run holds it.
        self.kept: Path | None = None

    def prepare(self, state: Data, generator: torch.Generator) -> None:
        """Put the control where the particles are, and build its optimiser.

        Raises:
            ValueError: If it does not map positions and velocities to velocities.
        """
        self.generator = generator
        model = as_control_model(self.control, state["pos"].size(1), state.v.size(1))
        # Closed forms keep their weights in float64, in which they are solved for.
        if isinstance(model, LinearControl):
            model.to(state.v.device)
        else:
            place(model, state.v.device, state.v.dtype)
        self.model = model.eval()
        self.start = {key: x.clone() for key, x in self.model.state_dict().items()}
        with torch.enable_grad():
            trainable = self.model(state["pos"][:2], state.v[:2]).requires_grad
        self.trained = trainable and not isinstance(model, LinearControl)
        self.descent = self._descent()
        if not isinstance(model, LinearControl):
            require_derivatives(self.model, (state["pos"][:TRIED], state.v[:TRIED]), "control")

    def _descent(self) -> Descent | None:
        if not self.trained:
            return None
        return Descent(self.model, self.training.learning_rate, self.training.minibatch, self.generator)

    @property
    def begun(self) -> bool:
        """Whether the first fit is over."""
        return self.descent is not None and self.descent.steps_taken > 0

    def __call__(self, objective: ControlObjective, x: Tensor, v: Tensor, shear: float = 0.0) -> None:
        """Minimise the mean of ``objective`` over the controls at ``(x, v)``."""
        if not self.training.warm_start:
            self.model.load_state_dict(self.start)
            self.descent = self._descent()
        if isinstance(self.model, LinearControl):
            self.model.solve(objective, x, v, shear)
        elif self.descent is not None:
            model, training = self.model, self.training
            particles = Data(x=x, v=v, index=torch.arange(v.size(0), device=v.device))

            def loss(some: Data) -> Tensor:
                return objective.subset(some.index)(*model.value_and_jacobian(some["x"], some["v"], shear)).mean()

            if self.begun or not training.warm_start:
                self.descent.run(particles, training.steps if self.begun else training.initial_steps, loss)
                return
            with InitialFit(model, self.descent, training.initial_steps, INITIAL_BURST, self.kept) as fit:
                while fit.left:
                    self.descent.run(particles, fit.next_burst(), loss)

    def state_dict(self) -> dict[str, Tensor]:
        """Control and optimiser."""
        tensors = {f"model.{key}": x for key, x in self.model.state_dict().items()}
        if self.descent is not None:
            tensors |= {f"descent.{key}": x for key, x in self.descent.state_dict().items()}
        return tensors

    def load_state_dict(self, tensors: dict[str, Tensor]) -> None:
        """Restore them."""

        def part(name: str) -> dict[str, Tensor]:
            return {key.removeprefix(name): x for key, x in tensors.items() if key.startswith(name)}

        self.model.load_state_dict(part("model."))
        if self.descent is not None:
            self.descent.load_state_dict(part("descent."))
