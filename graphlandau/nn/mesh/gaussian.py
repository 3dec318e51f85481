r"""Gaussian kernel sums on a particle mesh: a density, and derivatives of it.

In units of the bandwidth the kernel is :math:`\phi(z) = e^{-|z|^2 / 2}`. With cells of half a bandwidth its transform
has fallen to :math:`e^{-2 \pi^2}` where the lattice ends, so that the convolutions are exact; what remains is how well
cubic splines carry the particles there and back. Transforms are in float64: the density of a single particle far out is
small beside that of the bulk, and divides.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from graphlandau.graphs.partition import Partition
from graphlandau.nn.mesh.kernels import components, gaussian_multiplier, wave_numbers
from graphlandau.nn.mesh.lattice import Mesh

__all__ = ["GaussianMesh"]

# Width of a cell in bandwidths, and how many of these the kernel reaches: e^(-7^2 / 2) = 2e-11.
CELL = 0.5
REACH = 7.0


@dataclass(frozen=True)
class GaussianMesh:
    """Sums of :math:`w_j \\phi(x_i - x_j)` over the blocks of particles at ``x``, in units of the bandwidth.

    Args:
        mesh: The lattices.
        weight: Weights ``(N,)``.
    """

    mesh: Mesh
    weight: Float[Tensor, " N"]

    @classmethod
    def over(
        cls, x: Float[Tensor, "N d"], weight: Float[Tensor, " N"], partition: Partition, at: Tensor | None = None
    ) -> GaussianMesh:
        """The mesh over ``x``, and over ``at``.

        Raises:
            MeshTooLarge: If bandwidths are too small beside the extent of the particles.
        """
        cells = torch.full((partition.count,), CELL, dtype=torch.float64, device=x.device)
        return cls(Mesh.over(x, partition, cells, reach=cells.new_full(cells.shape, REACH), at=at), weight)

    @cached_property
    def multiplier(self) -> Tensor:
        """The transform of the kernel, the same for every block."""
        return gaussian_multiplier(self.mesh.padded, 1 / CELL, self.weight.device)

    def density(self, at: Tensor | None = None) -> Float[Tensor, "N 1"]:
        """The sum itself at the particles, or at other places."""

        def multiply(transformed: Tensor) -> Iterator[Tensor]:
            yield self.multiplier * transformed[:, 0]

        return self._gather(self.mesh.fields(self.weight[:, None], multiply, torch.float64), at)

    def gradients(self, other: Float[Tensor, "N 1"], at: Tensor | None = None) -> list[Float[Tensor, "N d"]]:
        """Gradients of the sum with the weights, and of that with the weights times ``other``."""
        d = len(self.mesh.shape)
        return list(self._derivatives(other, at, [(a,) for a in range(d)]).split(d, dim=1))

    def hessians(self, other: Float[Tensor, "N 1"], at: Tensor | None = None) -> list[Float[Tensor, "N d d"]]:
        """Second derivatives of both."""
        d = len(self.mesh.shape)
        pairs = components(d)
        order = [pairs.index((min(a, b), max(a, b))) for a in range(d) for b in range(d)]
        columns = self._derivatives(other, at, pairs)
        return [x[:, order].unflatten(1, (d, d)) for x in columns.split(len(pairs), dim=1)]

    def _derivatives(self, other: Tensor, at: Tensor | None, axes: list[tuple[int, ...]]) -> Tensor:
        k = [x / CELL for x in wave_numbers(self.mesh.padded, self.weight.device)]

        def multiply(transformed: Tensor) -> Iterator[Tensor]:
            for charge in transformed.unbind(1):
                smooth = self.multiplier * charge
                for directions in axes:
                    out = smooth
                    for a in directions:
                        out = 1j * k[a] * out
                    yield out

        values = torch.stack([self.weight, self.weight * other[:, 0]], dim=1)
        return self._gather(self.mesh.fields(values, multiply, torch.float64), at)

    def _gather(self, fields: Tensor, at: Tensor | None) -> Tensor:
        return self.mesh.gather(fields, None if at is None else self.mesh.find(at))
