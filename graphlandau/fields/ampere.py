"""Ampère's law on the faces of a periodic grid."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from graphlandau.base.errors import InvalidArgument
from graphlandau.base.validation import require_number
from graphlandau.fields.poisson import Symbols, require_field, require_periodic
from graphlandau.graphs.grid import Grid

__all__ = ["Ampere"]


class Ampere(nn.Module):
    r"""Electric field on the faces of a periodic grid, advanced by the longitudinal part of the current.

    .. math::
        \frac{dE}{dt} = -P (J - \bar J), \qquad
        (\operatorname{div} E)_i = \sum_a \frac{E_{a, i} - E_{a, i - e_a}}{h_a}

    Component :math:`a` at index :math:`i` sits on the face at :math:`i + 1/2` in direction :math:`a`. :math:`P`
    projects on gradients orthogonally, with the symbols of this same divergence, so that :math:`\operatorname{div} P J
    = \operatorname{div} J`: with :func:`~graphlandau.fields.conserving_current` Gauss's law :math:`\operatorname{div} E
    = \rho - \bar\rho` holds at all times to rounding once it holds initially. In one dimension :math:`P` is the
    identity. Dimensionless, plasma frequency 1.

    Args:
        grid: A periodic grid.

    Shapes:
        - **rho**: density at the nodes, ``(*grid.shape)``
        - **E**, **J**: on the faces, ``(*grid.shape, d_x)``

    Raises:
        ValueError: If the grid is bounded, or a field is non-finite or does not fit it.

    Example:
        >>> ampere, rho = Ampere(Grid(4.0, 4)), torch.tensor([2.0, 1.0, 0.0, 1.0])
        >>> torch.allclose(ampere.divergence(ampere.initial(rho)), rho - 1, atol=1e-6)
        True

    Reference: arXiv:2603.23901, Eq. (13), where the current stands without its mean and, in more than one dimension,
    without the projection: the field would not stay a gradient.
    """

    def __init__(self, grid: Grid) -> None:
        super().__init__()
        self.grid = require_periodic(grid)
        factors = []
        for a, (n, h) in enumerate(zip(grid.shape, grid.spacing, strict=True)):
            frequency = torch.fft.rfftfreq if a == grid.d - 1 else torch.fft.fftfreq
            factors.append((torch.exp(2j * math.pi * frequency(n, dtype=torch.float64)) - 1) / h)
        # The forward difference from a node to the next: minus its adjoint is the divergence.
        gradient = torch.stack(torch.meshgrid(*factors, indexing="ij"), dim=-1)
        laplacian = gradient.abs().square().sum(-1, keepdim=True)
        laplacian.view(-1)[0] = torch.inf
        self._symbols = Symbols(gradient, gradient / laplacian)

    def initial(self, rho: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape d_x"]:
        r"""The gradient field with :math:`\operatorname{div} E = \rho - \bar\rho` and mean 0."""
        require_field("rho", rho, self.grid)
        _, inverse = self._symbols.like(rho)
        return self._back(-inverse * torch.fft.rfftn(rho)[..., None])

    def longitudinal(self, J: Float[Tensor, "*shape d_x"]) -> Float[Tensor, "*shape d_x"]:
        r"""The part :math:`P (J - \bar J)` of a field that is a gradient of a potential on the nodes."""
        require_field("J", J, self.grid, self.grid.d)
        if self.grid.d == 1:
            return J - J.mean()
        gradient, inverse = self._symbols.like(J)
        axes = tuple(range(self.grid.d))
        transform = torch.fft.rfftn(J, dim=axes)
        return self._back(inverse * (gradient.conj() * transform).sum(-1, keepdim=True))

    def advance(
        self, E: Float[Tensor, "*shape d_x"], J: Float[Tensor, "*shape d_x"], dt: float
    ) -> Float[Tensor, "*shape d_x"]:
        """The field after ``dt`` with the current ``J``."""
        require_field("E", E, self.grid, self.grid.d)
        if isinstance(J, Tensor) and J.dtype != E.dtype:
            raise InvalidArgument("J", f"must have the dtype of 'E', {E.dtype}", J.dtype)
        return E - require_number("dt", dt) * self.longitudinal(J)

    def divergence(self, E: Float[Tensor, "*shape d_x"]) -> Float[Tensor, "*shape"]:
        """Divergence at the nodes by backward differences."""
        require_field("E", E, self.grid, self.grid.d)
        differences = (
            (x - x.roll(1, a)) / h for a, (x, h) in enumerate(zip(E.unbind(-1), self.grid.spacing, strict=True))
        )
        return torch.stack(tuple(differences)).sum(0)

    def at_nodes(self, E: Float[Tensor, "*shape d_x"]) -> Float[Tensor, "*shape d_x"]:
        """The field at the nodes: the mean of the two faces in the direction of each component."""
        require_field("E", E, self.grid, self.grid.d)
        return torch.stack([(x + x.roll(1, a)) / 2 for a, x in enumerate(E.unbind(-1))], dim=-1)

    def _back(self, transform: Tensor) -> Tensor:
        return torch.fft.irfftn(transform, s=self.grid.shape, dim=tuple(range(self.grid.d)))

    def __repr__(self) -> str:
        return f"Ampere({self.grid})"
