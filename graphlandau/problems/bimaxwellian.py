"""Two Maxwellian beams that merge through Coulomb collisions."""

from __future__ import annotations

from graphlandau.base.validation import require_positive
from graphlandau.problems.densities.density import Gaussian
from graphlandau.problems.densities.mixture_density import GaussianMixture
from graphlandau.problems.problem import Problem

__all__ = ["BiMaxwellian"]


class BiMaxwellian(Problem):
    r"""Two Maxwellians of equal mass and different mean velocities, in 2D.

    .. math::
        f_0 = \tfrac{1}{2} N(u_1, I) + \tfrac{1}{2} N(u_2, I), \qquad u_1 = (-2, 1), \quad u_2 = (0, -1), \qquad
        f_\infty = N((-1, 0), 2 I)

    Only the initial density and the equilibrium are known. Dimensionless.

    Args:
        strength: :math:`C`; 1/16 in the first paper, 1 in the second. It only rescales time, and the default
            ``t_end`` and ``dt`` with it: :math:`10 / C` and :math:`1 / 160 C`, that is 160 and 0.1 for 1/16.
        gamma: Exponent; -3 is Coulomb, as in both papers.

    Raises:
        ValueError: If ``strength`` is not positive or ``gamma`` is outside [-4, 1].

    Example:
        >>> problem = BiMaxwellian()
        >>> problem
        BiMaxwellian(d=2, gamma=-3.0, strength=0.0625, t_start=0.0, t_end=160.0)
        >>> problem.equilibrium().mean
        tensor([-1.,  0.], dtype=torch.float64)

    Reference: Huang and Wang, arXiv:2409.12296, Section 5.3; arXiv:2603.10874, Appendix B ("anisotropic"), which
    runs strength 1 to t = 40.
    """

    def __init__(self, strength: float = 1 / 16, gamma: float = -3.0) -> None:
        strength = require_positive("strength", strength)
        eye = [[1.0, 0.0], [0.0, 1.0]]
        super().__init__(
            GaussianMixture([Gaussian([-2.0, 1.0], eye), Gaussian([0.0, -1.0], eye)]),
            gamma=gamma,
            strength=strength,
            t_end=10 / strength,
            dt=1 / (160 * strength),
            particles=14_400,
            grid=(10.0, 100),
            bandwidth=0.3,
        )

    @property
    def name(self) -> str:
        """``bimaxwellian_2d``."""
        return "bimaxwellian_2d"
