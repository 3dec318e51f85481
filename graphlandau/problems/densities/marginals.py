"""Densities of one coordinate by their quantile functions, from which positions and velocities are loaded."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from graphlandau.base.errors import InvalidArgument
from graphlandau.base.validation import require_number, require_positive
from graphlandau.fields import Potential

__all__ = ["Boltzmann", "Marginal", "NormalMixture", "Ripple"]

_STEPS = 200
# Boltzmann: panels of this many Gauss nodes, halved until log Z stands still, out to exp(-_DEPTH).
_NODES = 16
_PANELS = (64, 65_536)
_SETTLED = 1e-13
_DEPTH = 60.0
_FARTHEST = 1e6


class Marginal(ABC):
    r"""A normalised probability density :math:`p` of one coordinate, dimensionless.

    Evaluation follows the dtype and device of its argument; quantiles want float64.

    Attributes:
        period: Length :math:`L` of a periodic coordinate, whose density lives on :math:`[0, L)`; ``None`` on the line.
    """

    period: float | None = None

    @abstractmethod
    def log_prob(self, x: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
        r"""Logarithm of the density, :math:`\log p(x)`."""

    @abstractmethod
    def cdf(self, x: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
        r"""Probability :math:`P(x) = \int^x p`."""

    @abstractmethod
    def icdf(self, u: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
        r"""Quantiles :math:`P^{-1}(u)` of :math:`0 < u < 1`."""

    @property
    def mean(self) -> float | None:
        """Mean, ``None`` where it is not known."""
        return None

    @property
    def variance(self) -> float | None:
        """Variance about the mean, ``None`` where it is not known."""
        return None

    def _invert(self, u: Tensor, low: Tensor, high: Tensor) -> Tensor:
        """Solve ``cdf(x) = u`` between two bounds: Newton's method, bisection where it would leave them."""
        x = 0.5 * (low + high)
        solution = x.clone()
        open_ = torch.arange(u.numel(), device=u.device)
        eps = torch.finfo(u.dtype).eps
        for _ in range(_STEPS):
            excess = self.cdf(x) - u
            low, high = torch.where(excess < 0, x, low), torch.where(excess > 0, x, high)
            newton = x - excess * (-self.log_prob(x)).exp()
            inside = (newton > low) & (newton < high)  # false for NaN
            following = torch.where(inside, newton, 0.5 * (low + high))
            # No better answer can be told apart: the probability or the place has its last digits.
            settled = (excess.abs() <= 8 * eps * u) | ((following - x).abs() <= 2 * eps * x.abs())
            solution[open_] = torch.where(excess.abs() <= 8 * eps * u, x, following)
            left = ~settled
            if not bool(left.any()):
                break
            x, u, low, high, open_ = following[left], u[left], low[left], high[left], open_[left]
        return solution


