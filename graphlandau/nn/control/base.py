"""What a control is: a velocity field on phase space that moves particles in one step, with its derivatives."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from graphlandau.base.precision import Adapted
from graphlandau.nn.field import Field, Trial, adapt, moved_first

__all__ = ["ControlModel", "as_control_model"]


class ControlModel(Field):
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

    def forward(self, x: Float[Tensor, "N dx"], v: Float[Tensor, "N d"]) -> Float[Tensor, "N d"]:
        """Control at ``(x, v)``."""
        raise NotImplementedError

    def value_and_jacobian(
        self, x: Float[Tensor, "N dx"], v: Float[Tensor, "N d"], shear: float = 0.0
    ) -> tuple[Float[Tensor, "N d"], Float[Tensor, "N d d"]]:
        r"""Control and Jacobian in one pass, with :math:`s` = ``shear``."""
        along_v = torch.eye(v.size(1), dtype=v.dtype, device=v.device)
        return self.derivatives(self.forward, (x, v), (shear * along_v[:, : x.size(1)], along_v))


class _ModuleControl(Adapted, ControlModel):
    """Any network from positions and velocities to controls, under the convention of :class:`ControlModel`."""

    def __init__(self, module: nn.Module, d_x: int, d: int) -> None:
        super().__init__(module)
        self.d_x, self.d = d_x, d

    def forward(self, x: Tensor, v: Tensor) -> Tensor:
        return self.call(x, v)


def as_control_model(module: nn.Module, d_x: int, d: int) -> ControlModel:
    """Give any ``nn.Module`` that maps positions and velocities to controls the convention of :class:`ControlModel`.

    The module is tried on a few particles (a copy of it, so that nothing in it changes). It keeps its precision.

    Raises:
        InvalidArgument: If ``module`` is no ``nn.Module``, cannot be called on ``(N, d_x), (N, d)``, does not return
            finite ``(N, d)``, couples particles, or is a :class:`ControlModel` of other dimensions.

    Example:
        >>> class Field(nn.Module):
        ...     def forward(self, x, v):
        ...         return torch.sin(x) - v
        >>> as_control_model(Field(), 1, 1).value_and_jacobian(torch.zeros(2, 1), torch.zeros(2, 1), 3.0)[1].flatten()
        tensor([2., 2.])
        >>> as_control_model(torch.nn.Bilinear(1, 2, 3), 1, 2)
        Traceback (most recent call last):
        graphlandau.base.errors.InvalidArgument: 'control' must map (N, 1), (N, 2) to (N, 2) \
(got a Bilinear that returned (8, 3) float32 for (8, 1) float32, (8, 2) float32)
    """

    def trial(draw: Callable[[int], Tensor]) -> Trial:
        x, v = draw(d_x), draw(d)
        return Trial((x, v), (moved_first(x), moved_first(v)), (v.size(0), d))

    return adapt(
        module,
        ControlModel,
        lambda stranger: _ModuleControl(stranger, d_x, d),
        name="control",
        dimensions={"d_x": d_x, "d": d},
        signature=f"(N, {d_x}), (N, {d}) to (N, {d})",
        trial=trial,
    )
