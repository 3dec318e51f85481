"""A Gaussian with a hole: initial data with a jump."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from graphlandau.base.validation import require_dimension, require_positive
from graphlandau.problems.densities.density import Density
from graphlandau.problems.problem import Problem

__all__ = ["Truncated", "TruncatedGaussian"]


class TruncatedGaussian(Density):
    r"""The standard normal density in 2D, conditioned on :math:`|v| > \eta`.

    .. math::
        f(v) = \frac{1}{2 \pi} e^{(\eta^2 - |v|^2) / 2} \, 1_{|v| > \eta}, \qquad \Sigma = (1 + \eta^2 / 2) I, \qquad
        H = -1 - \log 2 \pi

    The entropy does not depend on :math:`\eta`. Inside the hole ``log_prob`` is :math:`-\infty` and :meth:`score` 0;
    outside, :meth:`score` is :math:`-v`, which misses the jump at :math:`|v| = \eta`: it is the score of a
    Maxwellian, at rest under collisions, which this density is not (``smooth`` is ``False``). Dimensionless.

    Args:
        eta: Radius of the hole.

    Raises:
        ValueError: If ``eta`` is not positive.

    Example:
        >>> f = TruncatedGaussian(eta=1.0)
        >>> f.log_prob(torch.tensor([[2.0, 0.0], [0.5, 0.5]]))
        tensor([-3.3379,    -inf])

    Reference: arXiv:2603.10874, Appendix B.
    """

    d = 2
    smooth = False

    def __init__(self, eta: float = 1.0) -> None:
        self.eta = require_positive("eta", eta)

    @property
    def mean(self) -> Float[Tensor, " d"]:
        """Zero, float64."""
        return torch.zeros(2, dtype=torch.float64)

    @property
    def covariance(self) -> Float[Tensor, "d d"]:
        r""":math:`(1 + \eta^2 / 2) I`, float64."""
        return (1 + self.eta**2 / 2) * torch.eye(2, dtype=torch.float64)

    def sample(self, n: int, *, generator: torch.Generator) -> Float[Tensor, "n d"]:
        r"""Draw exact samples: :math:`|v|^2 = \eta^2 + |x|^2` and the direction of :math:`x`, standard normal.

        :math:`|x|^2 / 2` is exponential, which has no memory: beyond :math:`\eta^2 / 2` it is distributed alike.
        """
        x = torch.randn(n, 2, generator=generator, dtype=torch.float64, device=generator.device)
        return x * (1 + self.eta**2 / x.square().sum(1, keepdim=True)).sqrt()

    def log_prob(self, v: Float[Tensor, "N d"]) -> Float[Tensor, " N"]:
        r""":math:`(\eta^2 - |v|^2) / 2 - \log 2 \pi`; :math:`-\infty` in the hole."""
        square = require_dimension("v", v, 2).square().sum(1)
        value = 0.5 * (self.eta**2 - square) - math.log(2 * math.pi)
        return torch.where(self._outside(square), value, torch.full_like(value, -math.inf))

    def score(self, v: Float[Tensor, "N d"]) -> Float[Tensor, "N d"]:
        r""":math:`-v`, and 0 in the hole; without the jump at :math:`|v| = \eta`."""
        square = require_dimension("v", v, 2).square().sum(1, keepdim=True)
        return torch.where(self._outside(square), -v, torch.zeros_like(v))

    def entropy(self) -> float:
        r""":math:`-1 - \log 2 \pi`."""
        return -1 - math.log(2 * math.pi)

    def _outside(self, square: Tensor) -> Tensor:
        # A sample beside the edge may be rounded across it when it is cast to another dtype.
        return square > self.eta**2 * (1 - 4 * torch.finfo(square.dtype).eps)


class Truncated(Problem):
    r"""A Gaussian with a hole fills it: initial data with a jump, in 2D.

    .. math::
        f_0(v) = \frac{1}{2 \pi} e^{(1 - |v|^2) / 2} \, 1_{|v| > 1}, \qquad f_\infty = N(0, \tfrac{3}{2} I)

    Only the initial density and the equilibrium are known. The score must be fitted to the particles from the start:
    the pointwise one gives no drift, see :class:`TruncatedGaussian`. Dimensionless.

    Args:
        strength: :math:`C`. It only rescales time, and the default ``t_end`` and ``dt`` with it: :math:`5 / C` and
            :math:`0.01 / C`, or :math:`0.002 / C` from ``gamma = 0`` on, where fast particles collide more often and
            longer steps are not invertible for them.
        gamma: Exponent. The paper does not state it; -3 is Coulomb, as in its other examples without an exact
            solution, 0 is Maxwell molecules.

    Raises:
        ValueError: If ``strength`` is not positive or ``gamma`` is outside [-4, 1].

    Example:
        >>> problem = Truncated()
        >>> problem.initial.smooth, problem.equilibrium().covariance.diagonal()
        (False, tensor([1.5000, 1.5000], dtype=torch.float64))

    Reference: arXiv:2603.10874, Section 5.3.4 and Appendix B.
    """

    def __init__(self, strength: float = 1.0, gamma: float = -3.0) -> None:
        strength = require_positive("strength", strength)
        super().__init__(
            TruncatedGaussian(eta=1.0),
            gamma=gamma,
            strength=strength,
            t_end=5 / strength,
            dt=(0.01 if gamma < 0 else 0.002) / strength,
            particles=14_400,
            grid=(5.0, 100),
            bandwidth=0.3,
        )

    @property
    def name(self) -> str:
        """``truncated_2d``."""
        return "truncated_2d"
