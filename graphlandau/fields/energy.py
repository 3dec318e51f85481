"""Energies of potentials and fields."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from graphlandau.fields.poisson import require_field, require_periodic
from graphlandau.fields.potential import Potential
from graphlandau.graphs.grid import Grid

__all__ = ["field_energy", "field_square", "potential_energy"]


def field_energy(grid: Grid, E: Float[Tensor, "*shape d_x"]) -> Float[Tensor, ""]:
    r"""Energy of a field, :math:`\frac{1}{2} \int |E|^2 dx = \frac{1}{2} \sum_i |E_i|^2 \prod_a h_a` on the grid.

    Args:
        grid: A periodic grid.
        E: Field at the nodes or on the faces, ``(*grid.shape, d_x)``.

    Raises:
        ValueError: If the grid is bounded, or ``E`` is not a finite floating field on it.

    Example:
        >>> import torch
        >>> field_energy(Grid(2.0, 4), torch.ones(4, 1))
        tensor(1.)
    """
    require_field("E", E, require_periodic(grid), grid.d)
    return 0.5 * grid.cell_volume * E.square().sum()


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
