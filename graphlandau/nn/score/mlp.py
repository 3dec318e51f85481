"""Multilayer perceptrons whose Jacobian comes with their value, in one pass."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from graphlandau.base import distributed
from graphlandau.base.chunks import in_chunks
from graphlandau.base.validation import require_integer, require_one_of, require_parts
from graphlandau.nn.score.base import ScoreModel

__all__ = ["MLP", "MLPScore"]


def _silu(z: Tensor) -> tuple[Tensor, Tensor]:
    sigmoid = torch.sigmoid(z)
    value = z * sigmoid
    return value, sigmoid + value * (1 - sigmoid)


def _softsign(z: Tensor) -> tuple[Tensor, Tensor]:
    inverse = (1 + z.abs()).reciprocal()
    return z * inverse, inverse * inverse


def _tanh(z: Tensor) -> tuple[Tensor, Tensor]:
    value = torch.tanh(z)
    return value, 1 - value * value


# Each activation with its derivative.
ACTIVATIONS: dict[str, Callable[[Tensor], tuple[Tensor, Tensor]]] = {
    "silu": _silu,
    "softsign": _softsign,
    "tanh": _tanh,
}


class MLP(nn.Module):
    """A perceptron that carries :math:`d` tangents through its layers together with the value.

    The tangents are one tensor of shape ``(d, N, width)``, so that each layer is one matrix product for all of them;
    the result can be trained through. Many rows are taken a few at a time. ``depth`` counts hidden layers.

    Raises:
        ValueError: If ``width`` or ``depth`` is not a positive integer or ``activation`` is unknown.
    """

    def __init__(self, d: int, width: int, depth: int, activation: str) -> None:
        super().__init__()
        d = require_integer("d", d, minimum=1)
        width, depth = require_integer("width", width, minimum=1), require_parts("depth", depth, minimum=1)
        self.activation = require_one_of("activation", activation, tuple(ACTIVATIONS))
        sizes = [d, *[width] * depth]
        self.hidden = nn.ModuleList([nn.Linear(m, n) for m, n in itertools.pairwise(sizes)])
        self.last = nn.Linear(width, d)

    def forward(self, x: Tensor) -> Tensor:
        """Value at ``x``."""
        return distributed.by_rows(in_chunks(self._value), x)

    def value_and_jacobian(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Value ``(N, d)`` and Jacobian ``(N, d, d)``."""
        return distributed.by_rows(in_chunks(self._value_and_jacobian), x)

    def _value(self, x: Tensor) -> Tensor:
        activate = ACTIVATIONS[self.activation]
        for layer in self.hidden:
            x = activate(layer(x))[0]
        return self.last(x)

    def _value_and_jacobian(self, x: Tensor) -> tuple[Tensor, Tensor]:
        activate = ACTIVATIONS[self.activation]
        h, tangents = x, None
        for layer in self.hidden:
            weight = layer.get_parameter("weight")
            h, slope = activate(layer(h))
            # The tangents of the input are the unit vectors: the first product is the weight itself.
            pushed = weight.T.unsqueeze(1) if tangents is None else tangents @ weight.T
            tangents = slope * pushed
        assert tangents is not None
        return self.last(h), (tangents @ self.last.weight.T).permute(1, 2, 0)


class MLPScore(ScoreModel):
    r"""A multilayer perceptron from velocities to scores.

    .. math::
        s(v) = W_{L+1} \sigma(W_L \cdots \sigma(W_1 v + b_1) \cdots + b_L) + b_{L+1}

    The network of the papers, with no knowledge of the Gaussian: prefer :class:`ResidualScore` unless you reproduce
    them. Velocities are dimensionless and should be of order one.

    Args:
        d: Velocity dimensions.
        width: Units per hidden layer.
        depth: Number of hidden layers :math:`L`.
        activation: ``"silu"``, ``"softsign"`` or ``"tanh"``.

    Raises:
        ValueError: If a size is not a positive integer or ``activation`` is unknown.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> MLPScore(2, width=8, depth=1)(torch.zeros(5, 2)).shape
        torch.Size([5, 2])

    Reference: Ilin, Hu and Wang 2025 (softsign, width 100, 2 hidden layers); arXiv:2603.10874, baseline SBP (silu,
    3 x 32).
    """

    def __init__(self, d: int, width: int = 32, depth: int = 3, activation: str = "silu") -> None:
        super().__init__()
        self.d = require_integer("d", d, minimum=1)
        self.network = MLP(d, width, depth, activation)

    def forward(self, v: Float[Tensor, "N d"]) -> Float[Tensor, "N d"]:
        """Score at ``v``."""
        return self.network(v)

    def value_and_jacobian(self, v: Float[Tensor, "N d"]) -> tuple[Float[Tensor, "N d"], Float[Tensor, "N d d"]]:
        """Score and Jacobian in one pass."""
        return self.network.value_and_jacobian(v)
