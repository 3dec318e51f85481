"""A network on top of the Gaussian score."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from graphlandau.nn.score.gated import GatedScore
from graphlandau.nn.score.mlp import MLP

__all__ = ["ResidualScore"]


class ResidualScore(GatedScore):
    r"""The Gaussian score of the particles plus a network in whitened velocities.

    .. math::
        s(v) = \Sigma^{-1/2} \bigl(-x + g \, n_\theta(x)\bigr), \qquad x = \Sigma^{-1/2} (v - m)

    The last layer of :math:`n_\theta` starts at zero: the untrained model is the Gaussian score, so equilibrium and
    every Gaussian are exact and a network only ever learns the departure from them. Its inputs have standard
    deviation 1 whatever the temperature. Call ``condition`` on the particles before each fit, and ``judge`` on
    others after it: the gate :math:`g \in \{0, 1\}` opens only if their implicit loss is lower with the network than
    without, so that a few particles cannot be learned by heart.

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

    def __init__(self, d: int, width: int = 32, depth: int = 3, activation: str = "silu") -> None:
        super().__init__(d)
        self.network = MLP(d, width, depth, activation)
        nn.init.zeros_(self.network.last.weight)
        nn.init.zeros_(self.network.last.bias)

    def correction(self, x: Tensor, batch: Tensor | None = None) -> Tensor:
        """The network."""
        return self.network(x)

    def correction_and_divergence(self, x: Tensor, batch: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The network and its exact divergence."""
        value, jacobian = self.network.value_and_jacobian(x)
        return value, jacobian.diagonal(dim1=1, dim2=2).sum(-1)

    def whitened_score_and_jacobian(self, x: Tensor, batch: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Score and Jacobian in whitened velocities."""
        value, jacobian = self.network.value_and_jacobian(x)
        gate = self.gate_of(batch)
        eye = torch.eye(self.d, dtype=x.dtype, device=x.device)
        return gate * value - x, gate.unsqueeze(-1) * jacobian - eye
