"""Probability densities with exact samples, log-densities and scores."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from graphlandau.base.errors import InvalidArgument
from graphlandau.base.validation import require_dimension, require_finite
from graphlandau.base.vectors import less

__all__ = ["Density", "Gaussian"]


class Density(ABC):
    r"""A normalised probability density :math:`f` on velocity space, dimensionless.

    A subclass sets ``d`` and writes :meth:`sample` and :meth:`log_prob`; the score then follows by automatic
    differentiation. Override :meth:`score`, :attr:`mean`, :attr:`covariance` and :meth:`entropy` where a formula
    is known. Evaluation follows the dtype and device of the velocities it is given.

    Attributes:
        d: Dimension of velocity space.
        smooth: Whether the pointwise gradient of :math:`\log f` is the whole score; ``False`` for a density with
            jumps, whose score methods must fit to samples.

    Example:
        >>> class Laplace(Density):
        ...     d = 2
        ...
        ...     def sample(self, n, *, generator):
        ...         u = torch.rand(n, 2, 2, generator=generator, dtype=torch.float64, device=generator.device)
        ...         return (u[..., 0] / u[..., 1]).log()  # the difference of two exponentials
        ...
        ...     def log_prob(self, v):
        ...         return -v.abs().sum(1) - 2 * math.log(2)
        >>> Laplace().score(torch.tensor([[3.0, -0.5]]))
        tensor([[-1.,  1.]])
    """

    d: int
    smooth: bool = True

    @abstractmethod
    def sample(self, n: int, *, generator: torch.Generator) -> Float[Tensor, "n d"]:
        """Draw ``n`` independent exact samples, float64, on the device of ``generator``."""

    @abstractmethod
    def log_prob(self, v: Float[Tensor, "N d"]) -> Float[Tensor, " N"]:
        r"""Logarithm of the density, :math:`\log f(v)`; entry :math:`i` depends on :math:`v_i` only."""

    def score(self, v: Float[Tensor, "N d"]) -> Float[Tensor, "N d"]:
        r"""Score :math:`\nabla_v \log f`, here by automatic differentiation of :meth:`log_prob`."""
        require_dimension("v", v, self.d)
        return torch.func.grad(lambda x: self.log_prob(x).sum())(v)

    @property
    def mean(self) -> Float[Tensor, " d"] | None:
        r"""Exact mean velocity, :math:`(d,)` in float64, or ``None`` when it is not known."""
        return None

    @property
    def covariance(self) -> Float[Tensor, "d d"] | None:
        r"""Exact covariance about the mean, :math:`(d, d)` in float64, or ``None`` when it is not known."""
        return None

    def entropy(self) -> float | None:
        r"""Exact :math:`H = \int f \log f \, dv` (in this sign it falls), ``None`` when it is unknown."""
        return None


class Gaussian(Density):
    r"""The normal density :math:`N(m, \Sigma)`.

    .. math::
        \nabla \log f = -\Sigma^{-1} (v - m), \qquad
        H = -\tfrac{1}{2} \left( d (1 + \log 2 \pi) + \log \det \Sigma \right)

    Dimensionless.

    Args:
        mean: :math:`m`, of shape :math:`(d,)`.
        covariance: :math:`\Sigma`, symmetric positive definite, of shape :math:`(d, d)`.

    Raises:
        ValueError: If the shapes do not match, an entry is not finite, or ``covariance`` is not symmetric
            positive definite.

    Example:
        >>> f = Gaussian(mean=[0.0, 0.0], covariance=[[2.0, 0.0], [0.0, 0.5]])
        >>> f.score(torch.tensor([[1.0, 1.0]]))
        tensor([[-0.5000, -2.0000]])
        >>> f.sample(3, generator=torch.Generator().manual_seed(0)).shape
        torch.Size([3, 2])
    """

    def __init__(self, mean: Tensor | Sequence[float], covariance: Tensor | Sequence[Sequence[float]]) -> None:
        m = require_finite("mean", torch.as_tensor(mean, dtype=torch.float64))
        sigma = require_finite("covariance", torch.as_tensor(covariance, dtype=torch.float64))
        if m.dim() != 1 or m.numel() < 1:
            raise InvalidArgument("mean", "must have shape (d,)", tuple(m.shape))
        self.d = m.numel()
        if sigma.shape != (self.d, self.d):
            raise InvalidArgument("covariance", f"must have shape ({self.d}, {self.d})", tuple(sigma.shape))
        factor, failed = torch.linalg.cholesky_ex(sigma)
        if failed or not torch.allclose(sigma, sigma.T, rtol=1e-12, atol=0):
            raise InvalidArgument("covariance", "must be symmetric positive definite", sigma.tolist())
        self._mean, self._covariance, self._factor = m, sigma, factor
        self._precision = torch.cholesky_inverse(factor)
        self._log_det = 2 * float(factor.diagonal().log().sum())

    @property
    def mean(self) -> Float[Tensor, " d"]:
        r""":math:`m`, float64."""
        return self._mean

    @property
    def covariance(self) -> Float[Tensor, "d d"]:
        r""":math:`\Sigma`, float64."""
        return self._covariance

    def sample(self, n: int, *, generator: torch.Generator) -> Float[Tensor, "n d"]:
        r"""Draw :math:`m + L x` with :math:`\Sigma = L L^{\top}` and :math:`x` standard normal."""
        x = torch.randn(n, self.d, generator=generator, dtype=torch.float64, device=generator.device)
        return self.mean.to(x.device) + x @ self._factor.to(x.device).T

    def log_prob(self, v: Float[Tensor, "N d"]) -> Float[Tensor, " N"]:
        r""":math:`-\tfrac12 [(v - m)^{\top} \Sigma^{-1} (v - m) + \log \det \Sigma + d \log 2 \pi]`."""
        x = self._centred(v)
        square = (x * (x @ self._precision.to(dtype=v.dtype, device=v.device))).sum(1)
        return -0.5 * (square + self._log_det + self.d * math.log(2 * math.pi))

    def score(self, v: Float[Tensor, "N d"]) -> Float[Tensor, "N d"]:
        r""":math:`-\Sigma^{-1} (v - m)`."""
        return -self._centred(v) @ self._precision.to(dtype=v.dtype, device=v.device)

    def entropy(self) -> float:
        r""":math:`-\tfrac{1}{2} (d (1 + \log 2 \pi) + \log \det \Sigma)`."""
        return -0.5 * (self.d * (1 + math.log(2 * math.pi)) + self._log_det)

    def _centred(self, v: Tensor) -> Tensor:
        return less(require_dimension("v", v, self.d), self.mean)
