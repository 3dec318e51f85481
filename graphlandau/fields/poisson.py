"""Poisson's equation on a periodic grid."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from graphlandau.base.errors import InvalidArgument
from graphlandau.base.validation import is_concrete, require_finite
from graphlandau.graphs.grid import Grid

__all__ = ["Poisson", "Symbols", "require_field", "require_periodic"]


class Poisson(nn.Module):
    r"""Electric field of a charge density in a neutralising background, on a periodic grid.

    .. math::
        \operatorname{div} E = \rho - \bar\rho, \quad E = -\nabla\phi, \qquad
        \hat\phi_k = \frac{\hat\rho_k}{|k|^2}, \quad \hat E_k = -i k \, \hat\phi_k, \quad \hat\phi_0 = 0

    by fast Fourier transforms: exact for densities with wavenumbers below the Nyquist wavenumber :math:`\pi / h_a` in
    every direction. In the mode of the Nyquist wavenumber itself the derivative in that direction is 0, as for any real
    field on the nodes. The field is odd under reflection and commutes with translations by whole cells, so that
    :math:`\sum_i \rho_i E_i = 0`: with :class:`~graphlandau.nn.Deposit` and :class:`~graphlandau.nn.Gather` of the
    same order no particle acts on itself and the total momentum is kept. Dimensionless, plasma frequency 1.

    Args:
        grid: A periodic grid.

    Shapes:
        - **rho**: density at the nodes, ``(*grid.shape)``
        - **output**: field at the nodes, ``(*grid.shape, d_x)``

    Raises:
        ValueError: If the grid is bounded, or ``rho`` is not a finite floating field on it.

    Example:
        >>> grid = Grid(2 * math.pi, 8)
        >>> (x,) = grid.axes(torch.zeros(1))
        >>> torch.allclose(Poisson(grid)(1 + torch.cos(x))[:, 0], torch.sin(x), atol=1e-6)
        True

    Reference: arXiv:2603.23901, Eq. (11); Birdsall and Langdon, Plasma Physics via Computer Simulation, Chapter 2.
    """

    def __init__(self, grid: Grid) -> None:
        super().__init__()
        self.grid = require_periodic(grid)
        k = _wavenumbers(grid)
        laplacian = torch.stack(torch.meshgrid(*k, indexing="ij")).square().sum(0)
        laplacian.view(-1)[0] = torch.inf
        # A real field on the nodes cannot tell k from -k at the Nyquist wavenumber: its derivative there is 0.
        for wavenumber, n in zip(k, grid.shape, strict=True):
            if n % 2 == 0:
                wavenumber[n // 2] = 0.0
        gradient = torch.stack(torch.meshgrid(*k, indexing="ij"), dim=-1)
        self._symbols = Symbols(1 / laplacian, gradient / laplacian[..., None])

    def forward(self, rho: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape d_x"]:
        """Field at the nodes."""
        require_field("rho", rho, self.grid)
        _, gradient = self._symbols.like(rho)
        transform = torch.fft.rfftn(rho)[..., None]
        axes = tuple(range(self.grid.d))
        return torch.fft.irfftn(-1j * gradient * transform, s=self.grid.shape, dim=axes)

    def potential(self, rho: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        r"""Potential at the nodes, :math:`-\Delta\phi = \rho - \bar\rho`, of mean 0."""
        require_field("rho", rho, self.grid)
        inverse, _ = self._symbols.like(rho)
        return torch.fft.irfftn(inverse * torch.fft.rfftn(rho), s=self.grid.shape)

    def __repr__(self) -> str:
        return f"Poisson({self.grid})"


class Symbols:
    """Multipliers of Fourier modes, kept in float64, and in every other dtype and on every device they were used."""

    def __init__(self, *symbols: Tensor) -> None:
        self._kept = {(torch.float64, torch.device("cpu")): symbols}

    def like(self, x: Tensor) -> tuple[Tensor, ...]:
        """The multipliers with the (real) dtype and the device of ``x``."""
        key = (x.dtype, x.device)
        if key in self._kept:
            return self._kept[key]
        # Tensors made in inference mode could not be used in training later.
        with torch.inference_mode(False):
            kept = self._kept[torch.float64, torch.device("cpu")]
            symbols = tuple(s.to(x.device, x.dtype.to_complex() if s.is_complex() else x.dtype) for s in kept)
        if is_concrete(x):
            self._kept[key] = symbols
        return symbols


def require_field(name: str, field: Tensor, grid: Grid, components: int | None = None) -> Tensor:
    """Return ``field``; raise ``ValueError`` unless it is a finite floating field on the nodes of ``grid``."""
    shape = grid.shape if components is None else (*grid.shape, components)
    if not isinstance(field, Tensor) or field.shape != shape:
        got = tuple(field.shape) if isinstance(field, Tensor) else type(field).__name__
        raise InvalidArgument(name, f"must have shape {shape}", got)
    if field.dtype not in (torch.float32, torch.float64):
        raise InvalidArgument(name, "must be float32 or float64", field.dtype)
    return require_finite(name, field)


def require_periodic(grid: Grid) -> Grid:
    """Return ``grid``; raise ``ValueError`` unless it is a periodic grid."""
    if not isinstance(grid, Grid) or not grid.periodic:
        raise InvalidArgument("grid", "must be a periodic Grid", grid)
    return grid


def _wavenumbers(grid: Grid) -> list[Tensor]:
    """Wavenumbers of a real transform over the last direction, float64, one tensor for each direction."""
    out = []
    for a, (n, h) in enumerate(zip(grid.shape, grid.spacing, strict=True)):
        frequency = torch.fft.rfftfreq if a == grid.d - 1 else torch.fft.fftfreq
        out.append(2 * math.pi * frequency(n, d=h, dtype=torch.float64))
    return out
