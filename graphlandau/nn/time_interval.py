"""Fields over an interval of time, in the units of the plasma: what flow maps and scores in time share."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from graphlandau.base.errors import InvalidArgument
from graphlandau.base.precision import Adapted
from graphlandau.base.validation import require_integer, require_number, require_positive
from graphlandau.base.vectors import less
from graphlandau.nn.time_field import TimeField, as_time_field

__all__ = ["TimeInterval"]


class TimeInterval(TimeField):
    r"""A network of :math:`x = (v - m) / \sigma` and :math:`\tau = (t - t_{\text{start}}) / (t_{\text{end}} -
    t_{\text{start}})`, defined for :math:`\tau \in [0, 1]`.

    Mean :math:`m` and thermal speed :math:`\sigma` are those of the plasma, which collisions conserve
    (:meth:`condition`); before that they are 0 and 1.

    Args:
        network: Field of velocity and time: a :class:`~graphlandau.nn.TimeField`, or any ``nn.Module`` from velocities
            :math:`(N, d)` and times :math:`(N,)` to :math:`(N, d)`.
        d: Velocity dimensions.
        t_start: First time.
        t_end: Last time.
        name: What this is, for messages.

    Raises:
        ValueError: If ``t_end`` is not after ``t_start``, or the network does not fit.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, network: nn.Module, d: int, t_start: float, t_end: float, name: str) -> None:
        super().__init__()
        self.name = name
        self.d = d = require_integer("d", d, minimum=2)
        self.t_start, self.t_end = require_number("t_start", t_start), require_number("t_end", t_end)
        if self.t_end <= self.t_start:
            raise InvalidArgument("t_end", f"must be after t_start = {self.t_start:g}", f"{self.t_end:g}")
        self.network: TimeField = as_time_field(network, d, name)
        self.register_buffer("mean", torch.zeros(d, dtype=torch.float64))
        self.register_buffer("scale", torch.ones((), dtype=torch.float64))

    @property
    def like(self) -> Tensor:
        """An empty tensor of the dtype and on the device of the network; a stranger's has its own dtype inside."""
        own = () if isinstance(self.network, Adapted) else self.network.parameters()
        return next((x for x in own if x.is_floating_point()), self.mean).new_empty(0)

    def condition(self, mean: Float[Tensor, " d"], temperature: float) -> None:
        """Take the mean velocity and the temperature of the plasma."""
        self.mean.copy_(mean)
        self.scale.fill_(require_positive("temperature", temperature) ** 0.5)

    def share(self, t: Tensor) -> Tensor:
        r"""Share :math:`\tau` of the interval."""
        return (t - self.t_start) / (self.t_end - self.t_start)

    def scaled(self, v: Float[Tensor, "*n d"]) -> Float[Tensor, "*n d"]:
        """Velocities :math:`x` in the units of the plasma."""
        return less(v, self.mean) / self.scale.to(v)

    def require_time(self, t: float) -> float:
        """Return ``t``.

        Raises:
            ValueError: If it is outside the interval.
        """
        # Times of a run are sums of steps: one that means to be the last may miss it by rounding.
        slack = 1e-9 * (self.t_end - self.t_start)
        if not self.t_start - slack <= require_number("t", t) <= self.t_end + slack:
            interval = f"[{self.t_start:g}, {self.t_end:g}]"
            raise InvalidArgument("t", f"must be in {interval}, the times the {self.name} was built for", f"{t:g}")
        return t
