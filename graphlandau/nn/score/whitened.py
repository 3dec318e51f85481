"""Scores built on the Gaussian with the particles' own mean and covariance."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from graphlandau.base.errors import InvalidArgument
from graphlandau.base.validation import require_integer, require_velocities, require_weight
from graphlandau.nn.score.base import ScoreModel

__all__ = ["GaussianScore", "WhitenedScore"]


class WhitenedScore(ScoreModel):
    r"""A score written in the whitened velocities of the particles.

    .. math::
        x = \Sigma^{-1/2} (v - m), \qquad s(v) = \Sigma^{-1/2} s_x(x), \qquad
        J(v) = \Sigma^{-1/2} J_x(x) \, \Sigma^{-1/2}

    with the symmetric root, so that :math:`x` turns continuously with the particles. ``condition`` sets the (weighted)
    mean :math:`m` and :math:`\Sigma^{-1/2}`; before the first call they are 0 and the identity. They are kept in
    double precision and in the ``state_dict``. Subclasses give :math:`s_x` and :math:`J_x`.
    """

    mean: Tensor
    whitening: Tensor

    def __init__(self, d: int) -> None:
        super().__init__()
        self.d = require_integer("d", d, minimum=1)
        self.register_buffer("mean", torch.zeros(d, dtype=torch.float64))
        self.register_buffer("whitening", torch.eye(d, dtype=torch.float64))

    def whitened_score(self, x: Tensor) -> Tensor:
        """Score :math:`s_x` in whitened velocities."""
        raise NotImplementedError

    def whitened_score_and_jacobian(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Score and Jacobian in whitened velocities."""
        raise NotImplementedError

    def condition(self, v: Float[Tensor, "N d"], weight: Float[Tensor, " N"] | None = None) -> None:
        """Take mean and covariance from the particles.

        Raises:
            ValueError: If ``v`` is not finite, has fewer than ``d + 2`` particles, or a singular covariance.
        """
        mean, whitening = mean_and_whitening(v, weight, self.d)
        self.mean.copy_(mean)
        self.whitening.copy_(whitening)

    def whiten(self, v: Tensor) -> Tensor:
        """Whitened velocities :math:`x`."""
        return (v - self.mean.to(v)) @ self.whitening.to(v)

    def forward(self, v: Float[Tensor, "N d"]) -> Float[Tensor, "N d"]:
        """Score at ``v``."""
        return self.whitened_score(self.whiten(v)) @ self.whitening.to(v)

    def value_and_jacobian(self, v: Float[Tensor, "N d"]) -> tuple[Float[Tensor, "N d"], Float[Tensor, "N d d"]]:
        """Score and Jacobian in one pass."""
        s, jacobian = self.whitened_score_and_jacobian(self.whiten(v))
        root = self.whitening.to(v)
        return s @ root, root @ jacobian @ root


class GaussianScore(WhitenedScore):
    r"""The score of the Gaussian with the particles' mean and covariance, :math:`s(v) = -\Sigma^{-1} (v - m)`.

    No parameters: ``condition`` is all the fitting there is. Exact for Gaussian densities, hence the reference that
    every richer model has to beat; over the particles themselves :math:`\langle s \rangle = 0` and
    :math:`\langle v s^{\top} \rangle = -I` exactly.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> v = 2 * torch.randn(1000, 2)
        >>> score = GaussianScore(2)
        >>> score.condition(v)
        >>> bool((score.divergence(v) + 0.5).abs().max() < 0.05)
        True
    """

    def whitened_score(self, x: Tensor) -> Tensor:
        """Score :math:`-x`."""
        return -x

    def whitened_score_and_jacobian(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Score :math:`-x` and Jacobian :math:`-I`."""
        return -x, -torch.eye(self.d, dtype=x.dtype, device=x.device).expand(x.size(0), -1, -1)


def mean_and_whitening(v: Tensor, weight: Tensor | None, d: int) -> tuple[Tensor, Tensor]:
    r"""Mean and :math:`\Sigma^{-1/2}` of the particles, in double precision."""
    require_velocities("v", v, min_particles=d + 2)
    require_weight("weight", weight, v)
    if v.size(1) != d:
        raise InvalidArgument("v", f"must have shape (N, {d})", tuple(v.shape))
    x = v.detach().double()
    w = torch.full_like(x[:, 0], 1 / x.size(0)) if weight is None else weight.detach().double() / weight.sum()
    mean = w @ x
    x = x - mean
    variance, axes = torch.linalg.eigh(x.T @ (w[:, None] * x))
    # Below this the variance is rounding: of the stored velocities, or of their covariance in double precision.
    rounding = max((10 * torch.finfo(v.dtype).eps) ** 2, 1e-14)
    if not bool(variance[0] > rounding * (variance[-1] + mean @ mean)):
        raise InvalidArgument(
            "v", "must have a non-singular covariance", f"principal variances {variance[0]:.3g} to {variance[-1]:.3g}"
        )
    return mean, (axes / variance.sqrt()) @ axes.T
