"""The Langevin equation: the Fokker-Planck operator by random forces, a reference without scores."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch_geometric.data import Data

from graphlandau.base.errors import InvalidArgument
from graphlandau.base.validation import require_one_of
from graphlandau.methods.kinetic_transport import Forced, KineticTransport
from graphlandau.methods.options import Push

__all__ = ["Langevin"]


class Langevin(KineticTransport):
    r"""Langevin dynamics: after every symplectic map a step of :math:`dv = -\varepsilon v \, dt
    + \sqrt{2 \varepsilon T_0} \, dW`.

    ``"euler_maruyama"``: :math:`v' = (1 - \varepsilon \Delta t) v^* + \sqrt{2 \varepsilon T_0 \Delta t} \, \xi`, which
    leaves the variance :math:`T_0 / (1 - \varepsilon \Delta t / 2)` and needs :math:`\varepsilon \Delta t < 2`;
    ``"ornstein_uhlenbeck"``: the exact solution, :math:`v' = e^{-\varepsilon \Delta t} v^*
    + \sqrt{T_0 (1 - e^{-2 \varepsilon \Delta t})} \, \xi`. Noise makes no log-density known along a trajectory.

    Args:
        noise: ``"euler_maruyama"`` or ``"ornstein_uhlenbeck"``.
        push: Symplectic map and field.
        seed: Seed of the noise.

    Raises:
        ValueError: If an option is not one of its choices; in a run, if Euler-Maruyama is unstable at its time step.

    Reference: arXiv:2603.23901, Eqs. (1), (11).
    """

    def __init__(self, noise: str = "euler_maruyama", *, push: Push = Push(), seed: int = 0) -> None:
        super().__init__(push, seed)
        self.noise = require_one_of("noise", noise, ("euler_maruyama", "ornstein_uhlenbeck"))

    @property
    def carries_log_f(self) -> bool:
        """No: the noise is not a map of the velocities."""
        return False

    def evaluate(self, state: Data, dt: float | None = None) -> Forced:
        """Force and field; a time step at which Euler-Maruyama is unstable is refused."""
        if dt is not None and self.noise == "euler_maruyama" and self.problem.epsilon * dt >= 2:
            limit = f"2 / epsilon = {2 / self.problem.epsilon:g}"
            raise InvalidArgument("dt", f"must be below {limit} for Euler-Maruyama", f"{dt:g}")
        return super().evaluate(state, dt)

    def collide(self, state: Data, x: Tensor, v: Tensor, field: Tensor | None, dt: float) -> dict[str, Tensor]:
        """Drag and noise."""
        strength = self.problem.epsilon * dt
        if self.noise == "euler_maruyama":
            keep, variance = 1 - strength, 2 * strength
        else:
            keep, variance = math.exp(-strength), -math.expm1(-2 * strength)
        xi = torch.randn(v.shape, generator=self.generator, dtype=v.dtype, device=v.device)
        return {"v": keep * v + math.sqrt(variance * self.problem.temperature) * xi}
