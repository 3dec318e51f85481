"""A network on top of the Gaussian score."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from graphlandau.nn.score.mlp import MLP
from graphlandau.nn.score.whitened import WhitenedScore

__all__ = ["ResidualScore"]


class ResidualScore(WhitenedScore):
    r"""The Gaussian score of the particles plus a network in whitened velocities.

    .. math::
        s(v) = \Sigma^{-1/2} \bigl(-x + g \, n_\theta(x)\bigr), \qquad x = \Sigma^{-1/2} (v - m)

    The last layer of :math:`n_\theta` starts at zero: the untrained model is the Gaussian score, so equilibrium and
    every Gaussian are exact and a network only ever learns the departure from them. Its inputs have standard
    deviation 1 whatever the temperature. Call ``condition`` on the particles before each fit, and ``judge`` on
    others after it: the gate :math:`g \in \{0, 1\}` opens only if their implicit loss is lower with the network than
    without by two standard errors, so that a few particles cannot be learned by heart.

    Args:
        d: Velocity dimensions.
        width: Units per hidden layer.
        depth: Number of hidden layers.
        activation: ``"silu"``, ``"softsign"`` or ``"tanh"``.

    Raises:
        ValueError: If a size is not a positive integer or ``activation`` is unknown.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> v = torch.randn(100, 3)
        >>> score = ResidualScore(3)
        >>> score.condition(v)
        >>> torch.allclose(score(v).T @ v / 100, -torch.eye(3), atol=1e-5)
        True
    """

    gate: Tensor

    def __init__(self, d: int, width: int = 32, depth: int = 3, activation: str = "silu") -> None:
        super().__init__(d)
        self.network = MLP(d, width, depth, activation)
        nn.init.zeros_(self.network.last.weight)
        nn.init.zeros_(self.network.last.bias)
        self.register_buffer("gate", torch.ones(()))

    def condition(self, v: Tensor, weight: Tensor | None = None) -> None:
        """Take mean and covariance from the particles, and open the gate.

        Raises:
            ValueError: If ``v`` is not finite, has fewer than ``d + 2`` particles, or a singular covariance.
        """
        super().condition(v, weight)
        self.gate.fill_(1)

    @torch.no_grad()
    def judge(self, v: Tensor, weight: Tensor | None = None) -> None:
        """Open the gate if the implicit loss of these particles is lower with the network by two standard errors."""
        x = self.whiten(v)
        value, jacobian = self.network.value_and_jacobian(x)
        # |s|^2 + 2 div s, in whitened velocities, less its value for the base -x.
        gain = value.square().sum(1) - 2 * (value * x).sum(1) + 2 * jacobian.diagonal(dim1=1, dim2=2).sum(-1)
        w = torch.full_like(gain, 1 / gain.numel()) if weight is None else weight / weight.sum()
        mean = (w * gain).sum()
        error = (w * (gain - mean)).norm()
        self.gate.fill_(float(mean + 2 * error < 0))

    def whitened_score(self, x: Tensor) -> Tensor:
        """Score in whitened velocities."""
        return self.gate * self.network(x) - x

    def whitened_score_and_jacobian(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Score and Jacobian in whitened velocities."""
        value, jacobian = self.network.value_and_jacobian(x)
        return self.gate * value - x, self.gate * jacobian - torch.eye(self.d, dtype=x.dtype, device=x.device)
