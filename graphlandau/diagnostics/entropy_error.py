r"""How far a carried entropy may be off, and whether it is below what is possible. Dimensionless."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from graphlandau.base.errors import InvalidArgument
from graphlandau.diagnostics.entropy import standard_error
from graphlandau.diagnostics.equilibrium import effective_particles
from graphlandau.physics.moments import average

__all__ = ["Gap", "carried_error", "maxwellian_gap"]

# So many standard errors below the least possible value are no chance.
CERTAIN = 4.0


class Gap(NamedTuple):
    r"""Estimate of a relative entropy, which cannot be negative.

    Attributes:
        value: Mean over the particles.
        stderr: Standard error of that mean.
        slack: What moments that are the particles' own may lower it by.
    """

    value: float
    stderr: float
    slack: float = 0.0

    @property
    def deficit(self) -> float:
        """How far it is below zero; the carried log-density is off by that at least."""
        return max(0.0, -self.value)

    @property
    def impossible(self) -> bool:
        """Whether it is below zero by more than four standard errors and its slack."""
        return self.deficit > CERTAIN * self.stderr + self.slack


def maxwellian_gap(
    log_f: Float[Tensor, " N"], v: Float[Tensor, "N d"], weight: Float[Tensor, " N"] | None = None
) -> Gap:
    r"""Relative entropy to the Maxwellian of equal mass, momentum and energy, which has the least entropy of all.

    .. math::
        \Bigl\langle \log f + \tfrac{d}{2} \log(2 \pi T) + \frac{|v - \langle v \rangle|^2}{2 T} \Bigr\rangle, \qquad
        T = \tfrac{1}{d} \bigl\langle |v - \langle v \rangle|^2 \bigr\rangle

    with the carried log-density ``log_f``. The :math:`d + 1` moments are the particles' own, which lowers the mean of
    samples of a Maxwellian itself by about :math:`(d + 1) / 2N`: four times that is the slack.

    Raises:
        ValueError: If ``log_f`` is not of shape :math:`(N,)`.

    Example:
        >>> v = torch.tensor([[1.0], [-1.0]])
        >>> maxwellian_gap(torch.full((2,), -1.9), v).value < 0  # the Maxwellian of T = 1 has -1.419
        True
    """
    n, d = v.shape
    if log_f.shape != (n,):
        raise InvalidArgument("log_f", f"must have shape ({n},)", tuple(log_f.shape))
    square = (v - average(v, weight)).square().sum(1)
    T = average(square, weight) / d
    ratio = log_f + 0.5 * d * torch.log(2 * math.pi * T) + square / (2 * T)
    slack = 2 * (d + 1) / effective_particles(n, weight)
    return Gap(float(average(ratio, weight)), float(standard_error(ratio, weight)), slack)


def carried_error(stderr: float, balance: float, deficit: float) -> float:
    r"""Error of the mean of a carried log-density: of the sample, and of the fit that has carried it.

    .. math::
        \sqrt{\sigma^2 + \max(|B|, D)^2}

    with the standard error :math:`\sigma` of the mean. The balance

    .. math::
        B = \langle \log f(t) \rangle - \langle \log f(0) \rangle - \int_0^t \langle s \cdot U \rangle \, dt

    vanishes for the score of the density that is carried, since :math:`-\langle \nabla \cdot U \rangle = \langle s
    \cdot U \rangle` for it: it is what the fitted score has the entropy change by beyond what it dissipates. The
    deficit :math:`D` is how far the mean is below the least possible one, so that it is off by that at least.

    Example:
        >>> carried_error(3.0, balance=-4.0, deficit=1.0)
        5.0
    """
    return math.hypot(stderr, max(abs(balance), deficit))
