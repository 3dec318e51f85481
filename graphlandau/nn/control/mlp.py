"""A perceptron as control, whose Jacobian comes with its value."""

from __future__ import annotations

import itertools

from jaxtyping import Float
from torch import Tensor, nn

from graphlandau.base.validation import require_integer, require_one_of, require_parts
from graphlandau.nn.control.base import ControlModel
from graphlandau.nn.control.embedding import PhaseEmbedding
from graphlandau.nn.score.mlp import ACTIVATIONS

__all__ = ["MLPControl"]


class MLPControl(ControlModel):
    r"""A multilayer perceptron of the embedded positions and the velocities.

    .. math::
        u(x, v) = W_{L+1} \sigma(W_L \cdots \sigma(W_1 z + b_1) \cdots + b_L) + b_{L+1}, \qquad z = (e(x), v)

    periodic in ``x`` where the embedding is. The :math:`d` tangents of the Jacobian go through the layers with the
    value, in one matrix product per layer. Velocities should be of order one. Dimensionless.

    Args:
        embedding: Input of the first layer.
        width: Units per hidden layer.
        depth: Number of hidden layers :math:`L`.
        activation: ``"silu"``, ``"softsign"`` or ``"tanh"``.
        harmonics: Harmonics of the positions, instead of those of the embedding.

    Raises:
        ValueError: If a size is not a positive integer or ``activation`` is unknown.

    Example:
        >>> import torch
        >>> _ = torch.manual_seed(0)
        >>> control = MLPControl(PhaseEmbedding(1, 3, lengths=2.0), width=8)
        >>> x, v = torch.rand(5, 1), torch.randn(5, 3)
        >>> torch.allclose(control(x, v), control(x + 2, v), atol=1e-6)
        True

    Reference: arXiv:2603.23901, Section 4.
    """

    def __init__(
        self,
        embedding: PhaseEmbedding,
        width: int = 32,
        depth: int = 2,
        activation: str = "tanh",
        harmonics: int | None = None,
    ) -> None:
        super().__init__()
        embedding = embedding if harmonics is None else embedding.with_harmonics(harmonics)
        self.embedding, self.d_x, self.d = embedding, embedding.d_x, embedding.d
        width = require_integer("width", width, minimum=1)
        depth = require_parts("depth", depth, minimum=1)
        self.activation = require_one_of("activation", activation, tuple(ACTIVATIONS))
        sizes = [embedding.width, *[width] * depth]
        self.hidden = nn.ModuleList([nn.Linear(m, n) for m, n in itertools.pairwise(sizes)])
        self.last = nn.Linear(width, self.d)

    def forward(self, x: Float[Tensor, "N dx"], v: Float[Tensor, "N d"]) -> Float[Tensor, "N d"]:
        """Control at ``(x, v)``."""
        h = self.embedding(x, v)
        for layer in self.hidden:
            h = ACTIVATIONS[self.activation](layer(h))[0]
        return self.last(h)

    def value_and_jacobian(
        self, x: Float[Tensor, "N dx"], v: Float[Tensor, "N d"], shear: float = 0.0
    ) -> tuple[Float[Tensor, "N d"], Float[Tensor, "N d d"]]:
        r"""Control and Jacobian in one pass, with :math:`s` = ``shear``."""
        h, tangents = self.embedding.value_and_tangents(x, v, shear)
        for layer in self.hidden:
            h, slope = ACTIVATIONS[self.activation](layer(h))
            tangents = slope * (tangents @ layer.get_parameter("weight").T)
        return self.last(h), (tangents @ self.last.weight.T).permute(1, 2, 0)
