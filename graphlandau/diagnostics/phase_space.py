"""Fourier modes of the field of particles with positions, and their noise."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["field_mode", "field_noise"]


def field_mode(field: Float[Tensor, "*cells dx"], mode: int) -> complex:
    r"""Complex amplitude of the first component's mode along the first direction, averaged over the others.

    :math:`E_k = \frac{2}{n} \sum_j E_1(x_j) e^{-2 \pi i m j / n}`: for :math:`E = a \cos(kx) + b \sin(kx)` it is
    :math:`a - i b`.
    """
    return complex(_modes(field)[mode])


def field_noise(field: Float[Tensor, "*cells dx"], mode: int) -> float:
    r"""What of a mode's amplitude may be noise: that of a charge density as large as in the four modes above it.

    .. math::
        \frac{1}{m} \Bigl( \tfrac{1}{4} \sum_{j = m + 1}^{m + 4} j^2 |E_j|^2 \Bigr)^{1/2}

    The noise of particles has a white density, :math:`k E_k` is the same for all ``k``. What a wave excites beside
    itself is counted as noise too.
    """
    above = torch.arange(mode + 1, min(mode + 5, field.size(0) // 2), device=field.device)
    if not above.numel():
        return 0.0
    return float((above * _modes(field)[above].abs()).square().mean().sqrt()) / mode


def _modes(field: Tensor) -> Tensor:
    along = field[..., 0].double()
    along = along.mean(dim=tuple(range(1, along.dim()))) if along.dim() > 1 else along
    return torch.fft.rfft(along) * (2 / along.numel())
