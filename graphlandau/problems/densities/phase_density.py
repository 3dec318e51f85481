"""Probability densities on phase space that can be loaded with random or with evenly spread particles."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from graphlandau.base.errors import InvalidArgument
from graphlandau.base.validation import require_dimension, require_integer, require_one_of
from graphlandau.problems.densities.density import Gaussian
from graphlandau.problems.densities.marginals import Marginal

__all__ = ["LOADINGS", "PhaseDensity", "PhaseGaussian", "PhaseProduct"]

LOADINGS = ("random", "quiet")
# The reciprocal golden ratio, of all numbers the worst approximated by fractions.
GOLDEN = (math.sqrt(5) - 1) / 2
# The generator of the low-discrepancy sequence counts in units of 2**-30.


class PhaseDensity(ABC):
    r"""A normalised probability density :math:`f(x, v)`, dimensionless.

    A subclass sets ``d_x`` and ``d`` and writes :meth:`from_uniform` and :meth:`log_prob`. Evaluation follows the dtype
    and device of the particles it is given.

    Attributes:
        d_x: Dimension of position space.
        d: Dimension of velocity space, at least ``d_x``.
        periods: Per position its period, ``None`` on the line.

    Example:
        >>> class Sheared(PhaseDensity):
        ...     d_x, d = 1, 1
        ...
        ...     def from_uniform(self, u):
        ...         z = torch.special.ndtri(u)
        ...         return z[:, :1], z[:, 1:] + z[:, :1]
        ...
        ...     def log_prob(self, x, v):
        ...         return -0.5 * (x.square() + (v - x).square()).sum(1) - torch.log(torch.tensor(2 * torch.pi))
        >>> Sheared().score_v(torch.tensor([[1.0]]), torch.tensor([[3.0]]))
        tensor([[-2.]])
    """

    d_x: int
    d: int

    @property
    def periods(self) -> tuple[float | None, ...]:
        """Per position its period, here the line in every direction."""
        return (None,) * self.d_x

    @abstractmethod
    def from_uniform(self, u: Float[Tensor, "N coordinates"]) -> tuple[Float[Tensor, "N d_x"], Float[Tensor, "N d"]]:
        """Map points spread uniformly over the open unit cube, :math:`(N, d_x + d)`, to particles, smoothly."""

    @abstractmethod
    def log_prob(self, x: Float[Tensor, "N d_x"], v: Float[Tensor, "N d"]) -> Float[Tensor, " N"]:
        r"""Logarithm of the density, :math:`\log f(x, v)`; entry :math:`i` depends on particle :math:`i` only."""

    def score_v(self, x: Float[Tensor, "N d_x"], v: Float[Tensor, "N d"]) -> Float[Tensor, "N d"]:
        r"""Score :math:`\nabla_v \log f`, here by automatic differentiation of :meth:`log_prob`."""
        self._require_phase(x, v)
        return torch.func.grad(lambda w: self.log_prob(x, w).sum())(v)

    @property
    def mean(self) -> Float[Tensor, " coordinates"] | None:
        r"""Exact mean of :math:`(x, v)`, :math:`(d_x + d,)` in float64, or ``None`` when it is not known."""
        return None

    @property
    def covariance(self) -> Float[Tensor, "coordinates coordinates"] | None:
        r"""Exact covariance of :math:`(x, v)` about the mean, in float64, or ``None`` when it is not known."""
        return None

    def sample(
        self, n: int, *, generator: torch.Generator, loading: Literal["random", "quiet"] = "random"
    ) -> tuple[Float[Tensor, "n d_x"], Float[Tensor, "n d"]]:
        r"""Draw ``n`` particles: float64, on the device of ``generator``.

        A quiet start maps a lattice instead of random points: the first coordinate is :math:`(i + s_0) / n`, the second
        the fractional part of :math:`i / g + s_1` with the golden ratio :math:`g` and random shifts, further ones are a
        scrambled Sobol sequence. Each particle alone is distributed exactly as ``f``; averages of smooth functions are
        off by about :math:`1 / n` rather than :math:`1 / \sqrt{n}`. In (x, v) the lattice stays evener than a
        Hammersley or a Sobol set while the particles stream.

        Args:
            n: Number of particles.
            generator: Source of all randomness; the same seed gives the same particles.
            loading: ``"random"``: independent particles. ``"quiet"``: evenly spread ones.

        Raises:
            ValueError: If ``n`` is below 1 or ``loading`` is not one of its choices.

        Reference: Birdsall and Langdon, Plasma Physics via Computer Simulation, McGraw-Hill 1985, Chapter 16.
        """
        n = require_integer("n", n, minimum=1)
        require_one_of("loading", loading, LOADINGS)
        device, coordinates = generator.device, self.d_x + self.d
        if loading == "random":
            u = torch.rand(n, coordinates, generator=generator, dtype=torch.float64, device=device)
        else:
            shift = torch.rand(2, generator=generator, dtype=torch.float64, device=device)
            index = torch.arange(n, dtype=torch.float64, device=device)
            columns = [(index + shift[0]) / n, torch.remainder(GOLDEN * index + shift[1], 1)]
            if coordinates > 2:
                seed = int(torch.randint(2**31, (1,), generator=generator, device=device))
                engine = torch.quasirandom.SobolEngine(coordinates - 2, scramble=True, seed=seed)
                # The middle of each unit: 0 itself would have no quantile.
                columns += (engine.draw(n, dtype=torch.float64).to(device) + 2.0**-31).unbind(1)
            u = torch.stack(columns, dim=1)
        return self.from_uniform(u.clamp(2.0**-54, 1 - 2.0**-53))

    def _require_phase(self, x: Tensor, v: Tensor) -> None:
        require_dimension("x", x, self.d_x)
        require_dimension("v", v, self.d)
        if x.shape[:1] != v.shape[:1] or x.dtype != v.dtype:
            want = f"({v.size(0)}, {self.d_x}) and dtype {v.dtype}, as 'v'"
            raise InvalidArgument("x", f"must have shape {want}", f"{tuple(x.shape)}, {x.dtype}")


class PhaseGaussian(PhaseDensity):
    r"""The normal density :math:`N(\mu, C)` of :math:`(x, v)`.

    .. math::
        \nabla_v \log f = -\left[ C^{-1} ((x, v) - \mu) \right]_v

    Args:
        mean: :math:`\mu`, of shape :math:`(d_x + d,)`, positions first.
        covariance: :math:`C`, symmetric positive definite.
        d_x: Dimension of position space; the rest are velocities.

    Raises:
        ValueError: If ``d_x`` is not in 1..d, the shapes do not match, or ``covariance`` is not symmetric positive
            definite.

    Example:
        >>> f = PhaseGaussian([0.0, 1.0], [[2.0, 1.0], [1.0, 3.0]], d_x=1)
        >>> f.score_v(torch.tensor([[0.0]]), torch.tensor([[2.0]]))
        tensor([[-0.4000]])
    """

    def __init__(
        self, mean: Tensor | Sequence[float], covariance: Tensor | Sequence[Sequence[float]], d_x: int
    ) -> None:
        self._gaussian = Gaussian(mean, covariance)
        self.d_x = d_x = require_integer("d_x", d_x, minimum=1)
        self.d = self._gaussian.d - d_x
        if d_x > self.d:
            raise InvalidArgument("d_x", f"must be at most half of the {self._gaussian.d} coordinates", d_x)
        self._factor = torch.linalg.cholesky(self._gaussian.covariance)

    @property
    def mean(self) -> Float[Tensor, " coordinates"]:
        r""":math:`\mu`, float64."""
        return self._gaussian.mean

    @property
    def covariance(self) -> Float[Tensor, "coordinates coordinates"]:
        """:math:`C`, float64."""
        return self._gaussian.covariance

    def from_uniform(self, u: Float[Tensor, "N coordinates"]) -> tuple[Float[Tensor, "N d_x"], Float[Tensor, "N d"]]:
        r""":math:`\mu + L z` with :math:`C = L L^{\top}` and the normal quantiles :math:`z` of ``u``."""
        z = self.mean.to(u) + torch.special.ndtri(u) @ self._factor.to(u).T
        return z[:, : self.d_x], z[:, self.d_x :]

    def log_prob(self, x: Float[Tensor, "N d_x"], v: Float[Tensor, "N d"]) -> Float[Tensor, " N"]:
        r""":math:`-\tfrac12 [(z - \mu)^{\top} C^{-1} (z - \mu) + \log \det 2 \pi C]` of :math:`z = (x, v)`."""
        self._require_phase(x, v)
        return self._gaussian.log_prob(torch.cat([x, v], dim=1))

    def score_v(self, x: Float[Tensor, "N d_x"], v: Float[Tensor, "N d"]) -> Float[Tensor, "N d"]:
        r"""Velocity part of :math:`-C^{-1} (z - \mu)`."""
        self._require_phase(x, v)
        return self._gaussian.score(torch.cat([x, v], dim=1))[:, self.d_x :]


class PhaseProduct(PhaseDensity):
    r"""Independent coordinates, :math:`f = \prod_a p_a(x_a) \prod_b q_b(v_b)`.

    Args:
        x: Densities of the positions.
        v: Densities of the velocities, at least as many.

    Raises:
        ValueError: If there is no position, fewer velocities than positions, or a velocity is periodic.

    Example:
        >>> from graphlandau.problems import NormalMixture, Ripple
        >>> f = PhaseProduct([Ripple(12.0, 0.1)], [NormalMixture([1.0], [0.0], [1.0])])
        >>> x, v = f.sample(4, generator=torch.Generator().manual_seed(0), loading="quiet")
        >>> x.diff(dim=0).flatten()  # nearly even: the wave is the only difference
        tensor([3.1790, 3.2007, 2.8174], dtype=torch.float64)
    """

    def __init__(self, x: Sequence[Marginal], v: Sequence[Marginal]) -> None:
        self.x, self.v = tuple(x), tuple(v)
        self.d_x, self.d = len(self.x), len(self.v)
        if not 1 <= self.d_x <= self.d:
            got = f"{self.d_x} positions, {self.d} velocities"
            raise InvalidArgument("x", "must have at least one density and at most as many as 'v'", got)
        if any(marginal.period is not None for marginal in self.v):
            raise InvalidArgument("v", "must not be periodic", f"periods {[marginal.period for marginal in self.v]}")

    @property
    def periods(self) -> tuple[float | None, ...]:
        """Periods of the densities of the positions."""
        return tuple(marginal.period for marginal in self.x)

    @property
    def mean(self) -> Float[Tensor, " coordinates"] | None:
        """Means of the coordinates; ``None`` where one is not known."""
        known = [mean for marginal in (*self.x, *self.v) if (mean := marginal.mean) is not None]
        return torch.tensor(known, dtype=torch.float64) if len(known) == self.d_x + self.d else None

    @property
    def covariance(self) -> Float[Tensor, "coordinates coordinates"] | None:
        """Variances of the coordinates on the diagonal; ``None`` where one is not known."""
        known = [variance for marginal in (*self.x, *self.v) if (variance := marginal.variance) is not None]
        return torch.tensor(known, dtype=torch.float64).diag() if len(known) == self.d_x + self.d else None

    def from_uniform(self, u: Float[Tensor, "N coordinates"]) -> tuple[Float[Tensor, "N d_x"], Float[Tensor, "N d"]]:
        """Quantiles of every coordinate."""
        z = torch.stack([p.icdf(u[:, a]) for a, p in enumerate((*self.x, *self.v))], dim=1)
        return z[:, : self.d_x], z[:, self.d_x :]

    def log_prob(self, x: Float[Tensor, "N d_x"], v: Float[Tensor, "N d"]) -> Float[Tensor, " N"]:
        """Sum over the coordinates."""
        self._require_phase(x, v)
        terms = [p.log_prob(x[:, a]) for a, p in enumerate(self.x)] + [
            q.log_prob(v[:, b]) for b, q in enumerate(self.v)
        ]
        return torch.stack(terms).sum(0)
