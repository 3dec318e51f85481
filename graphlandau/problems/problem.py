"""What a benchmark is: initial density, collision kernel, and what is known exactly about its evolution."""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from graphlandau.base.errors import InvalidArgument
from graphlandau.base.validation import require_finite, require_integer, require_positive
from graphlandau.physics.landau_kernel import LandauKernel
from graphlandau.problems.densities.density import Density, Gaussian
from graphlandau.problems.initial_value import InitialValueProblem

__all__ = ["Problem"]


class Problem(InitialValueProblem):
    r"""An initial-value problem for the homogeneous Landau equation, dimensionless.

    .. math::
        \partial_t f = \nabla \cdot \left( f \int A(v - w) (\nabla \log f(v) - \nabla \log f(w)) f(w) \, dw
        \right), \qquad f(t_{\text{start}}) = f_0, \qquad A(z) = C |z|^{\gamma} (|z|^2 I - z z^{\top})

    The strength :math:`C` fixes the unit of time: with twice the strength everything takes half the time. A
    problem of your own is one small class that says where it starts; override :meth:`density` where the
    exact solution is known. The covariance is known for every ``gamma = 0`` problem.

    Args:
        initial: The density :math:`f_0` at ``t_start``; its dimension is the problem's.
        gamma: Exponent in [-4, 1]; 0 is Maxwell molecules, -3 is Coulomb.
        strength: The constant :math:`C > 0`.
        t_start: Time of the initial density.
        t_end: Default end of a run.
        dt: Default time step of a run.
        particles: Default number of particles of a run.
        grid: Half width and points per axis of the grid on which densities are compared, ``None`` for none.
        bandwidth: Standard deviation of the Gaussian kernel density estimate in that comparison.

    Attributes:
        mass: Mass of the density as the papers print it; ``initial`` is always normalised to 1.
        time: ``"physical"``, the time of the printed density, or ``"normalised"``, ``mass`` times it. They differ
            only where ``mass`` is not 1.

    Raises:
        ValueError: If ``gamma`` is outside [-4, 1]; ``strength``, ``dt``, ``bandwidth`` or the half width is
            not positive; ``t_end`` is not after ``t_start``; the dimension, ``particles`` or the points per
            axis are below 2.

    Example:
        >>> from graphlandau.problems import Gaussian
        >>> class Beam(Problem):
        ...     def __init__(self, drift: float = 2.0):
        ...         thermal = Gaussian(mean=[drift, 0.0], covariance=[[0.2, 0.0], [0.0, 1.0]])
        ...         super().__init__(thermal, gamma=-3.0, strength=0.0625, t_end=20.0, dt=0.1, particles=1000)
        >>> beam = Beam(drift=3.0)
        >>> beam
        Beam(d=2, gamma=-3.0, strength=0.0625, t_start=0.0, t_end=20.0)
        >>> beam.sample(5, generator=torch.Generator().manual_seed(0)).shape
        torch.Size([5, 2])

    Reference: Ilin, Hu and Wang 2025, Eq. (1.2); Huang and Wang, arXiv:2409.12296, Section 5.
    """

    mass: float = 1.0
    time: str = "physical"

    def __init__(
        self,
        initial: Density,
        *,
        gamma: float,
        strength: float,
        t_end: float,
        dt: float,
        particles: int,
        t_start: float = 0.0,
        grid: tuple[float, int] | None = None,
        bandwidth: float = 0.15,
    ) -> None:
        if not isinstance(initial, Density):
            raise InvalidArgument("initial", "must be a Density", type(initial).__name__)
        self.kernel = LandauKernel(gamma=gamma, strength=strength)
        d = require_integer("d", initial.d, minimum=2)
        super().__init__(d=d, t_start=t_start, t_end=t_end, dt=dt, particles=particles)
        if grid is not None:
            grid = (require_positive("grid", grid[0]), require_integer("grid", grid[1], minimum=2))
        self.initial = initial
        self.grid = grid
        self.bandwidth = require_positive("bandwidth", bandwidth)

    @property
    def gamma(self) -> float:
        """Exponent of the collision kernel."""
        return float(self.kernel.gamma)

    @property
    def strength(self) -> float:
        """Collision strength :math:`C`."""
        return float(self.kernel.strength)

    def density(self, t: float) -> Density | None:
        """Exact solution at ``t``; in this class ``initial`` at ``t_start`` and ``None`` at other times."""
        return self.initial if t == self.t_start else None

    def characteristics(self, v0: Float[Tensor, "N d"], t: float) -> Float[Tensor, "N d"] | None:
        r"""Where the exact drift carries particles from ``t_start`` to ``t``; in this class ``None``: not known.

        .. math::
            \frac{d v}{d t} = -\int A(v - w) (\nabla \log f(t, v) - \nabla \log f(t, w)) f(t, w) \, dw

        with the exact solution on the right, not with that of a sample.
        """
        return None

    def covariance(self, t: float, initial: Float[Tensor, "d d"] | None = None) -> Float[Tensor, "d d"] | None:
        r"""Exact covariance (about the mean) at time ``t`` for ``gamma = 0`` and any initial density.

        .. math::
            \Sigma(t) = \Sigma_\infty - (\Sigma_\infty - \Sigma_0) e^{-4 d C (t - t_{\text{start}})}, \qquad
            \Sigma_\infty = \tfrac{1}{d} \operatorname{tr}(\Sigma_0) I

        Args:
            t: Time.
            initial: :math:`\Sigma_0`; the initial density's own unless given. Particles follow the formula
                from *their* covariance, which separates the error of a method from the noise of its sample.

        Returns:
            :math:`(d, d)`, in the dtype of ``initial`` (float64 without), or ``None`` where it is not known:
            ``gamma`` is not 0, or the initial covariance is neither known nor given.

        Raises:
            ValueError: If ``initial`` is not a finite :math:`(d, d)` tensor.

        Reference: Ilin, Hu and Wang 2025, Example 5.2; Huang and Wang, arXiv:2409.12296, Section 5.5. Both
        have C = 1 and zero mean; Galilean invariance gives the rest.
        """
        if initial is not None and initial.shape != (self.d, self.d):
            raise InvalidArgument("initial", f"must have shape ({self.d}, {self.d})", tuple(initial.shape))
        sigma = self.initial.covariance if initial is None else require_finite("initial", initial)
        if self.gamma != 0 or sigma is None:
            return None
        isotropic = sigma.trace() / self.d * torch.eye(self.d, dtype=sigma.dtype, device=sigma.device)
        return isotropic - (isotropic - sigma) * math.exp(-4 * self.d * self.strength * (t - self.t_start))

    def equilibrium(self) -> Gaussian | None:
        r"""The Maxwellian to which collisions lead, that of equal mass, momentum and energy.

        .. math::
            f_\infty = N(m_0, T I), \qquad T = \tfrac{1}{d} \operatorname{tr} \Sigma_0, \qquad
            H_\infty = -\tfrac{d}{2} \log(2 \pi e T)

        ``None`` where mean or covariance of ``initial`` is not known. Particles have a mean and a temperature of
        their own, which differ from these by the noise of the sample.
        """
        m, sigma = self.initial.mean, self.initial.covariance
        if m is None or sigma is None:
            return None
        return Gaussian(m, sigma.trace() / self.d * torch.eye(self.d, dtype=torch.float64))

    def draw(self, n: int, *, generator: torch.Generator) -> dict[str, Tensor]:
        """Draw the velocities of ``n`` initial particles."""
        return {"v": self.sample(n, generator=generator)}

    def facts(self) -> dict[str, Any]:
        """Return the constants of the kernel, and mass and time of the density as it is printed."""
        return {"gamma": self.gamma, "strength": self.strength, "density_mass": self.mass, "time": self.time}

    def sample(self, n: int, *, generator: torch.Generator, t: float | None = None) -> Float[Tensor, "n d"]:
        """Draw ``n`` exact samples at ``t`` (``t_start`` unless given): float64, the generator's device."""
        return self._known_density(t).sample(require_integer("n", n, minimum=1), generator=generator)

    def log_prob(self, v: Float[Tensor, "N d"], t: float | None = None) -> Float[Tensor, " N"]:
        """Logarithm of the exact density at ``t`` (``t_start`` unless given)."""
        return self._known_density(t).log_prob(v)

    def score(self, v: Float[Tensor, "N d"], t: float | None = None) -> Float[Tensor, "N d"]:
        """Score of the exact density at ``t`` (``t_start`` unless given)."""
        return self._known_density(t).score(v)

    def _known_density(self, t: float | None) -> Density:
        t = self.t_start if t is None else t
        density = self.density(t)
        if density is None:
            known = f"{self.t_start:g}, the only time at which the density of {self.name} is known exactly"
            raise InvalidArgument("t", f"must be {known}", f"{t:g}")
        return density

    def __repr__(self) -> str:
        """Class, dimension, kernel and time interval."""
        keys = ("d", "gamma", "strength", "t_start", "t_end")
        return f"{type(self).__name__}({', '.join(f'{key}={getattr(self, key)!r}' for key in keys)})"
