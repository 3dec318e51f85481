"""Histograms of particles in the plane of the first position and the first velocity."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import convolve1d
from torch import Tensor

from graphlandau.plotting.phase_snapshot import PhaseSnapshot, phase_snapshot
from graphlandau.run.record import RunRecord

__all__ = ["HARMONICS", "Bins", "carries_small_wave", "line_bins", "line_histogram", "phase_bins"]

# Bins per direction are this times the fourth root of the number of particles (of one coordinate alone: the cube
# root), which balances their noise and their width.
_PER_ROOT = 6.0
_PER_CUBE_ROOT = 3.0
_FEWEST, _MOST = 24, 160
# The share of the particles that is out of view on either side, beyond a tenth more; they are counted all the same.
_TAIL = 5e-4
_SHARES = (0.25, 0.5, 0.25)
# Of a small wave so many harmonics are drawn: what is shorter is noise.
HARMONICS = 4
# A wave of less than this share of the density cannot be seen in it.
_SMALL = 0.1
# Bins of a quiet start are too narrow from this variance on, in that of independent particles: quiet ones have less.
_COMB = 0.5


@dataclass(frozen=True)
class Bins:
    """Equal bins of ``(x_1, v_1)`` that hold all particles of a run's snapshots, and the part of them worth seeing.

    Attributes:
        x: Edges in position.
        v: Edges in velocity.
        x_view: Interval of positions to draw.
        v_view: Interval of velocities to draw.
        periodic: Whether the bins in position close to a ring.
    """

    x: np.ndarray
    v: np.ndarray
    x_view: tuple[float, float]
    v_view: tuple[float, float]
    periodic: bool

    def density(self, snapshot: PhaseSnapshot) -> np.ndarray:
        r"""Return the histogram density of :math:`(x_1, v_1)`, ``(len(x) - 1, len(v) - 1)``, of mass 1.

        Each bin shares its particles with its neighbours as 1 : 2 : 1 in both directions.
        """
        counts = np.histogram2d(snapshot.x[:, 0].numpy(), snapshot.v[:, 0].numpy(), bins=(self.x, self.v))[0]
        counts = convolve1d(counts, _SHARES, axis=0, mode="wrap" if self.periodic else "constant")
        counts = convolve1d(counts, _SHARES, axis=1, mode="constant")
        return counts / (len(snapshot.v) * (self.x[1] - self.x[0]) * (self.v[1] - self.v[0]))

    def wave(self, snapshot: PhaseSnapshot, harmonics: int) -> np.ndarray:
        r"""Return what of :meth:`density` varies along a box, its first ``harmonics`` in ``x_1``: of mass 0.

        Shorter waves are left out, which are the noise of the particles.
        """
        modes = np.fft.rfft(self.density(snapshot), axis=0)
        modes[0] = 0
        modes[harmonics + 1 :] = 0
        return np.fft.irfft(modes, n=len(self.x) - 1, axis=0)

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """Left, right, bottom and top of the bins."""
        return self.x[0], self.x[-1], self.v[0], self.v[-1]


def phase_bins(run: RunRecord, places: Iterable[int]) -> Bins:
    """Return bins for the snapshots at these places: over the box where there is one, else over the particles."""
    ends, tails, n = [], [], 0
    for place in places:
        snapshot = phase_snapshot(run, place)
        pair = np.stack([snapshot.x[:, 0].numpy(), snapshot.v[:, 0].numpy()])
        ends.append((pair.min(1), pair.max(1)))
        tails.append(tuple(np.quantile(pair, [_TAIL, 1 - _TAIL], axis=1)))
        n = pair.shape[1]
    low, high = (extreme([end[k] for end in ends], axis=0) for k, extreme in enumerate((np.min, np.max)))
    first, last = (extreme([tail[k] for tail in tails], axis=0) for k, extreme in enumerate((np.min, np.max)))
    count = int(np.clip(round(_PER_ROOT * n**0.25), _FEWEST, _MOST))
    x, v = (_edges(low[k], high[k], _wider(first[k], last[k]), count) for k in (0, 1))
    x_view, v_view = (_wider(first[k], last[k]) for k in (0, 1))
    if run.problem.lengths is not None:
        x_view = (0.0, run.problem.lengths[0])
        x = np.linspace(*x_view, count + 1)
    return Bins(x, v, x_view, v_view, run.problem.lengths is not None)


def carries_small_wave(run: RunRecord, snapshots: Sequence[PhaseSnapshot], bins: Bins) -> bool:
    r"""Whether a wave in a box is too small to be seen in the density, but stands out from the noise of the particles.

    Too small: :meth:`Bins.wave` has an integral of its size below a tenth (the density has 1) in all snapshots. Out of
    the noise: of the amplitudes :math:`|2 \langle e^{-i j k x} \rangle|` at the first one, ``k`` being that of the
    problem's mode, the first is four times the root mean square of those of :math:`j = 9, \dots, 24`.
    """
    if run.problem.lengths is None or not run.problem.self_consistent:
        return False
    phase = 2 * np.pi * run.problem.mode / run.problem.lengths[0] * snapshots[0].x[:, 0].numpy()
    first, *others = [abs(2 * np.exp(-1j * j * phase).mean()) for j in (1, *range(9, 25))]
    if first <= 4 * float(np.sqrt(np.mean(np.square(others)))):
        return False
    cell = (bins.x[1] - bins.x[0]) * (bins.v[1] - bins.v[0])
    waves = (bins.wave(snapshot, HARMONICS * run.problem.mode) for snapshot in snapshots)
    return all(float(np.abs(wave).sum()) * cell < _SMALL for wave in waves)


def line_bins(values: Tensor, period: float | None, quiet: bool = False) -> tuple[np.ndarray, tuple[float, float]]:
    """Return edges for one coordinate, over its period, else over all values; and the interval to draw.

    A quiet start puts the particles on a lattice, which streaming gathers into a comb now and then: bins of a box are
    then as wide as it takes for a bin not to stand out from its neighbours more than those of independent particles do.
    """
    x = values.numpy()
    view = (0.0, period) if period is not None else _wider(*np.quantile(x, [_TAIL, 1 - _TAIL]))
    # The cube root balances noise and width in one dimension.
    count = int(np.clip(round(_PER_CUBE_ROOT * len(x) ** (1 / 3)), _FEWEST, _MOST))
    if period is None:
        return _edges(x.min(), x.max(), view, count), view
    while quiet and count > _FEWEST // 2 and _unevenness(x, period, count) > _COMB:
        count -= max(1, count // 16)
    return np.linspace(*view, count + 1), view


def _unevenness(x: np.ndarray, period: float, count: int) -> float:
    """Variance of the bins about the mean of their neighbours, over that of independent particles."""
    counts = np.histogram(x, bins=count, range=(0, period))[0]
    bend = counts - (np.roll(counts, 1) + np.roll(counts, -1)) / 2
    return float(np.square(bend).mean() / (1.5 * max(counts.mean(), 1)))


def line_histogram(values: Tensor, edges: np.ndarray) -> np.ndarray:
    """Return the histogram density of one coordinate, of mass 1."""
    return np.histogram(values.numpy(), bins=edges)[0] / (len(values) * (edges[1] - edges[0]))


def _wider(low: float, high: float) -> tuple[float, float]:
    margin = 0.1 * (high - low) + 1e-9
    return float(low - margin), float(high + margin)


def _edges(low: float, high: float, view: tuple[float, float], count: int) -> np.ndarray:
    """Edges of ``count`` bins in ``view`` and of as many beside it as reach ``low`` and ``high``."""
    width = (view[1] - view[0]) / count
    below, above = (max(0, int(np.ceil(gap / width)) + 1) for gap in (view[0] - low, high - view[1]))
    return view[0] + width * np.arange(-below, count + above + 1)
