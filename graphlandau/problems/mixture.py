"""Eight separated Gaussians: a product of bimodal densities."""

from __future__ import annotations

from graphlandau.base.validation import require_positive
from graphlandau.problems.densities.density import Gaussian
from graphlandau.problems.densities.mixture_density import GaussianMixture, ProductDensity
from graphlandau.problems.problem import Problem

__all__ = ["Mixture"]

# Probability, mean and standard deviation of the two modes of each component.
_MODES = (
    ((0.4, -2.0, 0.3), (0.6, 1.0, 0.8)),
    ((0.7, -1.0, 0.5), (0.3, 2.0, 0.4)),
    ((0.5, 0.0, 0.2), (0.5, 3.0, 1.2)),
)


class Mixture(Problem):
    r"""A product of three bimodal densities in 3D: eight modes of unequal widths.

    .. math::
        f_0(v) = f_1(v_1) f_2(v_2) f_3(v_3), \qquad
        \begin{aligned}
        f_1 &= 0.4 \, N(-2, 0.3^2) + 0.6 \, N(1, 0.8^2) \\
        f_2 &= 0.7 \, N(-1, 0.5^2) + 0.3 \, N(2, 0.4^2) \\
        f_3 &= 0.5 \, N(0, 0.2^2) + 0.5 \, N(3, 1.2^2)
        \end{aligned}

    Only the initial density and the equilibrium are known. Dimensionless.

    Args:
        strength: :math:`C`. It only rescales time, and the default ``t_end`` and ``dt`` with it: :math:`40 / C` and
            :math:`0.01 / C`.
        gamma: Exponent. The paper does not state it; -3 is Coulomb, as in its other examples without an exact
            solution, 0 is Maxwell molecules.

    Raises:
        ValueError: If ``strength`` is not positive or ``gamma`` is outside [-4, 1].

    Example:
        >>> problem = Mixture()
        >>> problem.initial.covariance.diagonal()
        tensor([2.5800, 2.1130, 2.9900], dtype=torch.float64)

    Reference: arXiv:2603.10874, Appendix B.
    """

    def __init__(self, strength: float = 1.0, gamma: float = -3.0) -> None:
        strength = require_positive("strength", strength)
        factors = [
            GaussianMixture([Gaussian([mean], [[width**2]]) for _, mean, width in modes], [p for p, _, _ in modes])
            for modes in _MODES
        ]
        super().__init__(
            ProductDensity(factors),
            gamma=gamma,
            strength=strength,
            t_end=40 / strength,
            dt=0.01 / strength,
            particles=64_000,
            grid=(7.0, 48),
            bandwidth=0.15,
        )

    @property
    def name(self) -> str:
        """``mixture_3d``."""
        return "mixture_3d"
