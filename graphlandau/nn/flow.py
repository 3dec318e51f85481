"""The characteristics of the Landau equation as one map of initial velocity and time."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from graphlandau.base.errors import InvalidArgument
from graphlandau.base.validation import require_one_of, require_velocities
from graphlandau.nn.time_interval import TimeInterval

__all__ = ["FlowMap"]

# Particles that go through the network at once when a trained flow is queried: bounds the memory.
CHUNK = 100_000


class FlowMap(TimeInterval):
    r"""Where a particle that starts at :math:`v_0` is at time :math:`t`: a neural particle simulator.

    .. math::
        \Phi(v_0, t) = v_0 + \tau \, \sigma \, g(x, \tau), \qquad x = \frac{v_0 - m}{\sigma}, \qquad
        \tau = \frac{t - t_{\text{start}}}{t_{\text{end}} - t_{\text{start}}}

    so that :math:`\Phi(v_0, t_{\text{start}}) = v_0` exactly, whatever the network :math:`g`. With
    ``initial="penalty"`` the map is :math:`m + \sigma g(x, \tau)` and has to learn that (the paper does not say how it
    is imposed). ``condition`` sets :math:`m` and :math:`\sigma`, mean and thermal speed, which collisions conserve.
    Dimensionless.

    Args:
        network: Field :math:`g`: a :class:`~graphlandau.nn.TimeField`, or any ``nn.Module`` from velocities
            :math:`(N, d)` and times :math:`(N,)` to :math:`(N, d)`.
        d: Velocity dimensions.
        t_start: First time.
        t_end: Last time; the map is not defined after it.
        initial: ``"exact"`` or ``"penalty"``.

    Shapes:
        - **v0**: :math:`(*, d)`; **t**: anything that broadcasts against :math:`(*)`, as in
          :class:`~graphlandau.nn.TimeField`; **output**: :math:`(*, d)`

    Raises:
        ValueError: If ``t_end`` is not after ``t_start``, ``initial`` is unknown, or the network does not fit.

    Example:
        >>> from graphlandau.nn import TimeMLP
        >>> _ = torch.manual_seed(0)
        >>> flow = FlowMap(TimeMLP(2), d=2, t_start=0.0, t_end=5.0)
        >>> v0 = torch.randn(1000, 2)
        >>> torch.equal(flow.at(v0, 0.0), v0), flow.at(v0, 3.7).shape
        (True, torch.Size([1000, 2]))
        >>> flow.at(v0, 5.5)
        Traceback (most recent call last):
        graphlandau.base.errors.InvalidArgument: 't' must be in [0, 5], the times the flow was built for (got 5.5)

    Reference: arXiv:2603.10874, Eq. (2.9) and Section 2.3.
    """

    def __init__(self, network: nn.Module, d: int, t_start: float, t_end: float, *, initial: str = "exact") -> None:
        super().__init__(network, d, t_start, t_end, "flow")
        self.initial = require_one_of("initial", initial, ("exact", "penalty"))

    def forward(self, v0: Float[Tensor, "*n d"], t: Tensor) -> Float[Tensor, "*n d"]:
        """Velocity at ``t`` of the particle that starts at ``v0``."""
        tau, scale = self.share(t), self.scale.to(v0)
        g = self.network(self.scaled(v0), tau)
        return v0 + tau[..., None] * scale * g if self.initial == "exact" else self.mean.to(v0) + scale * g

    def value_and_rate(
        self, v0: Float[Tensor, "*n d"], t: Tensor
    ) -> tuple[Float[Tensor, "*n d"], Float[Tensor, "*n d"]]:
        r"""Velocity and acceleration :math:`\partial_t \Phi`, by forward-mode differentiation."""
        tau, scale = self.share(t), self.scale.to(v0)
        g, rate = self.network.value_and_rate(self.scaled(v0), tau)
        if self.initial == "exact":
            g, rate = tau[..., None] * g, g + tau[..., None] * rate
            value = v0 + scale * g
        else:
            value = self.mean.to(v0) + scale * g
        return value, scale * rate / (self.t_end - self.t_start)

    def value_and_jacobian(
        self, v0: Float[Tensor, "*n d"], t: Tensor
    ) -> tuple[Float[Tensor, "*n d"], Float[Tensor, "*n d d"]]:
        r"""Velocity and :math:`\nabla_{v_0} \Phi`."""
        tau, scale = self.share(t), self.scale.to(v0)
        g, jacobian = self.network.value_and_jacobian(self.scaled(v0), tau)
        if self.initial == "penalty":
            return self.mean.to(v0) + scale * g, jacobian
        eye = torch.eye(self.d, dtype=v0.dtype, device=v0.device)
        return v0 + tau[..., None] * scale * g, eye + tau[..., None, None] * jacobian

    @torch.no_grad()
    def at(self, v0: Float[Tensor, "N d"], t: float) -> Float[Tensor, "N d"]:
        """Velocities at one time ``t``, no steps between: any number of particles, without gradients.

        Computed in the precision of the network, returned in that of ``v0``.

        Raises:
            ValueError: If ``t`` is outside the interval, or ``v0`` is not a finite floating :math:`(N, d)`.
        """
        time = self._time(v0, t)
        parts = v0.to(self.like.dtype).split(CHUNK)
        return torch.cat([self.forward(part, time) for part in parts]).to(v0.dtype)

    @torch.no_grad()
    def at_with_log_det(self, v0: Float[Tensor, "N d"], t: float) -> tuple[Float[Tensor, "N d"], Float[Tensor, " N"]]:
        r"""Velocities at ``t`` and :math:`\log \det \nabla \Phi`, ``nan`` for a particle where the map is folded.

        Raises:
            ValueError: As :meth:`at`.
        """
        time = self._time(v0, t)
        values, log_dets = [], []
        for part in v0.to(self.like.dtype).split(CHUNK):
            value, jacobian = self.value_and_jacobian(part, time)
            determinant = torch.linalg.slogdet(jacobian)
            values.append(value)
            log_dets.append(torch.where(determinant.sign > 0, determinant.logabsdet, torch.nan))
        return torch.cat(values).to(v0.dtype), torch.cat(log_dets).to(v0.dtype)

    def _time(self, v0: Tensor, t: float) -> Tensor:
        self.require_time(t)
        if require_velocities("v0", v0, min_particles=1).size(1) != self.d:
            raise InvalidArgument("v0", f"must have shape (N, {self.d})", tuple(v0.shape))
        return torch.tensor(t, dtype=self.like.dtype, device=v0.device)
