"""The network of the global-in-time particle method: velocity and time are embedded separately, then joined."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from graphlandau.base.validation import require_integer, require_one_of, require_parts
from graphlandau.nn.score.mlp import ACTIVATIONS
from graphlandau.nn.time_field import TimeField

__all__ = ["TimeMLP"]


class TimeMLP(TimeField):
    r"""Perceptron of velocity and time with an embedding of each.

    .. math::
        g(v, t) = W \, h_L(\cdots h_1([E_v(v), E_t(t)])), \qquad h_l(x) = \sigma(W_l x + b_l)

    :math:`E_v` and :math:`E_t` are perceptrons of their own. Derivatives are carried forward through the layers
    together with the value; the embedding of a time is computed once for all particles that share it. The last layer
    starts at zero: an untrained flow is at rest and an untrained score the Maxwellian's. The defaults are
    the paper's group A (2D); group B has 256 wide velocity and 128 wide time embeddings and 6 layers of 256.

    Args:
        d: Velocity dimensions.
        velocity_width: Units per layer of the velocity embedding.
        velocity_depth: Layers of the velocity embedding.
        time_width: Units per layer of the time embedding.
        time_depth: Layers of the time embedding.
        width: Units per hidden layer.
        depth: Number of hidden layers :math:`L`.
        activation: ``"silu"``, ``"softsign"`` or ``"tanh"``.

    Raises:
        ValueError: If a size is not a positive integer or ``activation`` is unknown.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> TimeMLP(2)(torch.zeros(4, 100, 2), torch.linspace(0, 1, 4)[:, None]).shape
        torch.Size([4, 100, 2])

    Reference: arXiv:2603.10874, Figure 2 and Appendix B.2.
    """

    def __init__(
        self,
        d: int,
        velocity_width: int = 32,
        velocity_depth: int = 2,
        time_width: int = 16,
        time_depth: int = 1,
        width: int = 128,
        depth: int = 4,
        activation: str = "silu",
    ) -> None:
        super().__init__()
        sizes = {
            "d": d,
            "velocity_width": velocity_width,
            "velocity_depth": velocity_depth,
            "time_width": time_width,
            "time_depth": time_depth,
            "width": width,
            "depth": depth,
        }
        checks = {True: require_parts, False: require_integer}
        sizes = {name: checks[name.endswith("depth")](name, value, minimum=1) for name, value in sizes.items()}
        d, width = sizes["d"], sizes["width"]
        velocity_width, velocity_depth = sizes["velocity_width"], sizes["velocity_depth"]
        time_width, time_depth, depth = sizes["time_width"], sizes["time_depth"], sizes["depth"]
        self.d = d
        self.activation = require_one_of("activation", activation, tuple(ACTIVATIONS))
        self.arguments = {**sizes, "activation": activation}
        self.velocity = _layers([d, *[velocity_width] * velocity_depth])
        self.time = _layers([1, *[time_width] * time_depth])
        # The first hidden layer sees both embeddings: one matrix for each, the sum of the products.
        self.from_velocity = nn.Linear(velocity_width, width)
        self.from_time = nn.Linear(time_width, width, bias=False)
        self.hidden = _layers([width] * depth)
        self.last = nn.Linear(width, d)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, v: Float[Tensor, "*n d"], t: Tensor) -> Float[Tensor, "*n d"]:
        """Value at ``v`` and ``t``."""
        activate = ACTIVATIONS[self.activation]
        h = self.from_velocity(self._embed(self.velocity, v)) + self.from_time(self._embed(self.time, t[..., None]))
        h = activate(h)[0]
        return self.last(self._embed(self.hidden, h))

    def value_and_jacobian(
        self, v: Float[Tensor, "*n d"], t: Tensor
    ) -> tuple[Float[Tensor, "*n d"], Float[Tensor, "*n d d"]]:
        """Value and Jacobian in the velocity, in one pass."""
        directions = torch.eye(self.d, dtype=v.dtype, device=v.device)
        directions = directions.reshape(self.d, *[1] * (v.dim() - 1), self.d)
        h, tangents = self._push(self.velocity, v, directions)
        h = self.from_velocity(h) + self.from_time(self._embed(self.time, t[..., None]))
        value, tangents = self._finish(h, tangents @ self.from_velocity.weight.T)
        return value, tangents.movedim(0, -1)

    def value_and_rate(
        self, v: Float[Tensor, "*n d"], t: Tensor
    ) -> tuple[Float[Tensor, "*n d"], Float[Tensor, "*n d"]]:
        """Value and time derivative, in one pass."""
        at = t[..., None]
        h, tangent = self._push(self.time, at, torch.ones_like(at)[None])
        h = self.from_velocity(self._embed(self.velocity, v)) + self.from_time(h)
        value, tangent = self._finish(h, tangent @ self.from_time.weight.T)
        return value, tangent[0]

    def _embed(self, layers: nn.ModuleList, x: Tensor) -> Tensor:
        activate = ACTIVATIONS[self.activation]
        for layer in layers:
            x = activate(layer(x))[0]
        return x

    def _push(self, layers: nn.ModuleList, x: Tensor, tangents: Tensor) -> tuple[Tensor, Tensor]:
        """Value after ``layers``, and the tangents (k, *, width) with it."""
        activate = ACTIVATIONS[self.activation]
        for layer in layers:
            x, slope = activate(layer(x))
            tangents = slope * (tangents @ layer.get_parameter("weight").T)
        return x, tangents

    def _finish(self, h: Tensor, tangents: Tensor) -> tuple[Tensor, Tensor]:
        """The hidden layers, from what goes into the first one's activation."""
        tangents = tangents.reshape(len(tangents), *[1] * (h.dim() + 1 - tangents.dim()), *tangents.shape[1:])
        h, slope = ACTIVATIONS[self.activation](h)
        h, tangents = self._push(self.hidden, h, slope * tangents)
        return self.last(h), tangents @ self.last.weight.T


def _layers(sizes: Sequence[int]) -> nn.ModuleList:
    return nn.ModuleList([nn.Linear(m, n) for m, n in itertools.pairwise(sizes)])
