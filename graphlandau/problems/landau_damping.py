"""A small wave in a Maxwellian plasma."""

from __future__ import annotations

from typing import Literal

from graphlandau.problems.densities.marginals import NormalMixture
from graphlandau.problems.density_wave import DensityWave

__all__ = ["LandauDamping"]


class LandauDamping(DensityWave):
    r"""Landau damping: a small density wave in a Maxwellian plasma, in 1D.

    .. math::
        f_0 = (1 + a \cos k x) \, N(v; 0, 1), \qquad \nabla \cdot E = \rho - 1, \qquad 0 \le x < L

    Without collisions the field's mode :math:`k` rings down at the rate of :meth:`rate`, from the plasma dispersion
    function, as long as :math:`a` is small. Dimensionless: lengths in Debye lengths, times in inverse plasma
    frequencies; the mass is :math:`L`.

    Args:
        k: Wavenumber.
        amplitude: :math:`a`, in [0, 1).
        epsilon: Collision frequency.
        length: :math:`L`; :math:`2 \pi / k` unless given, else ``k`` must be a multiple of :math:`2 \pi / L`.
        cells: Default number of grid cells.
        loading: ``"quiet"`` or ``"random"``: the noise of random particles hides a small wave.

    Raises:
        ValueError: If a number is out of range, ``k`` does not fit the box, or ``cells`` do not resolve it.

    Example:
        >>> problem = LandauDamping(k=0.5)
        >>> print(f"{problem.lengths[0]:.4f} {problem.rate():.4f}")
        12.5664 -0.1534+1.4157j

    Reference: Landau, J. Phys. USSR 10, 25 (1946); Sonnendrücker, Numerical methods for Vlasov equations, 2013.
    """

    def __init__(
        self,
        k: float = 0.5,
        amplitude: float = 0.01,
        epsilon: float = 0.0,
        length: float | None = None,
        cells: int = 64,
        loading: Literal["random", "quiet"] = "quiet",
    ) -> None:
        super().__init__(
            [NormalMixture([1.0], [0.0], [1.0])],
            k=k,
            amplitude=amplitude,
            length=length,
            epsilon=epsilon,
            cells=cells,
            loading=loading,
            t_end=25.0,
            dt=0.1,
            particles=200_000,
        )

    @property
    def name(self) -> str:
        """``landau_damping``."""
        return "landau_damping"
