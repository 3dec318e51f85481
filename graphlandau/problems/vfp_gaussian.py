"""A Gaussian in a parabolic potential, the Vlasov-Fokker-Planck problem whose solution is known at all times."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from graphlandau.base.validation import require_integer
from graphlandau.fields import RippledWell
from graphlandau.problems.densities.phase_density import PhaseGaussian
from graphlandau.problems.kinetic_problem import KineticProblem

__all__ = ["VFPGaussian"]

_STIFFNESS = 2.0
_MEAN = [0.0, 1.0]
_COVARIANCE = [[2.0, 1.0], [1.0, 3.0]]


class VFPGaussian(KineticProblem):
    r"""A Gaussian in the potential :math:`\phi = |x|^2`, exact at all times.

    .. math::
        \dot\mu = A \mu, \qquad \dot C = A C + C A^{\top} + 2 \epsilon \operatorname{diag}(0, 1), \qquad
        A = \begin{pmatrix} 0 & 1 \\ -2 & -\epsilon \end{pmatrix}, \qquad
        \mu_0 = \begin{pmatrix} 0 \\ 1 \end{pmatrix}, \quad C_0 = \begin{pmatrix} 2 & 1 \\ 1 & 3 \end{pmatrix}

    in each direction alike, the directions independent; :math:`f_\infty = N(0, \operatorname{diag}(\tfrac{1}{2}, 1))`.
    Dimensionless.

    Args:
        d: Dimension of position and of velocity space.
        epsilon: Collision frequency.
        loading: ``"random"`` or ``"quiet"``.

    Raises:
        ValueError: If ``d`` is below 1 or ``epsilon`` is negative.

    Example:
        >>> problem = VFPGaussian()
        >>> mean, covariance = problem.moments(8.0)
        >>> print(f"{mean[0]:.4f} {covariance[1, 1]:.4f}")
        -0.0127 1.0009

    Reference: arXiv:2603.23901, Eq. (37) and Example 1, printed for d = 1; for d = 3 we take its initial density in
    each direction.
    """

    def __init__(self, d: int = 1, epsilon: float = 1.0, loading: Literal["random", "quiet"] = "random") -> None:
        d = require_integer("d", d, minimum=1)
        eye = torch.eye(d, dtype=torch.float64)
        mean = torch.tensor(_MEAN, dtype=torch.float64)
        covariance = torch.tensor(_COVARIANCE, dtype=torch.float64)
        super().__init__(
            PhaseGaussian(mean.repeat_interleave(d), torch.kron(covariance, eye), d_x=d),
            epsilon=epsilon,
            potential=RippledWell(stiffness=_STIFFNESS),
            loading=loading,
            t_end=8.0,
            dt=0.1,
            particles=10_000,
        )

    @property
    def name(self) -> str:
        """``vfp_gaussian_1d`` and so on."""
        return f"vfp_gaussian_{self.d}d"

    def moments(self, t: float) -> tuple[Float[Tensor, "two"], Float[Tensor, "two two"]]:
        r"""Exact mean and covariance of one direction's :math:`(x, v)` at ``t``, float64, by the matrix exponential.

        .. math::
            \mu(t) = e^{A t} \mu_0, \qquad C(t) = C_\infty + e^{A t} (C_0 - C_\infty) e^{A^{\top} t}, \qquad
            C_\infty = \operatorname{diag}(\tfrac{1}{2}, 1)
        """
        A = torch.tensor([[0.0, 1.0], [-_STIFFNESS, -self.epsilon]], dtype=torch.float64)
        flow = torch.linalg.matrix_exp(A * (t - self.t_start))
        stationary = torch.tensor([self.temperature / _STIFFNESS, self.temperature], dtype=torch.float64).diag()
        covariance = stationary + flow @ (torch.tensor(_COVARIANCE, dtype=torch.float64) - stationary) @ flow.T
        return flow @ torch.tensor(_MEAN, dtype=torch.float64), 0.5 * (covariance + covariance.T)

    def density(self, t: float) -> PhaseGaussian:
        """Exact solution at ``t``."""
        mean, covariance = self.moments(t)
        eye = torch.eye(self.d, dtype=torch.float64)
        return PhaseGaussian(mean.repeat_interleave(self.d), torch.kron(covariance, eye), d_x=self.d)
