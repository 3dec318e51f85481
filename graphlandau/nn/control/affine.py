"""The affine control, exact for densities that are Gaussian in the velocity."""

from __future__ import annotations

from graphlandau.nn.control.embedding import PhaseEmbedding
from graphlandau.nn.control.linear import LinearControl

__all__ = ["AffineControl"]


class AffineControl(LinearControl):
    r"""A control that is affine in the velocity and in the embedded position, :math:`u = A v + B e(x) + b`.

    Exact for Gaussians with any correlation of position and velocity. For the objective of a split step its minimiser
    is known: with the residuals :math:`R` of :math:`v^*` from its regression on :math:`(e, 1)`, their covariance
    :math:`\Sigma` and :math:`c = 1 + \varepsilon \Delta t`, the new velocity is :math:`v' = (v^* - R) / c + P R`,
    where :math:`P` has the eigenvectors of :math:`\Sigma` and the eigenvalues

    .. math:: p = \frac{1}{2c} \left( 1 + \sqrt{1 + 4 c \, \varepsilon T_0 \Delta t / \sigma} \right)

    for the eigenvalues :math:`\sigma` of :math:`\Sigma`. Dimensionless.

    Args:
        embedding: Which functions of the position the control is linear in.

    Example:
        >>> import torch
        >>> from graphlandau.objectives import ControlObjective
        >>> generator = torch.Generator().manual_seed(0)
        >>> x, v = torch.randn(1000, 1, generator=generator), 2 * torch.randn(1000, 1, generator=generator)
        >>> control = AffineControl(PhaseEmbedding(1, 1))
        >>> _ = control.solve(ControlObjective.score_matching(v, epsilon=1.0), x, v)  # u = -(v - v / 4)
        >>> bool((control(x, v) + 0.75 * v).abs().max() < 0.3)
        True

    Reference: arXiv:2603.23901, Eq. (18); the closed form is ours.
    """

    def __init__(self, embedding: PhaseEmbedding) -> None:
        super().__init__(embedding)
