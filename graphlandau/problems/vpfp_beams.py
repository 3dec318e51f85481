"""Colliding beams in their own field: the Vlasov-Poisson-Fokker-Planck benchmarks."""

from __future__ import annotations

import math
from typing import Literal

from graphlandau.base.validation import require_integer, require_positive
from graphlandau.problems.densities.marginals import NormalMixture, Ripple
from graphlandau.problems.densities.phase_density import PhaseProduct
from graphlandau.problems.density_wave import DensityWave
from graphlandau.problems.kinetic_problem import KineticProblem

__all__ = ["VPFPBeams", "VPFPBeamsAsPrinted"]


class VPFPBeams(DensityWave):
    r"""Two beams in their own field with collisions: one dimension of position, ``d`` of velocity.

    .. math::
        f_0 = (1 + a \cos k x) \, \tfrac{1}{2} \left[ N(v_1; -v_0, \sigma^2) + N(v_1; v_0, \sigma^2) \right]
        \prod_{b > 1} N(v_b; 0, \sigma^2), \qquad \nabla \cdot E = \rho - 1, \qquad 0 \le x < L

    The field acts on :math:`v_1` only. For ``d > 1`` field and density of :math:`(x, v_1)` are those of ``d = 1``, and
    the other velocities relax alone, see :meth:`transverse_variance`. Dimensionless: the mass is :math:`L`, the mean
    density 1.

    Args:
        d: Dimension of velocity space.
        epsilon: Collision frequency; the reference runs 0.005 and 10. The latter wants ``dt`` of 0.001 or less where
            collisions are stepped explicitly.
        k: Wavenumber; :math:`2 \pi / L` unless given, else a multiple of it.
        amplitude: :math:`a`, in [0, 1).
        v0: Speed of the beams.
        sigma: Deviation of each beam.
        temperature: :math:`T_0`.
        length: :math:`L`.
        cells: Default number of grid cells.
        loading: ``"quiet"`` or ``"random"``.

    Raises:
        ValueError: If a number is out of range, ``k`` does not fit the box, or ``cells`` do not resolve it.

    Example:
        >>> problem = VPFPBeams(d=3)
        >>> problem
        VPFPBeams(d_x=1, d=3, epsilon=0.005, t_start=0.0, t_end=4.0)
        >>> print(f"{problem.mass / problem.lengths[0]:.1f} {VPFPBeams(epsilon=0.0).rate():.4f}")
        1.0 0.2785+0.0000j

    Reference: arXiv:2603.23901, Section 4.2, whose numbers contradict each other: its wavenumbers do not fit its box
    and its mass is not neutral. This is a consistent choice; :class:`VPFPBeamsAsPrinted` has the printed numbers.
    """

    def __init__(
        self,
        d: int = 1,
        epsilon: float = 0.005,
        k: float | None = None,
        amplitude: float = 0.1,
        v0: float = 1.5,
        sigma: float = 0.3,
        temperature: float = 1.0,
        length: float = 8 * math.pi,
        cells: int = 128,
        loading: Literal["random", "quiet"] = "quiet",
    ) -> None:
        d = require_integer("d", d, minimum=1)
        self.v0, self.sigma = require_positive("v0", v0), require_positive("sigma", sigma)
        super().__init__(
            _beams(d, self.v0, self.sigma),
            k=k,
            amplitude=amplitude,
            length=length,
            epsilon=epsilon,
            temperature=temperature,
            cells=cells,
            loading=loading,
            t_end=4.0,
            dt=0.02,
            particles=50_000,
        )

    @property
    def name(self) -> str:
        """``vpfp_1d1v`` and so on."""
        return f"vpfp_1d{self.d}v"

    def transverse_variance(self, t: float) -> float:
        r"""Exact variance of each velocity across the field, :math:`T_0 + (\sigma^2 - T_0) e^{-2 \epsilon t}`."""
        T = self.temperature
        return T + (self.sigma**2 - T) * math.exp(-2 * self.epsilon * (t - self.t_start))


class VPFPBeamsAsPrinted(KineticProblem):
    r"""Two slow beams in their own field, with the numbers as they are printed.

    .. math::
        f_0 = \frac{1 + 0.1 \cos 0.2 x}{Z \, 8 \pi} \, \tfrac{1}{2} \left[ N(v; -0.3, 0.1^2) + N(v; 0.3, 0.1^2)
        \right], \qquad \nabla \cdot E = \rho - \bar\rho, \qquad 0 \le x < 8 \pi

    For comparison with the paper only. The density jumps at the ends of the box, on which :math:`\cos 0.2 x` is not
    periodic, and :math:`Z = 1 + \sin(1.6 \pi) / 16 \pi` brings its mass to 1. With mass 1 the mean density is
    :math:`\bar\rho = 1 / 8 \pi`; the printed :math:`\rho - 1` is not neutral, and its spectral solver drops the
    zero mode, which makes it :math:`\rho - \bar\rho`: the plasma frequency is
    :math:`1 / \sqrt{8 \pi} = 0.2`. The text also draws velocities from :math:`N(0, 1)`, and says that 200 steps of 0.01
    end at 4; here velocities follow the formula above, and 400 steps end at 4. Use :class:`VPFPBeams` for anything
    else. Dimensionless.

    Args:
        epsilon: Collision frequency: 0.005 or 10 (the text says 0.01 as well).
        loading: ``"random"``, as printed, or ``"quiet"``.

    Raises:
        ValueError: If ``epsilon`` is negative.

    Example:
        >>> import torch
        >>> problem = VPFPBeamsAsPrinted()
        >>> x = torch.tensor([[0.0], [8 * math.pi]], dtype=torch.float64)
        >>> problem.log_f(x, torch.zeros_like(x)).diff().exp()  # 1 without the jump
        tensor([0.9372], dtype=torch.float64)

    Reference: arXiv:2603.23901, Section 4.2.
    """

    def __init__(self, epsilon: float = 0.005, loading: Literal["random", "quiet"] = "random") -> None:
        length = 8 * math.pi
        wave = Ripple(length, 0.1, 0.2 * length / (2 * math.pi), jump=True)
        super().__init__(
            PhaseProduct([wave], _beams(1, 0.3, 0.1)),
            epsilon=epsilon,
            lengths=(length,),
            self_consistent=True,
            cells=128,
            mass=1.0,
            loading=loading,
            t_end=4.0,
            dt=0.01,
            particles=50_000,
        )

    @property
    def name(self) -> str:
        """``vpfp_1d1v_as_printed``."""
        return "vpfp_1d1v_as_printed"


def _beams(d: int, v0: float, sigma: float) -> list[NormalMixture]:
    """Two beams along the first velocity, one normal along the others."""
    beams = NormalMixture([0.5, 0.5], [-v0, v0], [sigma, sigma])
    return [beams] + [NormalMixture([1.0], [0.0], [sigma])] * (d - 1)
