"""Relaxation of a Gaussian with unequal temperatures: the covariance is exact in any dimension."""

from __future__ import annotations

import torch

from graphlandau.problems.density import Gaussian
from graphlandau.problems.problem import Problem
from graphlandau.validation import require_integer

__all__ = ["Anisotropic"]


class Anisotropic(Problem):
    r"""A Gaussian with unequal temperatures relaxes to the Maxwellian through Maxwell molecules.

    .. math::
        f_0 = N(0, \operatorname{diag}(1.8, 0.2, 1, \ldots, 1)), \qquad \gamma = 0, \qquad
        \Sigma(t) = I - (I - \Sigma_0) e^{-4 d C t}

    The density is not Gaussian in between and is not known; its covariance is (:meth:`Problem.covariance`).
    Dimensionless. The decay rate :math:`4 d C` limits an explicit time step: strength 1 in 10D has rate 40
    and is run to t = 0.1 with dt = 0.002.

    Args:
        d: Dimension, at least 2.
        strength: :math:`C`. The text of the papers has 1, the public code behind the first has 1/24.

    Raises:
        ValueError: If ``d`` is below 2 or ``strength`` is not positive.

    Example:
        >>> problem = Anisotropic(d=3, strength=1 / 24)
        >>> problem.covariance(4.0).diagonal()
        tensor([1.1083, 0.8917, 1.0000], dtype=torch.float64)

    Reference: Ilin, Hu and Wang 2025, Example 5.2; Huang and Wang, arXiv:2409.12296, Section 5.5 (10D).
    """

    def __init__(self, d: int = 3, strength: float = 1 / 24) -> None:
        require_integer("d", d, minimum=2)
        temperatures = torch.ones(d, dtype=torch.float64)
        temperatures[:2] = torch.tensor([1.8, 0.2], dtype=torch.float64)
        super().__init__(
            Gaussian(mean=torch.zeros(d, dtype=torch.float64), covariance=temperatures.diag()),
            gamma=0.0,
            strength=strength,
            t_end=4.0,
            dt=0.01,
            particles=12_800 if d <= 3 else 25_600,
        )

    @property
    def name(self) -> str:
        """``anisotropic_3d``, ``anisotropic_10d``, ..."""
        return f"anisotropic_{self.d}d"
