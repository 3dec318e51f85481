"""A spherical shell that fills by Coulomb collisions: Rosenbluth's problem."""

from __future__ import annotations

import math
from typing import Literal

import torch
from jaxtyping import Float
from scipy.integrate import quad
from torch import Tensor

from graphlandau.base.validation import require_dimension, require_one_of, require_positive
from graphlandau.problems.densities.density import Density
from graphlandau.problems.problem import Problem

__all__ = ["Rosenbluth", "RosenbluthDensity"]


class RosenbluthDensity(Density):
    r"""A spherical shell of radius :math:`\sigma` in 3D, normalised to mass 1.

    .. math::
        f(v) = \frac{1}{\rho S^2} e^{-S (|v| - \sigma)^2 / \sigma^2}, \qquad
        \rho = \frac{2 \pi \sigma^3}{S^2} \left[ \left( 1 + \frac{1}{2S} \right) \sqrt{\frac{\pi}{S}}
        \operatorname{erfc}(-\sqrt{S}) + \frac{1}{S} e^{-S} \right]

    The papers print :math:`\rho f`, of mass :math:`\rho` and entropy :math:`\rho H + \rho \log \rho`. The covariance
    is :math:`T I`; the density has a kink at the origin, where :meth:`score` is 0, the mean over directions.
    Dimensionless.

    Args:
        sigma: Radius :math:`\sigma` of the shell.
        S: Sharpness; the shell is about :math:`\sigma / \sqrt{2S}` thick.

    Raises:
        ValueError: If ``sigma`` or ``S`` is not positive.

    Example:
        >>> f = RosenbluthDensity(sigma=0.3, S=10.0)
        >>> print(f"{f.mass:.6f} {f.temperature:.6f}")
        0.001997 0.037357

    Reference: Huang and Wang, arXiv:2409.12296, Section 5.4; the sampler is ours.
    """

    d = 3

    def __init__(self, sigma: float = 0.3, S: float = 10.0) -> None:
        self.sigma, self.S = require_positive("sigma", sigma), require_positive("S", S)

    @property
    def mass(self) -> float:
        r""":math:`\rho`, the mass of the printed density."""
        S, tail, edge = self._terms
        return 2 * math.pi * self.sigma**3 / S**2 * ((1 + 1 / (2 * S)) * tail + edge / S)

    @property
    def temperature(self) -> float:
        r"""Temperature :math:`T = \tfrac{1}{3} \langle |v|^2 \rangle`, in closed form.

        .. math::
            T = \frac{2 \pi \sigma^5}{3 \rho S^2} \left[ \left( 1 + \frac{3}{S} + \frac{3}{4 S^2} \right)
            \sqrt{\frac{\pi}{S}} \operatorname{erfc}(-\sqrt{S}) + \left( \frac{1}{S} + \frac{5}{2 S^2} \right) e^{-S}
            \right]
        """
        S, tail, edge = self._terms
        bracket = (1 + 3 / S + 3 / (4 * S**2)) * tail + (1 / S + 5 / (2 * S**2)) * edge
        return 2 * math.pi * self.sigma**5 / (3 * self.mass * S**2) * bracket

    @property
    def mean(self) -> Float[Tensor, " d"]:
        """Zero, float64."""
        return torch.zeros(3, dtype=torch.float64)

    @property
    def covariance(self) -> Float[Tensor, "d d"]:
        r""":math:`T I`, float64."""
        return self.temperature * torch.eye(3, dtype=torch.float64)

    def sample(self, n: int, *, generator: torch.Generator) -> Float[Tensor, "n d"]:
        r"""Draw exact samples: radius by rejection from a Gaussian, direction uniform.

        In :math:`x = |v| / \sigma` the radial density :math:`\propto x^2 e^{-S (x - 1)^2}` has its mode at
        :math:`x_* = \tfrac{1}{2} (1 + \sqrt{1 + 4 / S})`. As :math:`\log` lies below its tangent at :math:`x_*`, it is
        bounded by :math:`x_*^2 e^{-S (x_* - 1)^2} e^{-S (x - x_*)^2}`, the proposal; with :math:`y = x / x_* > 0` the
        quotient of the two is :math:`(y e^{1 - y})^2 \le 1`, the probability of acceptance (0.95 on average).
        """
        device = generator.device
        mode = 0.5 * (1 + math.sqrt(1 + 4 / self.S))
        width = 1 / (math.sqrt(2 * self.S) * mode)
        accepted = torch.empty(0, dtype=torch.float64, device=device)
        while accepted.numel() < n:
            y = 1 + width * torch.randn(n, generator=generator, dtype=torch.float64, device=device)
            u = torch.rand(n, generator=generator, dtype=torch.float64, device=device)
            accepted = torch.cat([accepted, y[(y > 0) & (u < (y * (1 - y).exp()).square())]])
        x = torch.randn(n, 3, generator=generator, dtype=torch.float64, device=device)
        radius = self.sigma * mode * accepted[:n]
        return (radius / x.norm(dim=1)).unsqueeze(1) * x

    def log_prob(self, v: Float[Tensor, "N d"]) -> Float[Tensor, " N"]:
        r""":math:`-S (|v| / \sigma - 1)^2 - \log (\rho S^2)`."""
        radius = require_dimension("v", v, 3).norm(dim=1)
        return -self.S * (radius / self.sigma - 1).square() - math.log(self.mass * self.S**2)

    def score(self, v: Float[Tensor, "N d"]) -> Float[Tensor, "N d"]:
        r""":math:`-\frac{2S}{\sigma^2} (1 - \sigma / |v|) v`; 0 at the origin."""
        radius = require_dimension("v", v, 3).norm(dim=1, keepdim=True)
        # Replaced before the division, so that the gradient at the origin is finite too.
        radius = torch.where(radius > 0, radius, torch.ones_like(radius))
        return -2 * self.S / self.sigma**2 * (1 - self.sigma / radius) * v

    def entropy(self) -> float:
        r""":math:`H = 4 \pi \int_0^\infty f \log f \, r^2 dr` by adaptive quadrature, to 1e-12."""
        log_norm = -math.log(self.mass * self.S**2)

        def integrand(x: float) -> float:
            log_f = log_norm - self.S * (x - 1) ** 2
            return 4 * math.pi * self.sigma**3 * x**2 * math.exp(log_f) * log_f

        # Beyond nine widths of the shell the integrand is below 1e-30.
        width = 9 / math.sqrt(self.S)
        return quad(integrand, max(0.0, 1 - width), 1 + width, epsabs=1e-13, epsrel=1e-13, limit=200)[0]

    @property
    def _terms(self) -> tuple[float, float, float]:
        return self.S, math.sqrt(math.pi / self.S) * math.erfc(-math.sqrt(self.S)), math.exp(-self.S)


