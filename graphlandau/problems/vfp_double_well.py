"""Two beams in a rippled parabola."""

from __future__ import annotations

import math
from typing import Literal

from graphlandau.base.validation import require_integer
from graphlandau.fields import RippledWell
from graphlandau.problems.densities.marginals import NormalMixture
from graphlandau.problems.densities.phase_density import PhaseProduct
from graphlandau.problems.kinetic_problem import KineticProblem

__all__ = ["VFPDoubleWell"]


class VFPDoubleWell(KineticProblem):
    r"""Two beams in a parabola with ripples, which has wells at :math:`x \approx \pm 1/2`.

    .. math::
        \phi = \sum_a \tfrac{1}{2} x_a^2 + \cos 2 \pi x_a, \qquad
        f_0 = N(x; 0, I) \, \tfrac{1}{2} \left[ N(v_1; -\tfrac{3}{2}, 1) + N(v_1; \tfrac{3}{2}, 1) \right]
        \prod_{a > 1} N(v_a; 0, 1), \qquad f_\infty \propto e^{-|v|^2 / 2 - \phi}

    The directions are independent at all times, and relative entropies with respect to :math:`f_\infty` add up over
    them. In each :math:`Z_x = \int e^{-\phi} dx = 3.173556519139`. Dimensionless.

    Args:
        d: Dimension of position and of velocity space.
        epsilon: Collision frequency.
        loading: ``"random"`` or ``"quiet"``.

    Raises:
        ValueError: If ``d`` is below 1 or ``epsilon`` is negative.

    Example:
        >>> problem = VFPDoubleWell(d=3)
        >>> problem.wavelengths, problem.t_end
        ((1.0, 1.0, 1.0), 5.0)

    Reference: arXiv:2603.23901, Examples 2 (d = 1) and 4 (d = 3).
    """

    def __init__(self, d: int = 1, epsilon: float = 1.0, loading: Literal["random", "quiet"] = "random") -> None:
        d = require_integer("d", d, minimum=1)
        normal = NormalMixture([1.0], [0.0], [1.0])
        beams = NormalMixture([0.5, 0.5], [-1.5, 1.5], [1.0, 1.0])
        super().__init__(
            PhaseProduct([normal] * d, [beams] + [normal] * (d - 1)),
            epsilon=epsilon,
            potential=RippledWell(stiffness=1.0, amplitude=1.0, wavenumber=2 * math.pi),
            loading=loading,
            t_end=10.0 if d == 1 else 5.0,
            dt=0.1,
            particles=10_000,
        )

    @property
    def name(self) -> str:
        """``vfp_double_well_1d`` and so on."""
        return f"vfp_double_well_{self.d}d"
