"""Mixtures of Gaussians and products of densities: what multimodal initial data are made of."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from graphlandau.base.errors import InvalidArgument
from graphlandau.base.validation import require_dimension, require_finite
from graphlandau.problems.densities.density import Density, Gaussian

__all__ = ["GaussianMixture", "ProductDensity"]

# Nodes of the entropy's quadrature: 2,000 x 2,000 in 2D.
_MAX_NODES = 4_000_000


class GaussianMixture(Density):
    r"""A mixture of Gaussians, :math:`f = \sum_k p_k N(m_k, \Sigma_k)`.

    .. math::
        m = \sum_k p_k m_k, \qquad \Sigma = \sum_k p_k \left( \Sigma_k + (m_k - m)(m_k - m)^{\top} \right), \qquad
        \nabla \log f = \sum_k r_k \nabla \log f_k, \quad r_k = p_k f_k / f

    Dimensionless.

    Args:
        components: The Gaussians :math:`f_k`, all of one dimension.
        probabilities: :math:`p_k > 0`, normalised here; equal unless given.

    Raises:
        ValueError: If there is no component, their dimensions differ, or ``probabilities`` does not give each
            a positive finite number.

    Example:
        >>> f = GaussianMixture([Gaussian([-1.0], [[1.0]]), Gaussian([1.0], [[1.0]])])
        >>> f.covariance
        tensor([[2.]], dtype=torch.float64)
        >>> f.score(torch.tensor([[0.0], [3.0]]))
        tensor([[ 0.0000],
                [-2.0049]])
    """

    def __init__(self, components: Sequence[Gaussian], probabilities: Sequence[float] | None = None) -> None:
        self.components = list(components)
        if not self.components or len({component.d for component in self.components}) > 1:
            got = [component.d for component in self.components]
            raise InvalidArgument("components", "must be Gaussians of one dimension", f"dimensions {got}")
        self.d = self.components[0].d
        count = len(self.components)
        p = torch.as_tensor([1.0] * count if probabilities is None else probabilities, dtype=torch.float64)
        if p.shape != (count,) or not bool((require_finite("probabilities", p) > 0).all()):
            raise InvalidArgument("probabilities", f"must be {count} positive numbers", p.tolist())
        self.probabilities = p / p.sum()

    @property
    def mean(self) -> Float[Tensor, " d"]:
        r""":math:`\sum_k p_k m_k`, float64."""
        return self.probabilities @ self._means

    @property
    def covariance(self) -> Float[Tensor, "d d"]:
        r""":math:`\sum_k p_k (\Sigma_k + (m_k - m)(m_k - m)^{\top})`, float64."""
        x = self._means - self.mean
        within = torch.tensordot(self.probabilities, self._covariances, dims=1)
        return within + (self.probabilities[:, None] * x).T @ x

    def sample(self, n: int, *, generator: torch.Generator) -> Float[Tensor, "n d"]:
        """Draw the component of each sample, then the sample."""
        device = generator.device
        index = torch.multinomial(self.probabilities.to(device), n, replacement=True, generator=generator)
        x = torch.randn(n, self.d, generator=generator, dtype=torch.float64, device=device)
        factors = torch.linalg.cholesky(self._covariances).to(device)
        return self._means.to(device)[index] + (factors[index] @ x[:, :, None]).squeeze(2)

    def log_prob(self, v: Float[Tensor, "N d"]) -> Float[Tensor, " N"]:
        r""":math:`\log \sum_k p_k f_k(v)`, without underflow in the tails."""
        return self._log_terms(v).logsumexp(1)

    def score(self, v: Float[Tensor, "N d"]) -> Float[Tensor, "N d"]:
        r""":math:`\sum_k r_k \nabla \log f_k`, each component by its share of the density."""
        share = self._log_terms(v).softmax(1)
        return torch.stack([share[:, k, None] * f.score(v) for k, f in enumerate(self.components)]).sum(0)

    def entropy(self) -> float | None:
        r""":math:`\int f \log f` in one or two dimensions by the trapezoid rule, to 1e-12; else ``None``.

        Ten standard deviations around every component at eight nodes per smallest one, where the rule converges
        geometrically; ``None`` as well if such a grid would need more than four million nodes.
        """
        sigma = self._covariances
        reach = 10 * sigma.diagonal(dim1=1, dim2=2).sqrt()
        low, high = (self._means - reach).amin(0), (self._means + reach).amax(0)
        step = float(torch.linalg.eigvalsh(sigma).min().sqrt()) / 8
        nodes = [int(length / step) + 2 for length in (high - low)]
        if self.d > 2 or torch.tensor(nodes).prod() > _MAX_NODES:
            return None
        axes = [low[a] + step * torch.arange(nodes[a], dtype=torch.float64) for a in range(self.d)]
        log_f = self.log_prob(torch.cartesian_prod(*axes).reshape(-1, self.d))
        return float((log_f.exp() * log_f).sum()) * step**self.d

    @property
    def _means(self) -> Tensor:
        return torch.stack([component.mean for component in self.components])

    @property
    def _covariances(self) -> Tensor:
        return torch.stack([component.covariance for component in self.components])

    def _log_terms(self, v: Tensor) -> Tensor:
        log_p = self.probabilities.log().to(dtype=v.dtype, device=v.device)
        return torch.stack([component.log_prob(v) for component in self.components], dim=1) + log_p


class ProductDensity(Density):
    r"""Independent groups of components, :math:`f(v) = \prod_k f_k(v_{(k)})`; entropies add up.

    Dimensionless.

    Args:
        factors: The densities :math:`f_k`, in the order of their components.

    Raises:
        ValueError: If there is no factor.

    Example:
        >>> f = ProductDensity([Gaussian([0.0], [[2.0]]), Gaussian([1.0], [[0.5]])])
        >>> f.score(torch.tensor([[1.0, 2.0]]))
        tensor([[-0.5000, -2.0000]])
    """

    def __init__(self, factors: Sequence[Density]) -> None:
        self.factors = list(factors)
        if not self.factors:
            raise InvalidArgument("factors", "must be at least one density", "none")
        self.d = sum(factor.d for factor in self.factors)
        self.smooth = all(factor.smooth for factor in self.factors)

    @property
    def mean(self) -> Float[Tensor, " d"] | None:
        """Means of the factors, one after the other; ``None`` where one is not known."""
        known = [m for factor in self.factors if (m := factor.mean) is not None]
        return torch.cat(known) if len(known) == len(self.factors) else None

    @property
    def covariance(self) -> Float[Tensor, "d d"] | None:
        """Covariances of the factors in diagonal blocks; ``None`` where one is not known."""
        known = [sigma for factor in self.factors if (sigma := factor.covariance) is not None]
        return torch.block_diag(*known) if len(known) == len(self.factors) else None

    def sample(self, n: int, *, generator: torch.Generator) -> Float[Tensor, "n d"]:
        """Draw the factors independently."""
        return torch.cat([factor.sample(n, generator=generator) for factor in self.factors], dim=1)

    def log_prob(self, v: Float[Tensor, "N d"]) -> Float[Tensor, " N"]:
        r""":math:`\sum_k \log f_k(v_{(k)})`."""
        return torch.stack([f.log_prob(x) for f, x in zip(self.factors, self._parts(v), strict=True)]).sum(0)

    def score(self, v: Float[Tensor, "N d"]) -> Float[Tensor, "N d"]:
        """Scores of the factors, one after the other."""
        return torch.cat([f.score(x) for f, x in zip(self.factors, self._parts(v), strict=True)], dim=1)

    def entropy(self) -> float | None:
        r""":math:`\sum_k H_k`; ``None`` where one is not known."""
        known = [H for factor in self.factors if (H := factor.entropy()) is not None]
        return sum(known) if len(known) == len(self.factors) else None

    def _parts(self, v: Tensor) -> tuple[Tensor, ...]:
        return require_dimension("v", v, self.d).split([factor.d for factor in self.factors], dim=1)
