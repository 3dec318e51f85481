"""The Bobylev-Krook-Wu solution: the exact benchmark of Maxwell molecules."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from scipy.integrate import quad
from torch import Tensor

from graphlandau.base.errors import InvalidArgument
from graphlandau.base.validation import require_dimension, require_integer, require_number, require_positive
from graphlandau.problems.densities.density import Density
from graphlandau.problems.problem import Problem

__all__ = ["BKW", "BKWDensity"]


class BKWDensity(Density):
    r"""Isotropic density of unit covariance, a Gaussian times a quadratic polynomial.

    .. math::
        f(v) = (2 \pi K)^{-d/2} e^{-|v|^2 / 2K} (P + Q |v|^2), \qquad
        P = \frac{(d + 2) K - d}{2K}, \qquad Q = \frac{1 - K}{2 K^2}

    It is a mixture: :math:`|v|^2 / K` is :math:`\chi^2_d` with probability :math:`P` and :math:`\chi^2_{d+2}`
    with probability :math:`1 - P = d Q K`, and the direction is uniform. For every :math:`K` the covariance
    is :math:`I`; the fourth moment is :math:`\langle |v|^4 \rangle = d (d + 2) (1 - (1 - K)^2)`. At the
    smallest :math:`K`, where :math:`P = 0`, the density vanishes at the origin: ``log_prob`` is
    :math:`-\infty` there and the score, :math:`(2 / |v|^2 - 1 / K) v`, has no limit; :meth:`score` then
    returns 0, the mean over directions. Dimensionless.

    Args:
        d: Dimension of velocity space.
        K: Shape parameter in :math:`[d / (d + 2), 1]`; 1 is the Maxwellian.

    Raises:
        ValueError: If ``d`` is below 1 or ``K`` is outside its interval.

    Example:
        >>> f = BKWDensity(d=2, K=0.5)
        >>> f.score(torch.tensor([[2.0, 0.0], [0.0, 0.0]]))
        tensor([[-3., -0.],
                [ 0.,  0.]])

    Reference: Ilin, Hu and Wang 2025, Example 5.1; the sampler is ours (Huang and Wang use rejection).
    """

    def __init__(self, d: int, K: float) -> None:
        self.d = d = require_integer("d", d, minimum=1)
        self.K = K = require_positive("K", K)
        # A start time computed in floating point may land a rounding error below the smallest K.
        if not d / (d + 2) - 1e-12 <= K <= 1:
            raise InvalidArgument("K", f"must be in [{d}/{d + 2}, 1]", K)
        self.P = max(0.0, ((d + 2) * K - d) / (2 * K))
        self.Q = (1 - K) / (2 * K**2)

    @property
    def mean(self) -> Float[Tensor, " d"]:
        """Zero, float64."""
        return torch.zeros(self.d, dtype=torch.float64)

    @property
    def covariance(self) -> Float[Tensor, "d d"]:
        r"""The identity, float64."""
        return torch.eye(self.d, dtype=torch.float64)

    def sample(self, n: int, *, generator: torch.Generator) -> Float[Tensor, "n d"]:
        r"""Draw exact samples: :math:`|v|^2 = K (|x|^2 + b |y|^2)`, direction of :math:`x`.

        ``x`` is normal in :math:`d` dimensions, ``y`` in two; :math:`b` is 1 with probability :math:`1 - P`.
        """
        x = torch.randn(n, self.d, generator=generator, dtype=torch.float64, device=generator.device)
        y = torch.randn(n, 2, generator=generator, dtype=torch.float64, device=generator.device)
        b = torch.rand(n, generator=generator, dtype=torch.float64, device=generator.device) >= self.P
        square = x.square().sum(1)
        stretch = (self.K * (1 + b * y.square().sum(1) / square)).sqrt()
        return stretch.unsqueeze(1) * x

    def log_prob(self, v: Float[Tensor, "N d"]) -> Float[Tensor, " N"]:
        r""":math:`\log f(v)`; :math:`-\infty` at the origin when :math:`P = 0`."""
        square = require_dimension("v", v, self.d).square().sum(1)
        log_gaussian = -0.5 * (square / self.K + self.d * math.log(2 * math.pi * self.K))
        return log_gaussian + (self.P + self.Q * square).log()

    def score(self, v: Float[Tensor, "N d"]) -> Float[Tensor, "N d"]:
        r""":math:`(-1 / K + 2 Q / (P + Q |v|^2)) v`; 0 at the origin."""
        square = require_dimension("v", v, self.d).square().sum(1, keepdim=True)
        polynomial = self.P + self.Q * square
        # Replaced before the division, so that the gradient at a zero of the density is finite too.
        polynomial = torch.where(polynomial > 0, polynomial, torch.ones_like(polynomial))
        return (2 * self.Q / polynomial - 1 / self.K) * v

    def radial_mass(self, radius: Float[Tensor, " N"]) -> tuple[Float[Tensor, " N"], Float[Tensor, " N"]]:
        r"""Mass inside and outside of each radius, each to its own relative rounding.

        With the regularised incomplete gamma function :math:`\gamma`,
        :math:`F(r) = P \gamma(\tfrac d2, \tfrac{r^2}{2K}) + (1 - P) \gamma(\tfrac d2 + 1, \tfrac{r^2}{2K})`.
        """
        x, half = radius.square() / (2 * self.K), torch.tensor(self.d / 2, dtype=radius.dtype, device=radius.device)
        inside = self.P * torch.special.gammainc(half, x) + (1 - self.P) * torch.special.gammainc(half + 1, x)
        outside = self.P * torch.special.gammaincc(half, x) + (1 - self.P) * torch.special.gammaincc(half + 1, x)
        return inside, outside

    def radius_of(
        self, inside: Float[Tensor, " N"], outside: Float[Tensor, " N"], *, start: Float[Tensor, " N"]
    ) -> Float[Tensor, " N"]:
        """Radius with the mass ``inside`` it and ``outside`` of it, to rounding, by Newton's method from ``start``."""
        radius, low, high = start.clone(), torch.zeros_like(start), torch.full_like(start, math.inf)
        left = torch.arange(start.numel(), device=start.device)
        for _ in range(100):  # quadratic convergence needs some five; halving the interval, at worst, sixty
            x = radius[left]
            mass = self.radial_mass(x)
            # The smaller of the two masses has the digits.
            excess = torch.where(inside[left] < 0.5, mass[0] - inside[left], outside[left] - mass[1])
            low[left] = torch.where(excess < 0, x, low[left])
            high[left] = torch.where(excess < 0, high[left], x)
            middle = torch.where(high[left].isinf(), 2 * x + math.sqrt(self.K), 0.5 * (low[left] + high[left]))
            newton = x - excess / self._radial_density(x)
            found = torch.where((newton >= low[left]) & (newton <= high[left]), newton, middle)
            radius[left] = found
            left = left[(found - x).abs() > 1e-9 * x]  # the error after a Newton step is its square
            if left.numel() == 0:
                break
        return radius

    def _radial_density(self, radius: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
        r"""Derivative of the mass inside, :math:`|S^{d-1}| r^{d-1} f(r)`."""
        square = radius.square()
        log_norm = math.log(2) - math.lgamma(self.d / 2) - 0.5 * self.d * math.log(2 * self.K)
        return radius ** (self.d - 1) * torch.exp(log_norm - 0.5 * square / self.K) * (self.P + self.Q * square)

    def entropy(self) -> float:
        r""":math:`H = |S^{d-1}| \int_0^\infty f \log f \, r^{d-1} dr` by adaptive quadrature, to 1e-12."""
        log_norm = -0.5 * self.d * math.log(2 * math.pi * self.K)
        sphere = 2 * math.pi ** (self.d / 2) / math.gamma(self.d / 2)

        def integrand(r: float) -> float:
            polynomial = self.P + self.Q * r * r
            if polynomial == 0:
                return 0.0
            log_f = log_norm - r * r / (2 * self.K) + math.log(polynomial)
            return sphere * r ** (self.d - 1) * math.exp(log_f) * log_f

        # Beyond 12 + sqrt(d) thermal speeds the integrand is below 1e-25.
        radius = (12 + math.sqrt(self.d)) * math.sqrt(self.K)
        return quad(integrand, 0.0, radius, epsabs=1e-13, epsrel=1e-13, limit=200)[0]


class BKW(Problem):
    r"""The BKW solution of the Landau equation for Maxwell molecules, :math:`\gamma = 0`, exact at all times.

    .. math::
        f(t, v) = (2 \pi K)^{-d/2} e^{-|v|^2 / 2K} (P + Q |v|^2), \qquad K(t) = 1 - c \, e^{-2 C (d-1) t}

    with :math:`c = 1/2` in 2D (valid from t = 0) and :math:`c = 1` in 3D (valid from
    :math:`t = \log(5/2) / 4C`, 5.498 for the default strength); :math:`P` and :math:`Q` as in
    :class:`BKWDensity`. Dimensionless; the strength fixes the unit of time.

    Args:
        d: Dimension, 2 or 3.
        strength: :math:`C`; 1/16 in 2D and 1/24 in 3D unless given. Changing it rescales time.
        t_start: Start of a run; 0 in 2D and 5.5 in 3D unless given.
        t_end: Default end of a run; 5 in 2D and 6 in 3D unless given.

    Raises:
        ValueError: If ``d`` is not 2 or 3, ``strength`` is not positive, ``t_end`` is not after ``t_start``,
            or the density at ``t_start`` would be negative somewhere.

    Example:
        >>> problem = BKW(d=2)
        >>> round(problem.density(5.0).K, 4)
        0.7324
        >>> problem.score(torch.tensor([[2.0, 0.0]]))
        tensor([[-3., -0.]])

    Reference: Huang and Wang, arXiv:2409.12296, Eq. (28) in 2D; Ilin, Hu and Wang 2025, Example 5.1 in 3D,
    with their strengths. The strength 1 in Table 1 of arXiv:2603.10874 contradicts its own :math:`K(t)`.
    """

    def __init__(
        self,
        d: int = 2,
        strength: float | None = None,
        t_start: float | None = None,
        t_end: float | None = None,
    ) -> None:
        if d not in (2, 3):
            raise InvalidArgument("d", "must be 2 or 3 for BKW", repr(d))
        strength = (1 / 16 if d == 2 else 1 / 24) if strength is None else require_positive("strength", strength)
        t_start = (0.0 if d == 2 else 5.5) if t_start is None else require_number("t_start", t_start)
        t_end = (5.0 if d == 2 else 6.0) if t_end is None else t_end
        self._c = 0.5 if d == 2 else 1.0
        self._rate = 2 * strength * (d - 1)
        self._t_first = math.log(self._c * (d + 2) / 2) / self._rate
        super().__init__(
            BKWDensity(d, self._shape("t_start", t_start)),
            gamma=0.0,
            strength=strength,
            t_start=t_start,
            t_end=t_end,
            dt=0.01,
            particles=22_500 if d == 2 else 64_000,
            grid=(4.0, 100) if d == 2 else (4.0, 48),
            bandwidth=0.15,
        )

    @property
    def name(self) -> str:
        """``bkw_2d`` or ``bkw_3d``."""
        return f"bkw_{self.d}d"

    def density(self, t: float) -> BKWDensity:
        """Exact solution at time ``t``; ``ValueError`` before the first time at which it is non-negative."""
        return BKWDensity(self.d, self._shape("t", t))

    def characteristics(self, v0: Float[Tensor, "N d"], t: float) -> Float[Tensor, "N d"] | None:
        r"""Exact characteristics, without time integration.

        The exact drift is radial and carries mass, so a particle keeps the share of the mass inside its radius:
        :math:`F_t(|v|) = F_{t_{\text{start}}}(|v_0|)`, in the direction of :math:`v_0`.

        Raises:
            ValueError: If ``v0`` does not have the problem's dimension, or ``t`` is before the first time.
        """
        radius = require_dimension("v0", v0, self.d).double().norm(dim=1)
        start, end = self.density(self.t_start), self.density(t)
        if start is None or end is None:  # a subclass may know it at some times only
            return None
        moved = end.radius_of(*start.radial_mass(radius), start=radius)
        # A particle at rest at the origin stays there.
        return v0 * torch.where(radius > 0, moved / radius.clamp_min(1e-300), 1.0).to(v0.dtype)[:, None]

    def _shape(self, name: str, t: float) -> float:
        t = require_number(name, t)
        if t < self._t_first - 1e-12 / self._rate:
            reason = "before it the BKW density is negative at the origin"
            raise InvalidArgument(name, f"must be at least {self._t_first:.6g}: {reason}", f"{t:g}")
        return 1 - self._c * math.exp(-self._rate * t)
