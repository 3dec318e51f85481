"""What a control is: a velocity field on phase space that moves particles in one step, with its derivatives."""

from __future__ import annotations

import copy

import torch
from jaxtyping import Float
from torch import Tensor, nn

from graphlandau.base.errors import InvalidArgument

__all__ = ["ControlModel", "as_control_model"]


class ControlModel(nn.Module):
    r"""A control :math:`u(x, v)`, the acceleration of each particle by collisions, with its exact Jacobian.

    Write your own as a subclass with ``d_x``, ``d`` and ``forward``; it must act on each particle alone. The Jacobian

    .. math:: J_{ab} = (\partial_{v_b} + s \, \partial_{x_b}) u_a

    (without the second part where :math:`b \ge d_x`) is then exact, by forward-mode differentiation with all
    :math:`d` tangents in one batch, and can be trained through. Override :meth:`value_and_jacobian` where a formula
    is known. All dimensionless.

    Attributes:
        d_x: Number of position dimensions.
        d: Number of velocity dimensions.

    Shapes:
        - **x**: :math:`(N, d_x)`; **v**, **u**: :math:`(N, d)`; **J**: :math:`(N, d, d)`

    Example:
        >>> class Drag(ControlModel):
        ...     d_x, d = 1, 2
        ...     def forward(self, x, v):
        ...         return -v
        >>> Drag().value_and_jacobian(torch.zeros(1, 1), torch.ones(1, 2))[1].sum(1)
        tensor([[-1., -1.]])

    Reference: arXiv:2603.23901, Eq. (18).
    """

    d_x: int
    d: int

    def forward(self, x: Float[Tensor, "N dx"], v: Float[Tensor, "N d"]) -> Float[Tensor, "N d"]:
        """Control at ``(x, v)``."""
        raise NotImplementedError

    def value_and_jacobian(
        self, x: Float[Tensor, "N dx"], v: Float[Tensor, "N d"], shear: float = 0.0
    ) -> tuple[Float[Tensor, "N d"], Float[Tensor, "N d d"]]:
        r"""Control and Jacobian in one pass, with :math:`s` = ``shear``."""
        along_v = torch.eye(v.size(1), dtype=v.dtype, device=v.device)
        along_x = shear * along_v[:, : x.size(1)]

        def push(direction_x: Tensor, direction_v: Tensor) -> tuple[Tensor, Tensor]:
            tangents = (direction_x.expand_as(x), direction_v.expand_as(v))
            return torch.func.jvp(self.forward, (x, v), tangents)[:2]

        values, columns = torch.func.vmap(push)(along_x, along_v)
        return values[0], columns.permute(1, 2, 0)


class _ModuleControl(ControlModel):
    """Any network from positions and velocities to controls, under the convention of :class:`ControlModel`."""

    def __init__(self, module: nn.Module, d_x: int, d: int) -> None:
        super().__init__()
        self.module, self.d_x, self.d = module, d_x, d

    def forward(self, x: Tensor, v: Tensor) -> Tensor:
        return self.module(x, v)


def as_control_model(module: nn.Module, d_x: int, d: int) -> ControlModel:
    """Give any ``nn.Module`` that maps positions and velocities to controls the convention of :class:`ControlModel`.

    The module is tried on a few particles (a copy of it, so that nothing in it changes).

    Raises:
        ValueError: If ``module`` is no ``nn.Module``, cannot be called on ``(N, d_x), (N, d)``, does not return
            finite ``(N, d)``, couples particles, or is a :class:`ControlModel` of other dimensions.

    Example:
        >>> class Field(nn.Module):
        ...     def forward(self, x, v):
        ...         return torch.sin(x) - v
        >>> as_control_model(Field(), 1, 1).value_and_jacobian(torch.zeros(2, 1), torch.zeros(2, 1), 3.0)[1].flatten()
        tensor([2., 2.])
        >>> as_control_model(torch.nn.Bilinear(1, 2, 3), 1, 2)
        Traceback (most recent call last):
        ValueError: 'control' must map (N, 1), (N, 2) to (N, 2) (Bilinear returned (8, 3) float32 for float32)
    """
    if not isinstance(module, nn.Module):
        raise InvalidArgument("control", "must be a torch.nn.Module", type(module).__name__)
    name = type(module).__name__
    if isinstance(module, ControlModel):
        have = (getattr(module, "d_x", None), getattr(module, "d", None))
        if have != (d_x, d):
            raise InvalidArgument(
                "control", f"must have d_x = {d_x} and d = {d}", f"a {name} with d_x = {have[0]} and d = {have[1]}"
            )
    like = next((x for x in [*module.parameters(), *module.buffers()] if x.is_floating_point()), torch.empty(0))
    generator = torch.Generator().manual_seed(0)
    x, v = (torch.randn(8, n, generator=generator).to(like) for n in (d_x, d))
    x_moved, v_moved = x.clone(), v.clone()
    x_moved[0], v_moved[0] = -2 * x[0] + 1, -2 * v[0] + 1
    with torch.no_grad(), torch.random.fork_rng():
        trial = copy.deepcopy(module).eval()
        try:
            u, again, u_moved = trial(x, v), trial(x, v), trial(x_moved, v_moved)
        except Exception as error:  # a module that is no control may fail in any way
            raise ValueError(
                f"'control' must map (N, {d_x}), (N, {d}) to (N, {d}) ({name} failed on 8 particles: {error})"
            ) from error
    if not isinstance(u, Tensor) or u.shape != v.shape or u.dtype != v.dtype:
        got = f"{tuple(u.shape)} {_short(u)}" if isinstance(u, Tensor) else type(u).__name__
        raise ValueError(f"'control' must map (N, {d_x}), (N, {d}) to (N, {d}) ({name} returned {got} for {_short(v)})")
    if not bool(torch.isfinite(u).all()):
        raise ValueError(f"'control' must return finite values ({name} did not, for standard normal particles)")
    if not torch.equal(u, again):
        raise ValueError(f"'control' must be a function of the particles ({name} gave two answers: is it random?)")
    # Rounding of a matrix product may depend on nothing but its own row; leave room for kernels where it does.
    tolerance = 1e3 * torch.finfo(u.dtype).eps * (1 + u.abs().max())
    if not bool(((u - u_moved)[1:].abs() <= tolerance).all()):
        raise ValueError(f"'control' must act on each particle alone ({name} changed others when one was moved)")
    return module if isinstance(module, ControlModel) else _ModuleControl(module, d_x, d)


def _short(x: Tensor) -> str:
    return str(x.dtype).removeprefix("torch.")
