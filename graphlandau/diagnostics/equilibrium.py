"""How far particles are from the Maxwellian of their own temperature. Dimensionless."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from graphlandau.base.validation import require_integer, require_positive
from graphlandau.physics.moments import covariance
from graphlandau.problems import Gaussian

__all__ = [
    "effective_particles",
    "equilibrium_distance",
    "equilibrium_distance_mc",
    "equilibrium_entropy",
    "temperature",
]


def temperature(v: Float[Tensor, "N d"], weight: Float[Tensor, " N"] | None = None) -> Float[Tensor, ""]:
    r"""Temperature :math:`T = \tfrac{1}{d} \operatorname{tr} \Sigma`, conserved by collisions.

    Example:
        >>> temperature(torch.tensor([[1.0, 0.0], [-1.0, 2.0]]))
        tensor(1.)
    """
    return covariance(v, weight).trace() / v.size(1)


def equilibrium_distance(v: Float[Tensor, "N d"], weight: Float[Tensor, " N"] | None = None) -> Float[Tensor, ""]:
    r"""How far from isotropy, :math:`\| \Sigma - T I \|_F` with the particles' own :math:`\Sigma` and :math:`T`.

    Zero for every isotropic density, at equilibrium or not; the entropy tells those apart.

    Reference: Ilin, Hu and Wang 2025, Figures 5.3 to 5.5, with :math:`T = 1`.
    """
    sigma = covariance(v, weight)
    isotropic = sigma.trace() / v.size(1) * torch.eye(v.size(1)).to(v)
    return torch.linalg.matrix_norm(sigma - isotropic)


def effective_particles(n: int, weight: Float[Tensor, " N"] | None = None) -> float:
    r"""How many particles of equal weight have the noise of these ``n``: :math:`(\sum w)^2 / \sum w^2`.

    Example:
        >>> effective_particles(3, torch.tensor([0.5, 0.5, 0.0]))
        2.0
    """
    return float(n) if weight is None else float(weight.sum() ** 2 / weight.square().sum())


def equilibrium_distance_mc(T: float, n: float, d: int) -> float:
    r"""The distance that ``n`` independent samples of the Maxwellian of temperature ``T`` have left.

    .. math::
        \left( E \| \Sigma - \tfrac{1}{d} \operatorname{tr}(\Sigma) I \|_F^2 \right)^{1/2}
        = T \sqrt{\frac{d^2 + d - 2}{n}}

    to leading order in :math:`1 / n`: an entry of the sample covariance has variance :math:`T^2 / n` off the
    diagonal and :math:`2 T^2 / n` on it, :math:`(d^2 + d) T^2 / n` in all, of which the trace has :math:`2 T^2 / n`.

    Raises:
        ValueError: If ``T`` or ``n`` is not positive, or ``d`` is below 1.

    Example:
        >>> equilibrium_distance_mc(T=2.0, n=1000, d=3)
        0.2
    """
    T = require_positive("T", T)
    n = require_positive("n", n)
    d = require_integer("d", d, minimum=1)
    return T * math.sqrt((d * d + d - 2) / n)


def equilibrium_entropy(v: Float[Tensor, "N d"], weight: Float[Tensor, " N"] | None = None) -> float:
    r"""Entropy :math:`-\tfrac{d}{2} \log(2 \pi e T)` of the Maxwellian of the particles' own temperature.

    The least entropy at their energy: what theirs is above it is the distance to equilibrium that is left.

    Raises:
        ValueError: If the particles coincide.

    Example:
        >>> round(equilibrium_entropy(torch.tensor([[1.0, 0.0], [-1.0, 2.0]])), 6)  # T = 1
        -2.837877
    """
    d = v.size(1)
    T = float(temperature(v, weight))
    return Gaussian([0.0] * d, T * torch.eye(d, dtype=torch.float64)).entropy()