class Rosenbluth(Problem):
    r"""Rosenbluth's problem: a spherical shell fills by Coulomb collisions, in 3D.

    .. math::
        \rho f_0(v) = \frac{1}{S^2} e^{-S (|v| - \sigma)^2 / \sigma^2}, \qquad f_\infty = N(0, T I)

    The density the papers print, and run, has mass :math:`\rho \ne 1` (:math:`\rho` = 0.0020 for
    :math:`\sigma = 0.3`, S = 10). Particles are normalised and collide with strength :math:`\rho C` in its time
    :math:`t`, or with strength :math:`C` in the time :math:`\rho t`: the same trajectories. Entropies are those of the
    normalised density; the printed one has :math:`\rho H + \rho \log \rho`, and at equilibrium
    :math:`\rho \log \rho - \tfrac{3}{2} \rho \log (2 \pi e T)`. Only the initial density and the equilibrium are known.
    Dimensionless.

    Args:
        sigma: Radius :math:`\sigma` of the shell.
        S: Sharpness of the shell.
        strength: :math:`C`, the strength for the printed density.
        time: ``"physical"``: the time of the printed density, as in the papers' figures; :attr:`strength` is
            :math:`\rho C`. ``"normalised"``: :math:`\rho` times that; :attr:`strength` is :math:`C`.
        t_end: Default end of a run in physical time; multiplied by :math:`\rho` if ``time`` is ``"normalised"``.
        dt: Default time step in physical time, likewise.
        particles: Default number of particles.
        bandwidth: Standard deviation of the Gaussian kernel density estimate.
        gamma: Exponent; -3 is Coulomb, as in both papers.

    Raises:
        ValueError: If a number is not positive, ``time`` is not one of its choices, or ``gamma`` is outside [-4, 1].

    Example:
        >>> problem = Rosenbluth()
        >>> print(f"{problem.mass:.6f} {problem.strength:.3e} {problem.equilibrium().covariance[0, 0]:.6f}")
        0.001997 1.589e-04 0.037357
        >>> print(f"{Rosenbluth(time='normalised').t_end:.6f}")  # t = 20 in the papers
        0.039936

    Reference: Huang and Wang, arXiv:2409.12296, Section 5.4; arXiv:2603.10874, Section 5.3.2 and Appendix B, with
    :math:`\sigma = 2`, S = 12 and strength 1 (``rosenbluth_3d_wide``).
    """

    def __init__(
        self,
        sigma: float = 0.3,
        S: float = 10.0,
        strength: float = 1 / (4 * math.pi),
        time: Literal["physical", "normalised"] = "physical",
        t_end: float = 20.0,
        dt: float = 0.2,
        particles: int = 125_000,
        bandwidth: float = 0.035,
        gamma: float = -3.0,
    ) -> None:
        initial = RosenbluthDensity(sigma, S)
        self.sigma, self.S = initial.sigma, initial.S
        self.mass = initial.mass
        self.time = require_one_of("time", time, ("physical", "normalised"))
        strength = require_positive("strength", strength)
        clock = 1.0 if time == "physical" else self.mass
        super().__init__(
            initial,
            gamma=gamma,
            strength=strength * self.mass / clock,
            t_end=t_end * clock,
            dt=require_positive("dt", dt) * clock,
            particles=particles,
            grid=(3 * self.sigma, 48),
            bandwidth=bandwidth,
        )

    @property
    def name(self) -> str:
        """``rosenbluth_3d``, or ``rosenbluth_3d_wide`` if the radius is above 1."""
        return "rosenbluth_3d_wide" if self.sigma > 1 else "rosenbluth_3d"
