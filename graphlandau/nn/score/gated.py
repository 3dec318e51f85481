"""A correction to the Gaussian score that has to prove itself on particles it was not trained on."""

from __future__ import annotations

import torch
from torch import Tensor

from graphlandau.nn.score.whitened import WhitenedScore

__all__ = ["GatedScore"]


class GatedScore(WhitenedScore):
    r"""The Gaussian score of the particles plus a correction :math:`c` behind a gate, in whitened velocities.

    .. math::
        s_x(x) = -x + g \, c(x), \qquad g \in \{0, 1\}

    ``condition`` takes mean and covariance from the particles and opens the gate; ``judge``, called with particles that
    were not trained on, leaves it open only if their implicit loss is lower with the correction than without. A
    subclass writes :meth:`correction` and :meth:`correction_and_divergence`.
    """

    gate: Tensor

    def __init__(self, d: int) -> None:
        super().__init__(d)
        self.register_buffer("gate", torch.ones(()))

    def correction(self, x: Tensor) -> Tensor:
        """What is added to the Gaussian score, in whitened velocities."""
        raise NotImplementedError

    def correction_and_divergence(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The correction and its divergence, or an estimate of it whose noise is independent of the particles."""
        raise NotImplementedError

    def condition(self, v: Tensor, weight: Tensor | None = None) -> None:
        """Take mean and covariance from the particles, and open the gate.

        Raises:
            ValueError: If ``v`` is not finite, has fewer than ``d + 2`` particles, or a singular covariance.
        """
        super().condition(v, weight)
        self.gate.fill_(1)

    @torch.no_grad()
    def judge(self, v: Tensor, weight: Tensor | None = None) -> None:
        """Open the gate if the implicit loss of these particles is lower with the correction."""
        x = self.whiten(v)
        value, divergence = self.correction_and_divergence(x)
        # |s|^2 + 2 div s, in whitened velocities, less its value for the base -x.
        gain = value.square().sum(1) - 2 * (value * x).sum(1) + 2 * divergence
        total = gain.sum() if weight is None else (weight * gain).sum()
        self.gate.fill_(float(total < 0))

    def whitened_score(self, x: Tensor) -> Tensor:
        """Score in whitened velocities."""
        return self.gate * self.correction(x) - x
