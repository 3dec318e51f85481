"""A correction to the Gaussian score that has to prove itself on particles it was not trained on."""

from __future__ import annotations

import torch
from torch import Tensor

from graphlandau.nn.score.base import given
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
    per_plasma = ("mean", "whitening", "gate")

    def __init__(self, d: int) -> None:
        super().__init__(d)
        self.register_buffer("gate", torch.ones(()))

    def correction(self, x: Tensor, batch: Tensor | None = None) -> Tensor:
        """What is added to the Gaussian score, in whitened velocities."""
        raise NotImplementedError

    def correction_and_divergence(self, x: Tensor, batch: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The correction and its divergence, or an estimate of it whose noise is independent of the particles."""
        raise NotImplementedError

    def condition(self, v: Tensor, weight: Tensor | None = None, batch: Tensor | None = None) -> None:
        """Take mean and covariance from the particles, of each plasma if there are several, and open the gate.

        Raises:
            ValueError: As :meth:`WhitenedScore.condition`.
        """
        super().condition(v, weight, batch)
        self.store("gate", torch.ones(self.mean.shape[:-1]))

    @torch.no_grad()
    def judge(self, v: Tensor, weight: Tensor | None = None, batch: Tensor | None = None) -> None:
        """Open the gate, of each plasma, if the implicit loss of these particles is lower with the correction."""
        x = self.whiten(v, batch)
        value, divergence = self.correction_and_divergence(x, **given(batch=batch))
        # |s|^2 + 2 div s, in whitened velocities, less its value for the base -x.
        gain = value.square().sum(1) - 2 * (value * x).sum(1) + 2 * divergence
        gain = gain if weight is None else weight * gain
        plasmas = self.plasmas()
        if plasmas is None or batch is None:
            self.gate.fill_(float(gain.sum() < 0))
        else:
            self.gate.copy_(gain.new_zeros(plasmas).index_add(0, batch, gain) < 0)

    def gate_of(self, batch: Tensor | None) -> Tensor:
        """The gate of each particle's plasma, to be multiplied with its vector."""
        gate = self.of_plasma(self.gate, batch)
        return gate if gate.dim() == 0 else gate[:, None]

    def whitened_score(self, x: Tensor, batch: Tensor | None = None) -> Tensor:
        """Score in whitened velocities."""
        return self.gate_of(batch) * self.correction(x, **given(batch=batch)) - x