class NormalMixture(Marginal):
    r"""A mixture of normal densities, :math:`p = \sum_j p_j N(u_j, \sigma_j^2)`.

    Args:
        weights: :math:`p_j > 0`, normalised here.
        means: :math:`u_j`.
        deviations: :math:`\sigma_j`.

    Raises:
        ValueError: If a weight or a deviation is not positive, or the lengths differ.

    Example:
        >>> beams = NormalMixture([0.5, 0.5], [-1.5, 1.5], [0.3, 0.3])
        >>> print(f"{beams.mean:.2f} {beams.variance:.2f}")
        0.00 2.34
        >>> beams.icdf(torch.tensor([0.25, 0.75], dtype=torch.float64))
        tensor([-1.5000,  1.5000], dtype=torch.float64)
    """

    def __init__(self, weights: Sequence[float], means: Sequence[float], deviations: Sequence[float]) -> None:
        if not len(weights) == len(means) == len(deviations) >= 1:
            got = f"{len(weights)} weights, {len(means)} means, {len(deviations)} deviations"
            raise InvalidArgument("weights', 'means", "and 'deviations' must be of one length, at least 1", got)
        positive = [require_positive("weights", weight) for weight in weights]
        self.weights = tuple(weight / sum(positive) for weight in positive)
        self.means = tuple(require_number("means", mean) for mean in means)
        self.deviations = tuple(require_positive("deviations", deviation) for deviation in deviations)

    @property
    def mean(self) -> float:
        r""":math:`\sum_j p_j u_j`."""
        return sum(p * u for p, u in zip(self.weights, self.means, strict=True))

    @property
    def variance(self) -> float:
        r""":math:`\sum_j p_j (\sigma_j^2 + (u_j - u)^2)`."""
        return sum(p * (s**2 + (u - self.mean) ** 2) for p, u, s in self._components)

    def log_prob(self, x: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
        r""":math:`\log \sum_j p_j N(x; u_j, \sigma_j^2)`, without underflow in the tails."""
        terms = [
            math.log(p / (s * math.sqrt(2 * math.pi))) - 0.5 * ((x - u) / s).square() for p, u, s in self._components
        ]
        return torch.stack(terms).logsumexp(0)

    def cdf(self, x: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
        r""":math:`\tfrac{1}{2} \sum_j p_j \operatorname{erfc}((u_j - x) / \sqrt{2} \sigma_j)`."""
        terms = [0.5 * p * torch.special.erfc((u - x) / (math.sqrt(2) * s)) for p, u, s in self._components]
        return torch.stack(terms).sum(0)

    def icdf(self, u: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
        """Quantiles; they lie between the smallest and the largest of those of the components."""
        z = torch.special.ndtri(u)
        components = torch.stack([mean + s * z for _, mean, s in self._components])
        low, high = components.amin(0), components.amax(0)
        return low if len(self.weights) == 1 else self._invert(u, low, high)

    @property
    def _components(self) -> list[tuple[float, float, float]]:
        return list(zip(self.weights, self.means, self.deviations, strict=True))


class Ripple(Marginal):
    r"""A uniform density with a wave on a periodic box.

    .. math::
        p(x) = \frac{1}{Z L} \left( 1 + a \cos \frac{2 \pi m x}{L} \right), \quad 0 \le x < L, \qquad
        Z = 1 + a \, \frac{\sin 2 \pi m}{2 \pi m}

    with :math:`Z = 1` for the integer modes, the periodic ones.

    Args:
        length: :math:`L`.
        amplitude: :math:`a`, in [0, 1).
        mode: :math:`m`, the number of periods in the box.
        jump: Allow a ``mode`` that is no integer. The density then jumps where the box closes.

    Raises:
        ValueError: If ``length`` is not positive, ``amplitude`` is outside [0, 1), or ``mode`` is not a positive
            integer (with ``jump``: not positive).

    Example:
        >>> rho = Ripple(length=1.0, amplitude=0.5)
        >>> rho.icdf(torch.tensor([0.25, 0.5], dtype=torch.float64))
        tensor([0.1784, 0.5000], dtype=torch.float64)
    """

    def __init__(self, length: float, amplitude: float, mode: int | float = 1, *, jump: bool = False) -> None:
        self.period = self.length = require_positive("length", length)
        self.amplitude = amplitude = require_number("amplitude", amplitude)
        if not 0 <= amplitude < 1:
            raise InvalidArgument("amplitude", "must be in [0, 1)", f"{amplitude:g}")
        self.mode = require_positive("mode", float(mode))
        self.jump = jump
        if not jump and self.mode != round(self.mode):
            raise InvalidArgument("mode", "must be an integer >= 1", f"{mode:g}")
        phase = 2 * math.pi * self.mode
        self._norm = 1 + self.amplitude * math.sin(phase) / phase if jump else 1.0

    @property
    def mean(self) -> float | None:
        """:math:`L / 2` for an integer mode."""
        return None if self.jump else self.length / 2

    @property
    def variance(self) -> float | None:
        r""":math:`L^2 (\tfrac{1}{12} + a / 2 \pi^2 m^2)` for an integer mode."""
        if self.jump:
            return None
        return self.length**2 * (1 / 12 + self.amplitude / (2 * math.pi**2 * self.mode**2))

    def log_prob(self, x: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
        r""":math:`\log (1 + a \cos(2 \pi m x / L)) - \log Z L`, for an integer mode continued periodically."""
        wave = (2 * math.pi * self.mode / self.length * x).cos()
        return torch.log1p(self.amplitude * wave) - math.log(self._norm * self.length)

    def cdf(self, x: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
        r""":math:`\tfrac{1}{Z} (y + a \sin(2 \pi m y) / 2 \pi m)` with :math:`y = x / L` in [0, 1]."""
        y = x / self.length
        phase = 2 * math.pi * self.mode
        return (y + self.amplitude * (phase * y).sin() / phase) / self._norm

    def icdf(self, u: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
        """Quantiles in [0, L), never L itself."""
        # Strictly below, so that no position of the box has two names.
        below = math.nextafter(self.length, 0.0)
        return self._invert(u, torch.zeros_like(u), torch.full_like(u, self.length)).clamp(0.0, below)


class Boltzmann(Marginal):
    r"""The density of positions at equilibrium in a potential of one coordinate.

    .. math::
        p(x) = \frac{1}{Z} e^{-\phi(x) / T}, \qquad Z = \int e^{-\phi(x) / T} \, dx

    over one period or over the line. Integrals by Gauss's rule of 16 nodes on panels that are halved until
    :math:`\log Z` changes by less than 1e-13; on the line out to :math:`\phi = \min \phi + 60 T`.

    Args:
        potential: :math:`\phi`, here of one coordinate.
        length: Period :math:`L`; ``None`` on the line, which wants a potential that confines.
        temperature: :math:`T`.

    Attributes:
        log_norm: :math:`\log Z`.

    Raises:
        ValueError: If ``length`` or ``temperature`` is not positive, ``potential`` is no :class:`Potential`, does not
            confine on the line, or is too rough for 65,536 panels.

    Example:
        >>> from graphlandau.fields import RippledWell
        >>> well = Boltzmann(RippledWell(stiffness=1.0))
        >>> print(f"{math.exp(well.log_norm):.12f} {well.variance:.12f}")  # the square root of 2 pi
        2.506628274631 1.000000000000
    """

    def __init__(self, potential: Potential, length: float | None = None, temperature: float = 1.0) -> None:
        if not isinstance(potential, Potential):
            raise InvalidArgument("potential", "must be a Potential", type(potential).__name__)
        self.potential = potential
        self.temperature = require_positive("temperature", temperature)
        self.period = None if length is None else require_positive("length", length)
        low, high = (0.0, self.period) if self.period is not None else self._reach()
        panels = _PANELS[0]
        self._tabulate(low, high, panels)
        while True:
            previous, panels = self.log_norm, 2 * panels
            self._tabulate(low, high, panels)
            if abs(self.log_norm - previous) < _SETTLED:
                break
            if panels >= _PANELS[1]:
                raise InvalidArgument("potential", "must be smooth enough for quadrature", repr(self.potential))

    @property
    def mean(self) -> float:
        """Mean, by quadrature."""
        return float((self._share * self._points).sum())

    @property
    def variance(self) -> float:
        """Variance, by quadrature."""
        return float((self._share * (self._points - self.mean).square()).sum())

    def log_prob(self, x: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
        r""":math:`-\phi(x) / T - \log Z`."""
        return -self._exponent(x) - self.log_norm

    def cdf(self, x: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
        """Probability of the panels to the left, and of the part of the panel that contains ``x``."""
        edges = self._edges.to(x)
        panel = (torch.searchsorted(edges, x.contiguous(), right=True) - 1).clamp(0, edges.numel() - 2)
        half = 0.5 * (x - edges[panel])
        nodes, weights = self._rule.to(x)
        inside = torch.stack([self.log_prob(edges[panel] + half * (1 + node)).exp() for node in nodes])
        return self._cumulative.to(x)[panel] + half * (weights @ inside)

    def icdf(self, u: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
        """Quantiles, inside the panel in which the tabulated probability passes ``u``."""
        edges, cumulative = self._edges.to(u), self._cumulative.to(u)
        panel = (torch.searchsorted(cumulative, u.contiguous(), right=True) - 1).clamp(0, edges.numel() - 2)
        x = self._invert(u, edges[panel], edges[panel + 1])
        return x if self.period is None else x.clamp(0.0, math.nextafter(self.period, 0.0))

    def _exponent(self, x: Tensor) -> Tensor:
        return self.potential.value(x[:, None]) / self.temperature

    def _reach(self) -> tuple[float, float]:
        """Interval out to where the density is exp(-60) of its largest."""
        far = 1.0
        while far < _FARTHEST:
            phi = self._exponent(torch.linspace(-far, far, 1001, dtype=torch.float64))
            if float(torch.minimum(phi[0], phi[-1]) - phi.min()) > _DEPTH:
                return -far, far
            far *= 1.25
        raise InvalidArgument("potential", "must confine where there is no box", repr(self.potential))

    def _tabulate(self, low: float, high: float, panels: int) -> None:
        nodes, weights = (torch.from_numpy(each) for each in np.polynomial.legendre.leggauss(_NODES))
        edges = torch.linspace(low, high, panels + 1, dtype=torch.float64)
        half = 0.5 * (high - low) / panels
        points = edges[:-1, None] + half * (1 + nodes)
        exponent = self._exponent(points.reshape(-1)).reshape(points.shape)
        least = exponent.min()
        mass = half * weights * (least - exponent).exp()
        total = mass.sum()
        self.log_norm = float(total.log() - least)
        self._points, self._share = points, mass / total
        zero = torch.zeros(1, dtype=torch.float64)
        self._edges, self._cumulative = edges, torch.cat([zero, self._share.sum(1).cumsum(0)])
        self._rule = torch.stack([nodes, weights])
