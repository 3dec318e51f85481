"""How a control sees the phase space: positions by periodic functions, velocities as they are."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from graphlandau.base.errors import InvalidArgument
from graphlandau.base.validation import as_numbers, require_integer, require_parts, require_positive, require_velocities

__all__ = ["PhaseEmbedding"]


class PhaseEmbedding(nn.Module):
    r"""Positions and velocities as the input of a control, periodic in the positions where the domain is.

    .. math::
        (x, v) \mapsto (e(x), v), \qquad
        e_a = \begin{cases} (\cos, \sin)(2 \pi h x_a / L_a) & \text{periodic} \\
                            x_a, (\cos, \sin)(2 \pi h x_a / \lambda_a) & \text{unbounded} \end{cases}

    with :math:`h = 1, \dots` ``harmonics`` and the waves of an unbounded direction only where it has a wavelength.
    All dimensionless.

    Args:
        d_x: Position dimensions, at most ``d``.
        d: Velocity dimensions.
        lengths: Period of each position (one number for all), or ``None`` where it is unbounded.
        wavelengths: Period of the structure in each unbounded position (one number for all), or ``None``.
        harmonics: Number of harmonics of each period and wavelength.
        products: Whether unbounded directions with a wavelength have :math:`x_a^2` and :math:`x_a` times the first
            harmonic too: waves whose size and phase change along ``x``.

    Shapes:
        - **x**: :math:`(N, d_x)`; **v**: :math:`(N, d)`; **output**: :math:`(N, w + d)` with ``w = position_width``

    Raises:
        ValueError: If a size is out of range, or a direction has both a length and a wavelength.

    Example:
        >>> PhaseEmbedding(1, 3, lengths=(2.0,))(torch.tensor([[0.5]]), torch.ones(1, 3))
        tensor([[-4.3711e-08,  1.0000e+00,  1.0000e+00,  1.0000e+00,  1.0000e+00]])

    Reference: arXiv:2603.23901, Section 4.
    """

    _along_x: Tensor
    _along_v: Tensor

    def __init__(
        self,
        d_x: int,
        d: int,
        lengths: float | Sequence[float | None] | None = None,
        wavelengths: float | Sequence[float | None] | None = None,
        harmonics: int = 1,
        products: bool = False,
    ) -> None:
        super().__init__()
        self.products = products
        self.d = d = require_integer("d", d, minimum=1)
        self.d_x = d_x = require_integer("d_x", d_x, minimum=1)
        if d_x > d:
            raise InvalidArgument("d_x", f"must be at most d = {d}", d_x)
        self.lengths = _periods("lengths", lengths, d_x)
        self.wavelengths = _periods("wavelengths", wavelengths, d_x)
        self.harmonics = require_parts("harmonics", harmonics, minimum=1)
        # Of each column: the direction it depends on, its wavenumber, and what it is.
        self.columns: list[tuple[int, float, str]] = []
        for a, (length, wavelength) in enumerate(zip(self.lengths, self.wavelengths, strict=True)):
            if length is not None and wavelength is not None:
                raise InvalidArgument(
                    "wavelengths", "must be None in a periodic direction", f"{wavelength} in direction {a}"
                )
            if length is None:
                self.columns.append((a, 1.0, "x"))
            period = length or wavelength
            if period is not None:
                for h in range(1, self.harmonics + 1):
                    k = 2 * math.pi * h / period
                    self.columns += [(a, k, "cos"), (a, k, "sin")]
            if products and wavelength is not None:
                k = 2 * math.pi / wavelength
                self.columns += [(a, 1.0, "x x"), (a, k, "x cos"), (a, k, "x sin")]
        self.position_width = len(self.columns)
        self.width = self.position_width + self.d
        # One where a column belongs to a direction: positions and velocities share their numbering.
        along_x = torch.zeros(self.d, self.width)
        for j, (a, _, _) in enumerate(self.columns):
            along_x[a, j] = 1
        self.register_buffer("_along_x", along_x, persistent=False)
        along_v = nn.functional.pad(torch.eye(self.d), (self.position_width, 0))
        self.register_buffer("_along_v", along_v, persistent=False)

    def with_harmonics(self, harmonics: int) -> PhaseEmbedding:
        """The same embedding with so many harmonics."""
        return PhaseEmbedding(self.d_x, self.d, self.lengths, self.wavelengths, harmonics, self.products)

    def with_products(self) -> PhaseEmbedding:
        """The same embedding with products of ``x`` and its waves."""
        return PhaseEmbedding(self.d_x, self.d, self.lengths, self.wavelengths, self.harmonics, products=True)

    def forward(self, x: Float[Tensor, "N dx"], v: Float[Tensor, "N d"]) -> Float[Tensor, "N width"]:
        """Embedded positions, then velocities."""
        return torch.cat([self._waves(x)[0], v], dim=1)

    def value_and_tangents(
        self, x: Float[Tensor, "N dx"], v: Float[Tensor, "N d"], shear: float = 0.0
    ) -> tuple[Float[Tensor, "N width"], Float[Tensor, "d n width"]]:
        r"""The embedding and its derivatives :math:`\partial_{v_b} + s \, \partial_{x_b}`, one per ``b``.

        Without shear they are the same for all particles and have ``n = 1``.
        """
        tangents = self._along_v.to(v)[:, None]
        if shear == 0:
            return self(x, v), tangents
        waves, slopes = self._waves(x)
        along_x = nn.functional.pad(shear * slopes, (0, self.d)) * self._along_x.to(v)[:, None]
        return torch.cat([waves, v], dim=1), along_x + tangents

    def _waves(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Embedded positions and the derivative of each column in its own direction."""
        values, slopes = [], []
        for a, k, kind in self.columns:
            at = x[:, a]
            one, cosine, sine = torch.ones_like(at), torch.cos(k * at), torch.sin(k * at)
            value, slope = {"x": (at, one), "cos": (cosine, -k * sine), "sin": (sine, k * cosine)}[kind.split()[-1]]
            if kind.startswith("x "):
                value, slope = at * value, value + at * slope
            values.append(value)
            slopes.append(slope)
        return torch.stack(values, dim=1), torch.stack(slopes, dim=1)

    def require_phase(
        self, x: Float[Tensor, "N dx"], v: Float[Tensor, "N d"]
    ) -> tuple[Float[Tensor, "N dx"], Float[Tensor, "N d"]]:
        """Return both; raise ``ValueError`` unless they are finite, of these dimensions and fit each other."""
        for name, value, width in (("x", x, self.d_x), ("v", v, self.d)):
            require_velocities(name, value, min_particles=1)
            if value.size(1) != width:
                raise InvalidArgument(name, f"must have shape (N, {width})", tuple(value.shape))
        if x.size(0) != v.size(0) or x.dtype != v.dtype:
            want = f"({v.size(0)}, {self.d_x}) and dtype {v.dtype}"
            raise InvalidArgument("x", f"must have shape {want}", f"{tuple(x.shape)}, {x.dtype}")
        return x, v


def _periods(name: str, value: float | Sequence[float | None] | None, d_x: int) -> tuple[float | None, ...]:
    value = as_numbers(value)
    if value is None or isinstance(value, int | float):
        value = [value] * d_x
    if len(value) != d_x:
        raise InvalidArgument(name, f"must have one entry per position direction, {d_x}", len(value))
    return tuple(None if length is None else require_positive(name, length) for length in value)
