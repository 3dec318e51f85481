"""Energies and Fourier modes of particles with positions and their field."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from graphlandau.fields import Potential

__all__ = ["field_mode", "field_noise", "field_square", "kinetic_energy", "potential_energy"]


def kinetic_energy(v: Float[Tensor, "N d"], mass: float = 1.0) -> float:
    r""":math:`\int \tfrac12 |v|^2 f = m \langle |v|^2 \rangle / 2`; dimensionless, summed in float64."""
    return 0.5 * mass * float(v.double().square().sum(1).mean())


def field_square(field: Float[Tensor, "*cells dx"], volume: float) -> float:
    r""":math:`\int |E|^2 dx` over the box, by the values on the nodes; dimensionless. The energy is half of it."""
    return volume * float(field.double().square().sum(-1).mean())


def potential_energy(
    x: Float[Tensor, "N dx"],
    *,
    mass: float = 1.0,
    potential: Potential | None = None,
    field: Float[Tensor, "*cells dx"] | None = None,
    volume: float | None = None,
) -> float:
    r""":math:`\int \phi f + \tfrac12 \int |E|^2 dx` of a potential, and of a field in a box of ``volume``."""
    energy = 0.0 if potential is None else mass * float(potential.value(x.double()).mean())
    if field is not None and volume is not None:
        energy += 0.5 * field_square(field, volume)
    return energy


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
