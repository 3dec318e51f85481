"""Relaxation of a Gaussian with unequal temperatures: the covariance is exact in any dimension."""

from __future__ import annotations

import torch

from graphlandau.base.validation import require_integer, require_positive
from graphlandau.problems.densities.density import Gaussian
from graphlandau.problems.problem import Problem

__all__ = ["Anisotropic"]


class Anisotropic(Problem):
    r"""A Gaussian with unequal temperatures relaxes to the Maxwellian.

    .. math::
        f_0 = N(0, \operatorname{diag}(1.8, 0.2, 1, \ldots, 1)), \qquad
        \Sigma(t) = I - (I - \Sigma_0) e^{-4 d C t} \quad (\gamma = 0)

    The density is not Gaussian in between and is not known; for Maxwell molecules its covariance is
    (:meth:`Problem.covariance`), for any other ``gamma`` only the equilibrium :math:`N(0, I)`. Dimensionless. The
    decay rate :math:`4 d C` limits an explicit time step: strength 1 in 10D has rate 40 and is run to t = 0.1 with
    dt = 0.002.

    Args:
        d: Dimension, at least 2.
        strength: :math:`C`. The text of the papers has 1, the public code behind the first has 1/24.
        gamma: Exponent; 0 is Maxwell molecules, -3 Coulomb. Unless it is 0, the default ``dt`` is
            :math:`1 / 24 C` and ``t_end`` 300 times that: 1 and 300 for strength 1/24, 12.5 for strength 1.

    Raises:
        ValueError: If ``d`` is below 2, ``strength`` is not positive or ``gamma`` is outside [-4, 1].

    Example:
        >>> problem = Anisotropic(d=3, strength=1 / 24)
        >>> problem.covariance(4.0).diagonal()
        tensor([1.1083, 0.8917, 1.0000], dtype=torch.float64)
        >>> Anisotropic(d=3, gamma=-3.0)
        Anisotropic(d=3, gamma=-3.0, strength=0.041666666666666664, t_start=0.0, t_end=300.0)

    Reference: Ilin, Hu and Wang 2025, Examples 5.2 and 5.3 (Coulomb); Huang and Wang, arXiv:2409.12296,
    Section 5.5 (10D).
    """

    def __init__(self, d: int = 3, strength: float = 1 / 24, gamma: float = 0.0) -> None:
        d = require_integer("d", d, minimum=2)
        strength = require_positive("strength", strength)
        temperatures = torch.ones(d, dtype=torch.float64)
        temperatures[:2] = torch.tensor([1.8, 0.2], dtype=torch.float64)
        super().__init__(
            Gaussian(mean=torch.zeros(d, dtype=torch.float64), covariance=temperatures.diag()),
            gamma=gamma,
            strength=strength,
            t_end=4.0 if gamma == 0 else 12.5 / strength,
            dt=0.01 if gamma == 0 else 1 / (24 * strength),
            particles=12_800 if d <= 3 else 25_600,
        )

    @property
    def name(self) -> str:
        """``anisotropic_3d``, ``anisotropic_coulomb_3d``, ..."""
        kernel = {0.0: "", -3.0: "_coulomb"}.get(self.gamma, f"_gamma{self.gamma:g}")
        return f"anisotropic{kernel}_{self.d}d"
