"""What an integrator is: a step along a drift whose scores are held fixed, its order, and the Jacobian of the step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor

__all__ = ["DriftField", "Integrator", "Moved"]

DriftField = Callable[[Tensor], Tensor]


class Moved(NamedTuple):
    """Velocities after a step, and the places where the drift was evaluated on the way."""

    v: Tensor
    at: tuple[Tensor, ...]


class Integrator(ABC):
    r"""One step of :math:`\dot v = U(v; s)`, in which the scores ``s`` belong to the start of the step.

    The Jacobian of the step is :math:`(I + \Delta t \, B)^{-1} (I + \Delta t \, A)`. :meth:`factors` makes :math:`A`
    and :math:`B` from what the drift has at its places :math:`y_k`: :math:`T_k = \partial_v U(y_k)`, the particle's own
    velocity moved, and :math:`S_k = \partial_s U(y_k) \, \nabla s`. All of them are :math:`(N, d, d)`.

    Attributes:
        order: Order of convergence for a score that is a constant of the motion. A score that is estimated anew at
            every step makes it first order in time, whatever the integrator.
        weights: Weight of the drift at each place, of sum 1: :math:`\log\det` is
            :math:`\Delta t \sum_k b_k \operatorname{tr}(T_k + S_k)` to first order.

    Example:
        A scheme of one's own needs no registration: ``Step(integrator=Mine())``, or its import path.
    """

    order: int
    weights: tuple[float, ...]

    @abstractmethod
    def step(self, v: Float[Tensor, "N d"], drift: DriftField, dt: float) -> Moved:
        """Velocities after ``dt``, and where ``drift`` was evaluated; ``v`` itself where it was that.

        Raises:
            ValueError: If ``dt`` is not positive.
        """

    @abstractmethod
    def factors(self, T: Sequence[Tensor], S: Sequence[Tensor], dt: float) -> tuple[Tensor, Tensor | None]:
        r""":math:`A` and :math:`B` of the Jacobian; ``None`` for :math:`B = 0`."""

    @abstractmethod
    def slopes(self, T: Sequence[Tensor], S: Sequence[Tensor], dt: float) -> list[Tensor | None]:
        r"""How each place moves with the velocity, :math:`\partial y_k / \partial v`; ``None`` for the identity."""
