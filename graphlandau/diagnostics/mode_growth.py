"""Growth rate and frequency of a Fourier mode from its history."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import least_squares

from graphlandau.base.errors import InvalidArgument

Series = NDArray[np.float64]

__all__ = ["ModeGrowth", "mode_growth", "why_no_growth"]

# A maximum counts if it stands this far above the noise; below it is noise.
ABOVE_NOISE = 10.0
# A mode grows if it becomes this much larger than in its first tenth; above this share of the largest value it
# saturates.
GROWN = 5.0
SATURATES = 0.1
# A growing mode beside one that oscillates.
EXPONENTIALS = 3
# An exponential is there if it is larger than rounding.
PRESENT = 1e-10
MIN_PEAKS = 4
MIN_POINTS = 12


@dataclass(frozen=True)
class ModeGrowth:
    r"""Fit of :math:`E_k \propto e^{\gamma t} \cos(\omega t + \varphi)`.

    Attributes:
        rate: :math:`\gamma`, of the amplitude; negative when damped.
        frequency: :math:`\omega \ge 0`.
        t_first: Begin of the time that was fitted.
        t_last: End of it.
        level: The envelope :math:`|E_k|` of the fit at ``t_first``.
    """

    rate: float
    frequency: float
    t_first: float
    t_last: float
    level: float


def mode_growth(t: ArrayLike, mode: ArrayLike, noise: ArrayLike = 0.0) -> ModeGrowth | None:
    r"""Fit rate and frequency of a mode that oscillates and decays, or grows.

    The maxima of a damped oscillation lie on a line in :math:`\log |E_k|`. Between the second one (the start of the run
    bends the first) and the last, for as long as they fall and stay 10 times above ``noise``,
    :math:`e^{\gamma t} (a e^{i \omega_1 t} + b e^{i \omega_2 t})` is fitted by least squares (for a plasma at rest
    :math:`\omega_2 = -\omega_1`); the frequency is the larger of both. Of a mode that grows at least
    fivefold, the history up to a tenth of its largest value, where it saturates, is taken apart into three exponentials
    (a matrix pencil), one growing beside an oscillation; the one that is largest in the end is the mode.

    Args:
        t: Times at equal distances, ascending.
        mode: Complex amplitude :math:`E_k` at these times.
        noise: Level of the noise of the particles, one for all times or one for each.

    Returns:
        The fit, ``None`` where there is neither: fewer than 4 maxima that fall, fewer than 12 points that grow.

    Raises:
        ValueError: If the two differ in shape.

    Example:
        >>> t = np.linspace(0, 20, 201)
        >>> fit = mode_growth(t, np.exp(-0.15 * t) * np.cos(1.4 * t))
        >>> round(fit.rate, 3), round(fit.frequency, 3)
        (-0.15, 1.4)

    Reference: Hua and Sarkar, IEEE Transactions on Acoustics, Speech, and Signal Processing 38, 814 (1990).
    """
    found = _fit(t, mode, noise)
    return found if isinstance(found, ModeGrowth) else None


def why_no_growth(t: ArrayLike, mode: ArrayLike, noise: ArrayLike = 0.0) -> str | None:
    """Return why :func:`mode_growth` fits nothing to a history, and what would help; ``None`` if it does.

    Example:
        >>> t = np.linspace(0, 4, 41)
        >>> why_no_growth(t, np.exp(-0.15 * t) * np.cos(1.4 * t))
        '1 of 4 falling maxima are there: take a later t_end'
    """
    found = _fit(t, mode, noise)
    return found if isinstance(found, str) else None


def _fit(t: ArrayLike, mode: ArrayLike, noise: ArrayLike) -> ModeGrowth | str:
    """The fit, or why there is none."""
    times, values = np.asarray(t, dtype=float), np.asarray(mode, dtype=complex)
    if times.shape != values.shape or times.ndim != 1:
        raise InvalidArgument("mode", f"must have the shape of 't', {times.shape}", values.shape)
    if not values.size or not np.isfinite(values).all() or not np.abs(values).max() > 0:
        return "the mode is not excited"
    start = np.abs(values[: max(1, len(values) // 10)]).max()
    if np.abs(values).max() >= GROWN * start:
        return _growing(times, values)
    return _damped(times, values, np.broadcast_to(np.asarray(noise, dtype=float), times.shape))


def _growing(t: Series, values: NDArray[np.complex128]) -> ModeGrowth | str:
    """The exponential that is largest where the mode begins to saturate."""
    size = np.abs(values)
    last = int(np.argmax(size > SATURATES * size.max()))
    if last < MIN_POINTS:
        return f"{last} of {MIN_POINTS} steps are there before the mode saturates: take a smaller dt or a smaller wave"
    history, exponents = values[:last], _exponents(values[:last], t[1] - t[0], EXPONENTIALS)
    since = t[:last] - t[last - 1]
    parts = np.linalg.lstsq(np.exp(np.outer(since, exponents)), history, rcond=None)[0]
    largest = int(np.argmax(np.abs(parts)))
    rate, frequency = float(exponents[largest].real), abs(float(exponents[largest].imag))
    if rate <= 0:
        return "the mode grows, but not exponentially"
    # An oscillation needs a period to be told from growth alone.
    frequency = frequency if frequency * (t[last - 1] - t[0]) > math.pi else 0.0
    level = float(np.abs(parts[largest])) * math.exp(rate * since[0])
    return ModeGrowth(rate, frequency, float(t[0]), float(t[last - 1]), level)


def _damped(t: Series, values: NDArray[np.complex128], noise: Series) -> ModeGrowth | str:
    """A damped oscillation between the second and the last of the falling maxima."""
    size = np.abs(values)
    inner = np.flatnonzero((size[1:-1] > size[:-2]) & (size[1:-1] >= size[2:])) + 1
    kept: list[int] = []
    cause = "are there: take a later t_end"
    for i in inner:
        if size[i] < ABOVE_NOISE * noise[i]:
            cause = f"stand {ABOVE_NOISE:g} times above the noise of the particles: take more, or a larger wave"
            break
        if kept and size[i] >= size[kept[-1]]:
            cause = "are there before one is higher than the last: take more particles, or a smaller wave"
            break
        kept.append(int(i))
    if len(kept) < MIN_PEAKS:
        return f"{len(kept)} of {MIN_PEAKS} falling maxima {cause}"
    first, last = kept[1], kept[-1]
    since, history = t[first : last + 1] - t[first], values[first : last + 1] / size[first]
    begin = _exponents(history, t[1] - t[0], 2)
    if len(begin) < 2:
        return "the mode is no oscillation"

    def misfit(x: Series) -> Series:
        waves = np.exp(np.outer(since, x[0] + 1j * x[1:]))
        rest = waves @ np.linalg.lstsq(waves, history, rcond=None)[0] - history
        return np.concatenate([rest.real, rest.imag])

    found = least_squares(misfit, [begin.real.mean(), *begin.imag]).x
    peaks = t[kept[1:]] - t[first]
    level = float(np.exp(np.mean(np.log(size[kept[1:]]) - found[0] * peaks)))
    return ModeGrowth(float(found[0]), float(np.abs(found[1:]).max()), float(t[first]), float(t[last]), level)


def _exponents(history: NDArray[np.complex128], dt: float, count: int) -> NDArray[np.complex128]:
    """At most ``count`` exponents of a sum of exponentials, by a matrix pencil."""
    windows = np.lib.stride_tricks.sliding_window_view(history, len(history) // 3 + 1)
    sizes, space = np.linalg.svd(windows)[1:]
    space = space[: min(count, int((sizes > PRESENT * sizes[0]).sum()))].T
    steps = np.linalg.eigvals(np.linalg.lstsq(space[:-1], space[1:], rcond=None)[0]).astype(complex)
    return np.asarray(np.log(steps) / dt, dtype=complex)
