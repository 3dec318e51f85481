"""A density wave in a periodic box, with the field of the particles: what the electrostatic benchmarks share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from graphlandau.base.errors import InvalidArgument
from graphlandau.base.validation import require_number, require_positive
from graphlandau.problems.densities.marginals import Marginal, Ripple
from graphlandau.problems.densities.phase_density import PhaseProduct
from graphlandau.problems.kinetic_problem import KineticProblem
from graphlandau.problems.wavenumber import require_fitting

__all__ = ["DensityWave"]


class DensityWave(KineticProblem):
    r"""A plasma of mean density 1 with a wave, :math:`f_0 = (1 + a \cos k x) \prod_b g_b(v_b)`, :math:`0 \le x < L`.

    Args:
        velocities: The densities :math:`g_b`.
        k: Wavenumber; :math:`2 \pi / L` if ``None``.
        amplitude: :math:`a`, in [0, 1).
        length: :math:`L`, which is the mass too; :math:`2 \pi / k` if ``None``. One of the two must be given.
        epsilon: Collision frequency.
        temperature: :math:`T_0`.
        cells: Default number of grid cells.
        loading: ``"quiet"`` or ``"random"``.
        t_end: Default end of a run.
        dt: Default time step of a run.
        particles: Default number of particles of a run.

    Raises:
        ValueError: If a number is out of range, ``k`` does not fit the box, or ``cells`` do not resolve it.
    """

    def __init__(
        self,
        velocities: Sequence[Marginal],
        *,
        k: float | None,
        amplitude: float,
        length: float | None,
        epsilon: float,
        temperature: float = 1.0,
        cells: int,
        loading: Literal["random", "quiet"],
        t_end: float,
        dt: float,
        particles: int,
    ) -> None:
        if k is None and length is None:
            raise InvalidArgument("k", "or 'length' must be given", "neither")
        if length is not None:
            self.length = require_positive("length", length)
            self.k = 2 * math.pi / self.length if k is None else require_positive("k", k)
        elif k is not None:
            self.k = require_positive("k", k)
            self.length = 2 * math.pi / self.k
        mode = require_fitting("k", self.k, self.length)
        self.amplitude = require_number("amplitude", amplitude)
        super().__init__(
            PhaseProduct([Ripple(self.length, amplitude, mode)], list(velocities)),
            epsilon=epsilon,
            temperature=temperature,
            lengths=(self.length,),
            self_consistent=True,
            cells=cells,
            mass=self.length,
            mode=mode,
            loading=loading,
            t_end=t_end,
            dt=dt,
            particles=particles,
        )
