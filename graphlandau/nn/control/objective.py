"""Objectives that a control of one kinetic step is fitted by, written per particle."""

from __future__ import annotations

from typing import Protocol, Self

import torch
from jaxtyping import Float
from torch import Tensor

from graphlandau.base.errors import InvalidArgument
from graphlandau.base.validation import require_number, require_one_of, require_positive, require_velocities
from graphlandau.nn.control.determinant import log_determinant

__all__ = ["ControlObjective", "ExtraTerm"]

Index = Tensor | slice


class ExtraTerm(Protocol):
    """A further function of each particle's control, such as the potential at its next position."""

    def __call__(self, u: Tensor) -> Tensor:
        """Value for each particle, ``(N,)``."""
        ...

    def gradient(self, u: Tensor) -> Tensor:
        """Gradient in each particle's own control, ``(N, d)``."""
        ...

    def subset(self, index: Index) -> ExtraTerm:
        """The term of some of the particles."""
        ...


class HasPotential(Protocol):
    """A potential energy with its gradient, such as :class:`graphlandau.fields.Potential`."""

    def value(self, x: Tensor) -> Tensor:
        """Potential, ``(N,)``."""
        ...

    def gradient(self, x: Tensor) -> Tensor:
        """Gradient, ``(N, d_x)``."""
        ...


class ControlObjective:
    r"""A loss of the control ``u`` and its Jacobian ``J`` at each particle.

    .. math::
        \ell_i(u, J) = \tfrac{c}{2} |u_i|^2 + g_i \cdot u_i + e_i(u_i)
        - \kappa \begin{cases} \tau^{-1} \log |\det(I + \tau J_i)| & \text{exact} \\ \operatorname{tr} J_i
          & \text{trace} \end{cases}

    The mean over the particles is what is minimised. With the trace its minimiser over all fields is
    :math:`u = -(g + \kappa \nabla_v \log f) / c` for :math:`e = 0`, where :math:`f` is the density of the particles
    (and :math:`\nabla_v + s \nabla_x` for a Jacobian with shear s). Dimensionless.

    Args:
        c: Factor of the quadratic term, > 0.
        g: Linear term.
        kappa: Factor of the entropy term.
        tau: Time step :math:`\tau` of the exact determinant; ``None`` for the trace.
        extra: :math:`e`, a further term.

    Shapes:
        - **g**, **u**: :math:`(N, d)`; **J**: :math:`(N, d, d)`; **loss**: :math:`(N,)`

    Raises:
        ValueError: If ``c`` or ``tau`` is not positive, ``g`` is not finite, or ``kappa`` is negative in front of an
            exact determinant (the loss then has no minimum).

    Example:
        >>> v = torch.tensor([[1.0], [-1.0]])
        >>> objective = ControlObjective.split(v, dt=0.1, epsilon=1.0)
        >>> objective(torch.zeros_like(v), torch.zeros(2, 1, 1))  # no motion costs nothing
        tensor([0., 0.])

    Reference: arXiv:2603.23901, Eqs. (18) and (31).
    """

    def __init__(
        self,
        c: float,
        g: Float[Tensor, "N d"],
        kappa: float,
        *,
        tau: float | None = None,
        extra: ExtraTerm | None = None,
    ) -> None:
        self.c = require_positive("c", c)
        self.g = require_velocities("g", g, min_particles=1)
        self.kappa = require_number("kappa", kappa)
        self.tau = None if tau is None else require_positive("tau", tau)
        self.extra = extra
        if tau is not None and kappa < 0:
            raise InvalidArgument("kappa", "must be at least 0 with an exact determinant", kappa)

    @classmethod
    def split(
        cls,
        v_star: Float[Tensor, "N d"],
        *,
        dt: float,
        epsilon: float,
        temperature: float = 1.0,
        log_det: str = "exact",
    ) -> Self:
        r"""Collisions after a symplectic step :math:`(x^*, v^*)`: the new velocity is :math:`v' = v^* + \Delta t \, u`.

        .. math::
            \tfrac12 |u|^2 + \tfrac{\varepsilon}{\Delta t} \left[ \tfrac12 |v'|^2
            - T_0 \log |\det(I + \Delta t \nabla_v u)| \right]

        less what does not depend on ``u``. The minimiser over all fields is
        :math:`u = -\varepsilon (v' + T_0 \nabla_v \log f')` with the density :math:`f'` after the step. With
        ``log_det="trace"`` it is :math:`u = -\varepsilon (v^* + T_0 \nabla_v \log f^*) / (1 + \varepsilon \Delta t)`.

        Raises:
            ValueError: If an argument is out of range.

        Reference: arXiv:2603.23901, Eq. (31), with the brackets that make it the free energy.
        """
        dt, epsilon, temperature, tau = _step(dt, epsilon, temperature, log_det)
        return cls(1 + epsilon * dt, epsilon * v_star, epsilon * temperature, tau=tau)

    @classmethod
    def joint(
        cls,
        x: Float[Tensor, "N dx"],
        v: Float[Tensor, "N d"],
        potential: HasPotential,
        *,
        dt: float,
        epsilon: float,
        temperature: float = 1.0,
        log_det: str = "exact",
    ) -> Self:
        r"""Force and collisions in one map, :math:`v' = b + \Delta t \, u(x, v)`, :math:`x' = x + \Delta t \, v'`.

        With :math:`b = v - \Delta t \nabla\phi(x)`,

        .. math::
            \tfrac12 |u|^2 + \tfrac{\varepsilon}{\Delta t} \left[ \tfrac12 |v'|^2 + \phi(x')
            - T_0 \log |\det(I + \Delta t \nabla_v u)| \right]

        less what does not depend on ``u``.

        Raises:
            ValueError: If an argument is out of range, or ``x`` and ``v`` do not fit each other.

        Reference: arXiv:2603.23901, Eq. (18).
        """
        dt, epsilon, temperature, tau = _step(dt, epsilon, temperature, log_det)
        require_velocities("v", v, min_particles=1)
        require_velocities("x", x, min_particles=1)
        if x.size(0) != v.size(0) or x.size(1) > v.size(1):
            raise InvalidArgument("x", f"must have shape ({v.size(0)}, d_x) with d_x <= {v.size(1)}", tuple(x.shape))
        b = v.clone()
        b[:, : x.size(1)] -= dt * potential.gradient(x)
        extra = _NextPotential(potential, x + dt * b[:, : x.size(1)], dt, epsilon)
        return cls(1 + epsilon * dt, epsilon * b, epsilon * temperature, tau=tau, extra=extra)

    @classmethod
    def score_matching(cls, v_star: Float[Tensor, "N d"], *, epsilon: float, temperature: float = 1.0) -> Self:
        r"""Score matching with explicit drag, whose minimiser is :math:`-\varepsilon (v^* + T_0 \nabla_v \log f^*)`.

        Raises:
            ValueError: If an argument is out of range.

        Reference: arXiv:2603.23901, Section 4.1.
        """
        _, epsilon, temperature, _ = _step(1.0, epsilon, temperature, "trace")
        return cls(1.0, epsilon * v_star, epsilon * temperature)

    def __call__(self, u: Float[Tensor, "N d"], jacobian: Float[Tensor, "N d d"]) -> Float[Tensor, " N"]:
        """Loss of each particle."""
        loss = (u * (0.5 * self.c * u + self.g)).sum(-1)
        if self.extra is not None:
            loss = loss + self.extra(u)
        if self.tau is None:
            return loss - self.kappa * jacobian.diagonal(dim1=-2, dim2=-1).sum(-1)
        return loss - self.kappa / self.tau * log_determinant(jacobian, self.tau)

    def slope(self, u: Float[Tensor, "N d"]) -> Float[Tensor, "N d"]:
        """Gradient of the loss in ``u``, without the entropy term."""
        slope = self.c * u + self.g
        return slope if self.extra is None else slope + self.extra.gradient(u)

    def subset(self, index: Index) -> Self:
        """The objective of some of the particles, given by their numbers, a mask or a slice."""
        extra = None if self.extra is None else self.extra.subset(index)
        return type(self)(self.c, self.g[index], self.kappa, tau=self.tau, extra=extra)


