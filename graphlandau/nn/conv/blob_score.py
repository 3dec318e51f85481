"""The blob score: kernel density estimation as a message-passing layer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from graphlandau.nn.conv.pairwise import PairwiseLayer
from graphlandau.nn.reduce import Partition
from graphlandau.validation import is_concrete, require_positive, require_velocities, require_weight
from graphlandau.vectors import dot, identity, join, matvec, outer

__all__ = ["BlobScore"]


class BlobScore(PairwiseLayer):
    r"""Score of the regularised entropy of weighted particles (blob method).

    .. math::
        s_i = \sum_j w_j \nabla\phi(v_i - v_j) \left( \frac{1}{\rho_i} + \frac{1}{\rho_j} \right), \qquad
        \rho_i = \sum_k w_k \phi(v_i - v_k)

    the gradient of :math:`\delta H_h / \delta f` for :math:`H_h = \int f \log(\phi * f)`, so that
    :math:`\partial H_h / \partial v_i = w_i s_i`, with a Gaussian
    :math:`\phi` of standard deviation :math:`h`, over all pairs or all pairs inside each block of ``batch``.
    The bandwidth is a constant to every derivative. Dimensionless.

    Args:
        bandwidth: The standard deviation :math:`h`, or ``"silverman"``:
            :math:`h = n^{-1/(d+6)} \sqrt{(\prod_b \lambda_b)^{1/d}}` with the eigenvalues :math:`\lambda_b` of the
            covariance and :math:`n = (\sum w)^2 / \sum w^2`, for each block.
        correct: Divide the component along each principal axis by :math:`R_b(v)`, what the formula gives for a
            Gaussian of the particles' covariance relative to its true score (``q_c = sigma_c^4 + sigma_c^2 h^2
            + h^4``)

            .. math::
                R_b = \sigma_b^2 \Big[ \frac{1}{\sigma_b^2 + h^2} + \frac{h^2}{q_b} \prod_c
                \frac{\sigma_c^2 + h^2}{\sqrt{q_c}} \exp\Big(-\frac{1}{2} \sum_c \frac{h^2 v_c^2}{q_c}\Big) \Big],

            which makes Gaussians exact as :math:`N \to \infty` for any :math:`h`. Ours, not in the papers.
        backend: ``"dense"``, ``"keops"`` or ``"auto"`` (dense).

    Shapes:
        - **v**: velocities :math:`(N, d)`
        - **batch**, **weight**: :math:`(N,)` *(optional)*; weights are made to sum to 1 (in each block)
        - **output**: score :math:`(N, d)`

    Raises:
        ValueError: If ``bandwidth`` is not ``"silverman"`` or positive, tensors are non-finite or do not fit,
            or the particles of a block span fewer than d dimensions when their covariance is needed.

    Example:
        >>> BlobScore(bandwidth=0.3)
        BlobScore(bandwidth=0.3, correct=False, backend='auto')
        >>> BlobScore()(torch.randn(500, 2)).shape
        torch.Size([500, 2])

    As a carrier of the log-density its Jacobian is biased: particle i sees its own kernel move with the field, which
    adds about :math:`1 / (N h^{d+2})` to the divergence.

    Reference: Carrillo, Hu, Wang and Wu 2020; Ilin, Hu and Wang 2025, Section 5.1, whose rule for the bandwidth
    ``"silverman"`` follows (with covariance eigenvalues, and the result used as a standard deviation).
    """

    def __init__(self, bandwidth: float | str = "silverman", correct: bool = False, *, backend: str = "auto") -> None:
        super().__init__(backend, ("auto", "dense", "keops"))
        if isinstance(bandwidth, str):
            if bandwidth != "silverman":
                raise ValueError(f"'bandwidth' must be 'silverman' or a positive number (got {bandwidth!r})")
        else:
            require_positive("bandwidth", bandwidth)
        self.bandwidth = bandwidth
        self.correct = correct

    def forward(
        self,
        v: Float[Tensor, "N d"],
        batch: Int[Tensor, " N"] | None = None,
        weight: Float[Tensor, " N"] | None = None,
    ) -> Float[Tensor, "N d"]:
        """Score at every particle."""
        blob = self._prepare(v, batch, weight)
        score = self._sum(_Score(), blob, blob.inverse_density) / blob.h
        return self._corrected(v, score, None, blob)[0] if self.correct else score

    def value_and_jacobian(
        self,
        v: Float[Tensor, "N d"],
        batch: Int[Tensor, " N"] | None = None,
        weight: Float[Tensor, " N"] | None = None,
    ) -> tuple[Float[Tensor, "N d"], Float[Tensor, "N d d"]]:
        r"""Score and Jacobian of the score *field* at every particle: the others, and :math:`\rho_j`, stay fixed.

        With :math:`\rho(v) = \sum_k w_k \phi(v - v_k)` the field is
        :math:`s(v) = \nabla \log \rho(v) + \sum_j w_j \nabla\phi(v - v_j) / \rho_j`, and its Jacobian
        :math:`\sum_j w_j \nabla\nabla\phi \, (1/\rho_i + 1/\rho_j) - \nabla\rho \nabla\rho^\top / \rho^2`.

        Shapes:
            - **output**: :math:`(N, d)` and :math:`(N, d, d)`, ``[:, a, b]`` is :math:`\partial s_a / \partial v_b`
        """
        blob = self._prepare(v, batch, weight)
        d = v.size(1)
        out = self._sum(_ScoreAndHessian(), blob, blob.inverse_density)
        score, log_gradient, hessian = out.split([d, d, d * d], dim=1)
        hessian = hessian.unflatten(1, (d, d))
        jacobian = (hessian - log_gradient[:, :, None] * log_gradient[:, None, :]) / blob.h[:, :, None] ** 2
        return self._corrected(v, score / blob.h, jacobian, blob) if self.correct else (score / blob.h, jacobian)

    def jacobian(self, v: Float[Tensor, "N d"], **graph: Any) -> Float[Tensor, "N d d"]:
        """Jacobian of the score field, see :meth:`value_and_jacobian`."""
        return self.value_and_jacobian(v, **graph)[1]

    def divergence(self, v: Float[Tensor, "N d"], **graph: Any) -> Float[Tensor, " N"]:
        """Divergence of the score field, see :meth:`value_and_jacobian`."""
        return self.jacobian(v, **graph).diagonal(dim1=1, dim2=2).sum(-1)

    def entropy(
        self,
        v: Float[Tensor, "N d"],
        batch: Int[Tensor, " N"] | None = None,
        weight: Float[Tensor, " N"] | None = None,
    ) -> Float[Tensor, " B"]:
        r"""Regularised entropy :math:`H_h = \sum_i w_i \log \rho_i`, one number per block."""
        blob = self._prepare(v, batch, weight)
        norm = 0.5 * v.size(1) * math.log(2 * math.pi) + v.size(1) * torch.log(blob.h)
        log_density = -torch.log(blob.inverse_density) - norm
        return blob.partition.total(blob.weight[:, None] * log_density)[:, 0]

    def _prepare(self, v: Tensor, batch: Tensor | None, weight: Tensor | None) -> _Blob:
        require_velocities("v", v)
        require_weight("weight", weight, v)
        partition = Partition.from_batch(batch, v)
        share = partition.normalised(weight, v)
        mean = partition.total(share[:, None] * v)
        centred = v - partition.spread(mean)
        h = partition.spread(self._bandwidths(centred, share, partition))[:, None].to(v.dtype)
        # In units of h: one compiled formula for every bandwidth.
        blob = _Blob(partition, share, centred / h, h, v.new_empty(0))
        # A tracer of weight 0 may be so far from everything that its density underflows.
        floor = torch.finfo(v.dtype).tiny ** 0.5
        return blob._replace(inverse_density=1 / self._sum(_Density(), blob).clamp_min(floor))

    def _bandwidths(self, centred: Tensor, share: Tensor, partition: Partition) -> Tensor:
        if not isinstance(self.bandwidth, str):
            return centred.new_full((partition.count,), self.bandwidth)
        d = centred.size(1)
        with torch.no_grad():
            eigenvalues, _ = _principal_axes(centred, share, partition)
            particles = 1 / partition.total(share.double() ** 2)
            return particles ** (-1 / (d + 6)) * torch.exp(torch.log(eigenvalues).mean(-1) / 2)

    def _sum(self, formula: Any, blob: _Blob, *extra: Tensor) -> Tensor:
        backend = "dense" if self.backend == "auto" else self.backend
        receivers = (blob.x, *extra)
        return self.pair_sum(backend, formula, receivers, (*receivers, blob.weight[:, None]), blob.partition)

    def _corrected(self, v: Tensor, score: Tensor, jacobian: Tensor | None, blob: _Blob) -> tuple[Tensor, Tensor]:
        partition, h = blob.partition, blob.h
        with torch.no_grad():
            variance, axes = _principal_axes(blob.x * h, blob.weight, partition)
            variance, axes = (partition.spread(a.to(v.dtype)) for a in (variance, axes))
        along = matvec(axes.mT, blob.x * h)
        h2 = h**2
        q = variance**2 + variance * h2 + h2**2
        amplitude = torch.exp(torch.log((variance + h2) / torch.sqrt(q)).sum(-1, keepdim=True))
        bump = variance * h2 / q * amplitude * torch.exp(-0.5 * (h2 * along**2 / q).sum(-1, keepdim=True))
        ratio = variance / (variance + h2) + bump
        along_score = matvec(axes.mT, score) / ratio
        corrected = matvec(axes, along_score)
        if jacobian is None:
            return corrected, score.new_empty(0)
        # d(s_b / R_b)/dv_c = (ds_b/dv_c - s_b/R_b dR_b/dv_c) / R_b, dR_b/dv_c = -bump_b h^2 v_c / q_c.
        inner = axes.mT @ jacobian @ axes
        slope = -bump[:, :, None] * (h2 * along / q)[:, None, :]
        inner = (inner - along_score[:, :, None] * slope) / ratio[:, :, None]
        return corrected, axes @ inner @ axes.mT

    def __repr__(self) -> str:
        return f"BlobScore(bandwidth={self.bandwidth!r}, correct={self.correct}, backend={self.backend!r})"


class _Blob(NamedTuple):
    """Particles of each block about their mean in units of its bandwidth, and their unnormalised 1/density."""

    partition: Partition
    weight: Tensor
    x: Tensor
    h: Tensor
    inverse_density: Tensor


def _principal_axes(centred: Tensor, share: Tensor, partition: Partition) -> tuple[Tensor, Tensor]:
    x, share = centred.detach().double(), share.detach()
    covariance = partition.total((share[:, None] * x)[:, :, None] * x[:, None, :])
    eigenvalues, axes = torch.linalg.eigh(covariance)
    flat = eigenvalues[:, 0] <= 1e-12 * eigenvalues[:, -1]
    if is_concrete(flat) and bool(flat.any()):
        block = int(flat.nonzero()[0])
        raise ValueError(
            f"'v' must span all {x.size(1)} dimensions in every block for 'silverman' and 'correct' "
            f"(got a flat covariance in block {block} of {int(partition.size[block])} particles)"
        )
    return eigenvalues, axes


def _gaussian(z: Any) -> Any:
    return (dot(z, z) * -0.5).exp()


@dataclass(frozen=True)
class _Density:
    """What one sender adds to the unnormalised density; velocities in units of h."""

    def __call__(self, receiver: Sequence[Any], sender: Sequence[Any]) -> Any:
        (x_i,), (x_j, w_j) = receiver, sender
        return _gaussian(x_i - x_j) * w_j


@dataclass(frozen=True)
class _Score:
    r"""What one sender adds to h times the score, :math:`-w_j \phi(z) z (1/\rho_i + 1/\rho_j)`."""

    def __call__(self, receiver: Sequence[Any], sender: Sequence[Any]) -> Any:
        (x_i, inverse_i), (x_j, inverse_j, w_j) = receiver, sender
        z = x_i - x_j
        return z * (_gaussian(z) * w_j * (inverse_i + inverse_j) * -1.0)


@dataclass(frozen=True)
class _ScoreAndHessian:
    r"""The term of the score, of :math:`h \nabla \log \rho`, and of h^2 times the Hessian part of the Jacobian."""

    def __call__(self, receiver: Sequence[Any], sender: Sequence[Any]) -> Any:
        (x_i, inverse_i), (x_j, inverse_j, w_j) = receiver, sender
        z = x_i - x_j
        phi = _gaussian(z) * w_j
        both = phi * (inverse_i + inverse_j)
        return join([z * both * -1.0, z * (phi * inverse_i) * -1.0, (outer(z, z) - identity(z)) * both])
