r"""The H-functional :math:`H = \int f \log f`, minus the entropy: collisions let it fall. Dimensionless."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from graphlandau.base.errors import InvalidArgument
from graphlandau.physics.moments import average, inner

__all__ = ["entropy", "entropy_dissipation", "kl_divergence", "standard_error"]


def entropy(log_f: Float[Tensor, " N"], weight: Float[Tensor, " N"] | None = None) -> Float[Tensor, ""]:
    r"""Particle estimate :math:`H = \langle \log f \rangle` of the H-functional from the log-density that is carried.

    Raises:
        ValueError: If ``log_f`` is not of shape :math:`(N,)`.

    Reference: Huang and Wang, arXiv:2409.12296, Eq. (23) gives ``log_f``.
    """
    if log_f.dim() != 1:
        raise InvalidArgument("log_f", "must have shape (N,)", tuple(log_f.shape))
    return average(log_f, weight)


def entropy_dissipation(
    s: Float[Tensor, "N d"], U: Float[Tensor, "N d"], weight: Float[Tensor, " N"] | None = None
) -> Float[Tensor, ""]:
    r"""Dissipation of the H-functional :math:`\langle s \cdot U \rangle \le 0`, ``U`` being the Landau drift of ``s``.

    It is :math:`dH/dt` when ``s`` is the exact score, and never positive for any other ``s``.

    Raises:
        ValueError: If ``s`` and ``U`` differ in shape.

    Reference: Ilin, Hu and Wang 2025, Proposition 3.1.
    """
    if s.dim() != 2 or s.shape != U.shape:
        raise InvalidArgument("U", f"must have the shape (N, d) of s, {tuple(s.shape)}", tuple(U.shape))
    return average(inner(s, U), weight)


def kl_divergence(
    log_f: Float[Tensor, " N"], log_p: Float[Tensor, " N"], weight: Float[Tensor, " N"] | None = None
) -> Float[Tensor, ""]:
    r"""Particle estimate of the relative entropy, :math:`KL(f | p) = \langle \log f - \log p \rangle`.

    Both at the particles of :math:`f`. An average over a finite sample, so it may come out slightly negative.

    Raises:
        ValueError: If the two do not have the same shape :math:`(N,)`.
    """
    if log_f.dim() != 1 or log_f.shape != log_p.shape:
        raise InvalidArgument("log_p", f"must have the shape (N,) of log_f, {tuple(log_f.shape)}", tuple(log_p.shape))
    return average(log_f - log_p, weight)


def standard_error(x: Float[Tensor, " N"], weight: Float[Tensor, " N"] | None = None) -> Float[Tensor, ""]:
    r"""Standard error of the mean of a number that each particle has, from the particles being a sample.

    .. math::
        \Bigl( \frac{N}{N - 1} \sum_i p_i (x_i - \langle x \rangle)^2 \sum_j p_j^2 \Bigr)^{1/2},
        \qquad p_i = w_i / \sum_j w_j

    With equal weights the standard deviation over :math:`\sqrt{N}`; zero of one particle.

    Example:
        >>> import torch
        >>> standard_error(torch.tensor([1.0, 2.0, 3.0, 4.0]))
        tensor(0.6455)
    """
    n = x.numel()
    share = 1 / n if weight is None else float((weight / weight.sum()).square().sum())
    variance = average((x - average(x, weight)).square(), weight) * (n / max(n - 1, 1))
    return (variance * share).sqrt()
