"""Vector fields of velocity and time, with their derivatives in either."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from graphlandau.base.errors import InvalidArgument

__all__ = ["TimeField", "as_time_field"]


class TimeField(nn.Module):
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

    d: int
    arguments: dict[str, Any] | None = None

    def forward(self, v: Float[Tensor, "*n d"], t: Tensor) -> Float[Tensor, "*n d"]:
        """Value at ``v`` and ``t``."""
        raise NotImplementedError

    def value_and_jacobian(
        self, v: Float[Tensor, "*n d"], t: Tensor
    ) -> tuple[Float[Tensor, "*n d"], Float[Tensor, "*n d d"]]:
        """Value and Jacobian in the velocity."""
        directions = torch.eye(self.d, dtype=v.dtype, device=v.device)

        def push(direction: Tensor) -> tuple[Tensor, Tensor]:
            return torch.func.jvp(lambda x: self.forward(x, t), (v,), (direction.expand_as(v),))[:2]

        values, columns = torch.func.vmap(push)(directions)
        return values[0], columns.movedim(0, -1)

    def value_and_rate(
        self, v: Float[Tensor, "*n d"], t: Tensor
    ) -> tuple[Float[Tensor, "*n d"], Float[Tensor, "*n d"]]:
        r"""Value and time derivative :math:`\partial_t g`, the velocity fixed."""
        return torch.func.jvp(lambda at: self.forward(v, at), (t,), (torch.ones_like(t),))[:2]


class _ModuleField(TimeField):
    """Any network from velocities :math:`(N, d)` and times :math:`(N,)`, under the convention of ``TimeField``."""

    def __init__(self, module: nn.Module, d: int) -> None:
        super().__init__()
        self.module, self.d = module, d

    def forward(self, v: Tensor, t: Tensor) -> Tensor:
        batch = torch.broadcast_shapes(v.shape[:-1], t.shape)
        rows = v.expand(*batch, self.d)
        value = self.module(rows.reshape(-1, self.d), t.expand(batch).reshape(-1))
        if not isinstance(value, Tensor) or value.shape != (math.prod(batch), self.d):
            got = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise ValueError(f"it returned {got} for velocities {(math.prod(batch), self.d)}")
        return value.reshape(rows.shape)


def as_time_field(module: nn.Module, d: int, name: str = "score") -> TimeField:
    """Give any ``nn.Module`` that maps velocities and times to vectors the convention of :class:`TimeField`.

    A module that is no :class:`TimeField` is called with velocities :math:`(N, d)` and times :math:`(N,)`. A copy is
    tried on a few of them.

    Raises:
        ValueError: If ``module`` is no ``nn.Module``, cannot be called so, does not return :math:`(N, d)`, is random,
            couples particles, or is a :class:`TimeField` of another ``d``.

    Example:
        >>> class Still(torch.nn.Module):
        ...     def forward(self, v, t):
        ...         return torch.zeros_like(v)
        >>> as_time_field(Still(), d=3)(torch.ones(2, 5, 3), torch.zeros(2, 1)).shape
        torch.Size([2, 5, 3])
        >>> as_time_field(torch.nn.Linear(2, 2), d=2)
        Traceback (most recent call last):
        ValueError: 'score' must map velocities (N, 2) and times (N,) to (N, 2) (Linear failed: \
Linear.forward() takes 2 positional arguments but 3 were given)
    """
    if not isinstance(module, nn.Module):
        raise InvalidArgument(name, "must be a torch.nn.Module", type(module).__name__)
    kind, own = type(module).__name__, isinstance(module, TimeField)
    if own and getattr(module, "d", None) != d:
        raise InvalidArgument(name, f"must have d = {d}", f"a {kind} with d = {getattr(module, 'd', None)}")
    field = module if isinstance(module, TimeField) else _ModuleField(module, d)
    like = next((x for x in [*module.parameters(), *module.buffers()] if x.is_floating_point()), torch.empty(0))
    generator = torch.Generator().manual_seed(0)
    v, t = torch.randn(8, d, generator=generator).to(like), torch.linspace(0, 1, 3)[:, None].to(like)
    moved = torch.cat([-2 * v[:1] + 1, v[1:]])
    want = f"'{name}' must map velocities (N, {d}) and times (N,) to (N, {d})"
    if own:
        want = f"'{name}' must map velocities (8, {d}) and times (3, 1) to (3, 8, {d})"
    with torch.no_grad(), torch.random.fork_rng():
        trial = copy.deepcopy(field).eval()
        try:
            value, again, other = trial(v, t), trial(v, t), trial(moved, t)
        except Exception as error:  # a module that is no such field may fail in any way
            reason = " ".join(str(error).split())
            raise ValueError(f"{want} ({kind} failed: {reason})") from error
    if not isinstance(value, Tensor) or value.shape != (3, 8, d) or not bool(torch.isfinite(value).all()):
        got = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise ValueError(f"{want}, finite ({kind} returned {got})")
    if not torch.equal(value, again):
        raise ValueError(f"'{name}' must be a function of velocity and time ({kind} gave two answers: is it random?)")
    tolerance = 1e3 * torch.finfo(value.dtype).eps * (1 + value.abs().max())
    if not bool(((value - other)[:, 1:].abs() <= tolerance).all()):
        raise ValueError(f"'{name}' must not couple particles in a global-in-time method ({kind} does)")
    return field
