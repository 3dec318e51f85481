"""Vector fields of velocity and time, with their derivatives in either."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from graphlandau.base.derivatives import elementary_attention, reverse_mode
from graphlandau.base.precision import Adapted
from graphlandau.nn.field import Field, Trial, adapt, moved_first

__all__ = ["TimeField", "as_time_field"]


class TimeField(Field):
    r"""A vector field :math:`g(v, t)`, pointwise in the velocity: the common type of flow maps and scores in time.

    Write your own as a subclass with ``d`` and ``forward``; the derivatives below are then exact, by forward-mode
    differentiation, and can be trained through. Override them where a formula is known. All dimensionless.

    Attributes:
        d: Number of velocity dimensions.
        arguments: What the constructor needs to build the field again, as JSON values; ``None`` if that is not known.
            A trained file of a class of this package is then loaded by itself.

    Shapes:
        - **v**: :math:`(\ldots, d)`; **t**: :math:`(\ldots)`; what stands for the dots is broadcast, so that particles
          and times share the work on them: :math:`(n, d)` and :math:`(B, 1)` are :math:`n` particles at :math:`B` times
        - **value**: :math:`(*, d)` with the broadcast shape; **Jacobian** :math:`\partial g_a / \partial v_b`:
          :math:`(*, d, d)`

    Example:
        >>> class Decay(TimeField):
        ...     d = 2
        ...     def forward(self, v, t):
        ...         return v * torch.exp(-t)[..., None]
        >>> value, rate = Decay().value_and_rate(torch.ones(3, 2), torch.zeros(3))
        >>> rate[0]
        tensor([-1., -1.])
    """

    arguments: dict[str, Any] | None = None

    def forward(self, v: Float[Tensor, "*n d"], t: Tensor) -> Float[Tensor, "*n d"]:
        """Value at ``v`` and ``t``."""
        raise NotImplementedError

    def value_and_jacobian(
        self, v: Float[Tensor, "*n d"], t: Tensor
    ) -> tuple[Float[Tensor, "*n d"], Float[Tensor, "*n d d"]]:
        """Value and Jacobian in the velocity."""
        directions = torch.eye(self.d, dtype=v.dtype, device=v.device)
        if self.in_reverse:  # a velocity for each time, which has a derivative of its own
            v = v.expand(*torch.broadcast_shapes(v.shape[:-1], t.shape), self.d)
        return self.derivatives(lambda x: self.forward(x, t), (v,), (directions,))

    def value_and_rate(
        self, v: Float[Tensor, "*n d"], t: Tensor
    ) -> tuple[Float[Tensor, "*n d"], Float[Tensor, "*n d"]]:
        r"""Value and time derivative :math:`\partial_t g`, the velocity fixed."""
        if self.in_reverse:  # a time for each value, which has a derivative of its own
            times = t.expand(torch.broadcast_shapes(v.shape[:-1], t.shape))[..., None]
            value, rate = reverse_mode(lambda at: self.forward(v, at[..., 0]), (times,), (times.new_ones(1, 1),))
            return value, rate[..., 0]
        with elementary_attention():
            return torch.func.jvp(lambda at: self.forward(v, at), (t,), (torch.ones_like(t),))[:2]


class _ModuleField(Adapted, TimeField):
    """Any network from velocities :math:`(N, d)` and times :math:`(N,)`, under the convention of ``TimeField``."""

    def __init__(self, module: nn.Module, d: int) -> None:
        super().__init__(module)
        self.d = d

    def forward(self, v: Tensor, t: Tensor) -> Tensor:
        batch = torch.broadcast_shapes(v.shape[:-1], t.shape)
        rows = v.expand(*batch, self.d)
        value = self.call(rows.reshape(-1, self.d), t.expand(batch).reshape(-1))
        if not isinstance(value, Tensor) or value.shape != (math.prod(batch), self.d):
            got = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise ValueError(f"it returned {got} for velocities {(math.prod(batch), self.d)}")
        return value.reshape(rows.shape)


def as_time_field(module: nn.Module, d: int, name: str = "score") -> TimeField:
    """Give any ``nn.Module`` that maps velocities and times to vectors the convention of :class:`TimeField`.

    A module that is no :class:`TimeField` is called with velocities :math:`(N, d)` and times :math:`(N,)`. A copy is
    tried on a few of them. The module keeps its precision.

    Raises:
        InvalidArgument: If ``module`` is no ``nn.Module``, cannot be called so, does not return :math:`(N, d)`, is
            random, couples particles, or is a :class:`TimeField` of another ``d``.

    Example:
        >>> class Still(torch.nn.Module):
        ...     def forward(self, v, t):
        ...         return torch.zeros_like(v)
        >>> as_time_field(Still(), d=3)(torch.ones(2, 5, 3), torch.zeros(2, 1)).shape
        torch.Size([2, 5, 3])
        >>> as_time_field(torch.nn.Linear(2, 2), d=2)
        Traceback (most recent call last):
        graphlandau.base.errors.InvalidArgument: 'score' must map velocities (N, 2) and times (N,) to (N, 2) \
(got a Linear that failed on (8, 2) float32, (3, 1) float32: Linear.forward() \
takes 2 positional arguments but 3 were given)
    """

    def trial(draw: Callable[[int], Tensor]) -> Trial:
        v = draw(d)
        t = torch.linspace(0, 1, 3)[:, None].to(v)
        return Trial((v, t), (moved_first(v), t), (3, v.size(0), d))

    return adapt(
        module,
        TimeField,
        lambda stranger: _ModuleField(stranger, d),
        name=name,
        dimensions={"d": d},
        signature=f"velocities (N, {d}) and times (N,) to (N, {d})",
        own_signature=f"velocities (8, {d}) and times (3, 1) to (3, 8, {d})",
        trial=trial,
    )
