"""Two beams in a periodic potential."""

from __future__ import annotations

import math
from typing import Literal

from graphlandau.fields import RippledWell
from graphlandau.problems.densities.marginals import NormalMixture, Ripple
from graphlandau.problems.densities.phase_density import PhaseProduct
from graphlandau.problems.kinetic_problem import KineticProblem

__all__ = ["VFPPeriodic"]


class VFPPeriodic(KineticProblem):
    r"""Two beams in a periodic potential on [0, 1).

    .. math::
        \phi = \tfrac{1}{5} \sin 2 \pi x, \qquad f_0 = \left( 1 + \tfrac{1}{2} \cos 2 \pi x \right) \tfrac{1}{2}
        \left[ N(v; -\tfrac{3}{2}, 1) + N(v; \tfrac{3}{2}, 1) \right], \qquad
        f_\infty = \frac{1}{I_0(1/5)} e^{-\phi} N(v; 0, 1)

    Dimensionless.

    Args:
        epsilon: Collision frequency.
        loading: ``"random"`` or ``"quiet"``.

    Raises:
        ValueError: If ``epsilon`` is negative.

    Example:
        >>> VFPPeriodic()
        VFPPeriodic(d_x=1, d=1, epsilon=1.0, t_start=0.0, t_end=20.0)

    Reference: arXiv:2603.23901, Example 3 and Eq. (42).
    """

    def __init__(self, epsilon: float = 1.0, loading: Literal["random", "quiet"] = "random") -> None:
        super().__init__(
            PhaseProduct([Ripple(1.0, 0.5)], [NormalMixture([0.5, 0.5], [-1.5, 1.5], [1.0, 1.0])]),
            epsilon=epsilon,
            potential=RippledWell(amplitude=0.2, wavenumber=2 * math.pi, phase=math.pi / 2),
            lengths=(1.0,),
            loading=loading,
            t_end=20.0,
            dt=0.1,
            particles=10_000,
        )

    @property
    def name(self) -> str:
        """``vfp_periodic_1d``."""
        return "vfp_periodic_1d"
