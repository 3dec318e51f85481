"""Two beams through each other."""

from __future__ import annotations

from typing import Literal

from graphlandau.base.validation import require_positive
from graphlandau.problems.densities.marginals import NormalMixture
from graphlandau.problems.density_wave import DensityWave

__all__ = ["TwoStream"]


class TwoStream(DensityWave):
    r"""Two-stream instability: two beams of electrons through each other, in 1D.

    .. math::
        f_0 = (1 + a \cos k x) \, \tfrac{1}{2} \left[ N(v; -v_0, \sigma^2) + N(v; v_0, \sigma^2) \right], \qquad
        \nabla \cdot E = \rho - 1, \qquad 0 \le x < L

    A small wave first grows at the rate of :meth:`rate`, then traps the particles in a vortex. Dimensionless: the unit
    of time is the inverse plasma frequency of both beams together; the mass is :math:`L`.

    Args:
        k: Wavenumber.
        v0: Speed of the beams.
        sigma: Deviation of each beam.
        amplitude: :math:`a`, in [0, 1).
        epsilon: Collision frequency.
        length: :math:`L`; :math:`2 \pi / k` unless given, else ``k`` must be a multiple of :math:`2 \pi / L`.
        cells: Default number of grid cells.
        loading: ``"quiet"`` or ``"random"``: the noise of random particles hides a small wave.

    Raises:
        ValueError: If a number is out of range, ``k`` does not fit the box, or ``cells`` do not resolve it.

    Example:
        >>> print(f"{TwoStream(k=0.2, v0=2.4).rate().real:.4f}")
        0.2258

    Reference: Sonnendrücker, Numerical methods for Vlasov equations, 2013.
    """

    def __init__(
        self,
        k: float = 0.2,
        v0: float = 2.4,
        sigma: float = 1.0,
        amplitude: float = 1e-3,
        epsilon: float = 0.0,
        length: float | None = None,
        cells: int = 64,
        loading: Literal["random", "quiet"] = "quiet",
    ) -> None:
        self.v0, self.sigma = require_positive("v0", v0), require_positive("sigma", sigma)
        super().__init__(
            [NormalMixture([0.5, 0.5], [-self.v0, self.v0], [self.sigma, self.sigma])],
            k=k,
            amplitude=amplitude,
            length=length,
            epsilon=epsilon,
            cells=cells,
            loading=loading,
            t_end=40.0,
            dt=0.1,
            particles=200_000,
        )

    @property
    def name(self) -> str:
        """``two_stream``."""
        return "two_stream"