class _NextPotential:
    r"""The potential at the next position, :math:`\frac{\varepsilon}{\Delta t} \phi(x_0 + \Delta t^2 u)`."""

    def __init__(self, potential: HasPotential, start: Tensor, dt: float, epsilon: float) -> None:
        self.potential, self.start, self.dt, self.epsilon = potential, start, dt, epsilon

    def __call__(self, u: Tensor) -> Tensor:
        return self.epsilon / self.dt * self.potential.value(self._next(u))

    def gradient(self, u: Tensor) -> Tensor:
        force = self.epsilon * self.dt * self.potential.gradient(self._next(u))
        return torch.nn.functional.pad(force, (0, u.size(1) - force.size(1)))

    def subset(self, index: Index) -> _NextPotential:
        return _NextPotential(self.potential, self.start[index], self.dt, self.epsilon)

    def _next(self, u: Tensor) -> Tensor:
        return self.start + self.dt**2 * u[:, : self.start.size(1)]


def _step(dt: float, epsilon: float, temperature: float, log_det: str) -> tuple[float, float, float, float | None]:
    epsilon = require_number("epsilon", epsilon)
    if epsilon < 0:
        raise InvalidArgument("epsilon", "must be at least 0", epsilon)
    exact = require_one_of("log_det", log_det, ("exact", "trace")) == "exact"
    dt = require_positive("dt", dt)
    return dt, float(epsilon), require_positive("temperature", temperature), dt if exact else None
