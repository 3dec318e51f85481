"""A score at all times of an interval, by one network of velocity and time."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from graphlandau.base.validation import require_one_of
from graphlandau.nn.score.base import ScoreModel
from graphlandau.nn.time_interval import TimeInterval

__all__ = ["TimeScore"]


class TimeScore(TimeInterval):
    r"""Score :math:`s(v, t) \approx \nabla_v \log f(t, v)` for all :math:`t` of an interval.

    .. math::
        s(v, t) = \frac{g(x, \tau) - x}{\sigma}, \qquad x = \frac{v - m}{\sigma}, \qquad
        \tau = \frac{t - t_{\text{start}}}{t_{\text{end}} - t_{\text{start}}}

    with mean :math:`m` and thermal speed :math:`\sigma` of the plasma, which collisions conserve (``condition``): the
    Maxwellian to which they lead is :math:`g = 0`, and the network learns the departure from it. With ``base="none"``
    the :math:`-x` is left out, as in the paper. :meth:`at` gives the score model of one time. Dimensionless.

    Args:
        network: Field :math:`g`, see :class:`~graphlandau.nn.FlowMap`.
        d: Velocity dimensions.
        t_start: First time.
        t_end: Last time.
        base: ``"maxwellian"`` or ``"none"``.

    Shapes:
        - **v**: :math:`(*, d)`; **t**: anything that broadcasts against :math:`(*)`; **score**: :math:`(*, d)`;
          **Jacobian**: :math:`(*, d, d)`

    Raises:
        ValueError: If ``t_end`` is not after ``t_start``, ``base`` is unknown, or the network does not fit.

    Reference: arXiv:2603.10874, Section 2.3.
    """

    def __init__(self, network: nn.Module, d: int, t_start: float, t_end: float, *, base: str = "maxwellian") -> None:
        super().__init__(network, d, t_start, t_end, "score")
        self.base = require_one_of("base", base, ("maxwellian", "none"))

    def forward(self, v: Float[Tensor, "*n d"], t: Tensor) -> Float[Tensor, "*n d"]:
        """Score at ``v`` and ``t``."""
        x = self.scaled(v)
        g = self.network(x, self.share(t))
        return (g - x if self.base == "maxwellian" else g) / self.scale.to(v)

    def value_and_jacobian(
        self, v: Float[Tensor, "*n d"], t: Tensor
    ) -> tuple[Float[Tensor, "*n d"], Float[Tensor, "*n d d"]]:
        """Score and Jacobian in the velocity, in one pass."""
        x, scale = self.scaled(v), self.scale.to(v)
        g, jacobian = self.network.value_and_jacobian(x, self.share(t))
        if self.base == "maxwellian":
            g, jacobian = g - x, jacobian - torch.eye(self.d, dtype=v.dtype, device=v.device)
        return g / scale, jacobian / scale.square()

    def at(self, t: float) -> ScoreModel:
        """The score model of time ``t``; it shares the weights.

        Raises:
            ValueError: If ``t`` is outside the interval.
        """
        return _ScoreAt(self, self.require_time(t))


class _ScoreAt(ScoreModel):
    """One time of a :class:`TimeScore`."""

    def __init__(self, score: TimeScore, t: float) -> None:
        super().__init__()
        self.score, self.d, self.t = score, score.d, t

    def forward(self, v: Tensor) -> Tensor:
        return self.score(v, torch.tensor(self.t, dtype=v.dtype, device=v.device))

    def value_and_jacobian(self, v: Tensor) -> tuple[Tensor, Tensor]:
        return self.score.value_and_jacobian(v, torch.tensor(self.t, dtype=v.dtype, device=v.device))
