"""Problems with positions: an external potential or the particles' own field, and Fokker-Planck collisions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from graphlandau.base.errors import InvalidArgument
from graphlandau.base.validation import require_bool, require_integer, require_number, require_one_of, require_positive
from graphlandau.fields import Potential, RippledWell
from graphlandau.problems.densities.marginals import Boltzmann, NormalMixture
from graphlandau.problems.densities.phase_density import LOADINGS, PhaseDensity, PhaseProduct
from graphlandau.problems.initial_value import InitialValueProblem
from graphlandau.problems.wavenumber import require_fitting
from graphlandau.reference import dominant_root

__all__ = ["KineticProblem"]

# Places per direction at which a potential of one's own is compared with itself one period on.
_PLACES = 17
# The frequency of a wave that only grows is the rounding of its root.
_NO_FREQUENCY = 1e-9


class KineticProblem(InitialValueProblem):
    r"""An initial-value problem for a Vlasov-Fokker-Planck equation, dimensionless.

    .. math::
        \partial_t f + v \cdot \nabla_x f + F \cdot \nabla_v f
        = \epsilon \nabla_v \cdot (v f + T_0 \nabla_v f), \qquad f(t_{\text{start}}) = M f_0

    The force is :math:`F = -\nabla \phi` of an external potential, or :math:`F = E`, the field of electrons on a fixed
    neutralising background in a periodic box, :math:`\nabla \cdot E = \rho - \bar\rho`; in fewer dimensions of
    position than of velocity it acts on the first :math:`d_x` velocities. With mean density
    :math:`\bar\rho = M / |\Omega| = 1` the unit of time is the inverse plasma frequency.

    Args:
        initial: The normalised density :math:`f_0` of positions and velocities.
        epsilon: Collision frequency :math:`\epsilon \ge 0`.
        temperature: :math:`T_0` of the background.
        potential: External potential :math:`\phi`; ``None`` for no external force.
        lengths: Sides of the periodic box; ``None`` on the whole space.
        self_consistent: Whether the particles' own electric field acts on them; it needs a box.
        cells: Default number of grid cells per direction for the field, at least 4.
        mass: :math:`M`, shared by the particles.
        mode: Fourier mode of the field (along the first direction) whose growth is measured.
        loading: How particles are drawn, see :meth:`PhaseDensity.sample`.
        t_start: Time of the initial density.
        t_end: Default end of a run.
        dt: Default time step of a run.
        particles: Default number of particles of a run.

    Attributes:
        d_x: Dimension of position space.
        d: Dimension of velocity space.

    Raises:
        ValueError: If ``epsilon`` is negative, ``temperature``, ``mass``, a length or ``dt`` is not positive;
            ``lengths`` are not the periods of ``initial``; ``potential`` is not periodic on the box;
            ``self_consistent`` comes without a box or without cells, or the cells do not resolve the mode;
            ``t_end`` is not after ``t_start``.

    Example:
        >>> from graphlandau.problems import NormalMixture, PhaseProduct, Ripple
        >>> class Pendulum(KineticProblem):
        ...     def __init__(self, epsilon: float = 0.5):
        ...         start = PhaseProduct([Ripple(2 * math.pi, 0.0)], [NormalMixture([1.0], [0.0], [1.0])])
        ...         gravity = RippledWell(amplitude=-1.0, wavenumber=1.0)
        ...         super().__init__(start, epsilon=epsilon, potential=gravity, lengths=(2 * math.pi,),
        ...                          t_end=10.0, dt=0.1, particles=1000)
        >>> problem = Pendulum()
        >>> problem
        Pendulum(d_x=1, d=1, epsilon=0.5, t_start=0.0, t_end=10.0)
        >>> x, v = problem.sample(5, generator=torch.Generator().manual_seed(0))
        >>> x.shape, v.shape
        (torch.Size([5, 1]), torch.Size([5, 1]))

    Reference: arXiv:2603.23901, Eqs. (7) and (11); in its Section 4.2 the mass is 1, which is neutral only in a box of
    volume 1.
    """

    def __init__(
        self,
        initial: PhaseDensity,
        *,
        epsilon: float,
        temperature: float = 1.0,
        potential: Potential | None = None,
        lengths: Sequence[float] | None = None,
        self_consistent: bool = False,
        cells: int | None = None,
        mass: float = 1.0,
        mode: int = 1,
        loading: Literal["random", "quiet"] = "random",
        t_end: float,
        dt: float,
        particles: int,
        t_start: float = 0.0,
    ) -> None:
        if not isinstance(initial, PhaseDensity):
            raise InvalidArgument("initial", "must be a PhaseDensity", type(initial).__name__)
        super().__init__(d=initial.d, t_start=t_start, t_end=t_end, dt=dt, particles=particles)
        self.initial, self.d_x = initial, initial.d_x
        self.epsilon = require_number("epsilon", epsilon)
        if self.epsilon < 0:
            raise InvalidArgument("epsilon", "must not be negative", f"{epsilon:g}")
        self.temperature = require_positive("temperature", temperature)
        self.mass = require_positive("mass", mass)
        self.lengths = None if lengths is None else tuple(require_positive("lengths", length) for length in lengths)
        if (self.lengths or (None,) * self.d_x) != initial.periods:
            raise InvalidArgument("lengths", f"must be the periods {initial.periods} of 'initial'", self.lengths)
        self.potential = potential
        if potential is not None:
            _require_potential(potential, self.d_x, self.lengths)
        self.mode = require_integer("mode", mode, minimum=1)
        self.self_consistent = self_consistent = require_bool("self_consistent", self_consistent)
        self.cells = None if cells is None else require_integer("cells", cells, minimum=4)
        if self_consistent and (self.lengths is None or self.cells is None):
            raise InvalidArgument(
                "self_consistent", "must come with lengths and cells", f"{self.lengths}, {self.cells}"
            )
        if self.cells is not None and 2 * self.mode >= self.cells:
            raise InvalidArgument("cells", f"must be more than twice the mode {self.mode}", self.cells)
        require_one_of("loading", loading, LOADINGS)
        self.loading: Literal["random", "quiet"] = loading

    @property
    def volume(self) -> float | None:
        """Volume of the box, ``None`` without one."""
        return None if self.lengths is None else math.prod(self.lengths)

    @property
    def wavelengths(self) -> tuple[float | None, ...]:
        """Per direction without a box the period of the ripples of the potential, ``None`` where there is none."""
        phi = self.potential
        if self.lengths is None and isinstance(phi, RippledWell) and phi.amplitude != 0:
            return (2 * math.pi / phi.wavenumber,) * self.d_x
        return (None,) * self.d_x

    def sample(self, n: int, *, generator: torch.Generator) -> tuple[Float[Tensor, "n d_x"], Float[Tensor, "n d"]]:
        """Draw positions and velocities of ``n`` initial particles: float64, the generator's device."""
        return self.initial.sample(n, generator=generator, loading=self.loading)

    def draw(self, n: int, *, generator: torch.Generator) -> dict[str, Tensor]:
        """Draw the positions and velocities of ``n`` initial particles."""
        x, v = self.sample(n, generator=generator)
        return {"pos": x, "v": v}

    def log_f(self, x: Float[Tensor, "N d_x"], v: Float[Tensor, "N d"]) -> Float[Tensor, " N"]:
        r"""Logarithm of the density at ``t_start``, :math:`\log M f_0`."""
        return self.initial.log_prob(x, v) + math.log(self.mass)

    def density(self, t: float) -> PhaseDensity | None:
        """Exact normalised solution at ``t``; in this class ``initial`` at ``t_start``, ``None`` at other times."""
        return self.initial if t == self.t_start else None

    def equilibrium(self) -> PhaseDensity | None:
        r"""The normalised density to which collisions lead.

        .. math::
            f_\infty = \frac{1}{Z} e^{-\phi / T_0} \, N(0, T_0 I)

        in an external potential, and :math:`N(0, T_0 I) / |\Omega|` in a box without one. ``None`` where there is none:
        no collisions and no potential, nothing that confines, or a
        potential beside a field of the particles' own. ``None`` too for a potential of several coordinates
        that is not known to be a sum over them; override it there.
        """
        if self.potential is None and (self.lengths is None or self.epsilon == 0):
            return None
        if self.potential is not None and self.self_consistent:
            return None
        separable = self.potential is None or self.d_x == 1 or isinstance(self.potential, RippledWell)
        if not separable:
            return None
        phi = RippledWell() if self.potential is None else self.potential
        if self.lengths is None and isinstance(phi, RippledWell) and phi.stiffness == 0:
            return None
        maxwellian = NormalMixture([1.0], [0.0], [math.sqrt(self.temperature)])
        periods = self.lengths or (None,) * self.d_x
        return PhaseProduct([Boltzmann(phi, period, self.temperature) for period in periods], [maxwellian] * self.d)

    def stationary(self) -> Callable[[Tensor, Tensor], Tensor] | None:
        r"""Return :math:`(x, v) \mapsto \log M f_\infty(x, v)` of :meth:`equilibrium`, ``None`` where that is."""
        f = self.equilibrium()
        if f is None:
            return None
        log_mass = math.log(self.mass)
        return lambda x, v: f.log_prob(x, v) + log_mass

    def equilibrium_free_energy(self) -> float | None:
        r"""Return the free energy of :math:`M f_\infty`, the least one, ``None`` where the density is not known.

        :math:`\log M f_\infty + H / T_0` is the same everywhere, so its value at one point, times :math:`M T_0`, is it.
        """
        stationary = self.stationary()
        if stationary is None:
            return None
        x, v = (torch.zeros(1, d, dtype=torch.float64) for d in (self.d_x, self.d))
        phi = 0.0 if self.potential is None else float(self.potential.value(x))
        return self.mass * (self.temperature * float(stationary(x, v)) + phi)

    def rate(self) -> complex | None:
        r"""Growth rate and frequency of the field's mode in the linear theory without collisions.

        .. math::
            E_k(t) \sim e^{\gamma t} \cos(\omega_r t + \ldots), \qquad k = 2 \pi m / L

        as :math:`\gamma + i \omega_r`, of the fastest growing, or slowest damped, root of the dispersion relation of
        the initial velocities along the first direction. ``None`` with collisions, without a field of the particles'
        own, in several dimensions of position, and for other than normal beams.
        """
        f = self.initial
        electrostatic = self.self_consistent and self.potential is None
        if not electrostatic or self.epsilon > 0 or self.lengths is None or self.d_x > 1:
            return None
        if not isinstance(f, PhaseProduct) or not isinstance(f.v[0], NormalMixture):
            return None
        beams, length = f.v[0], self.lengths[0]
        root = dominant_root(
            2 * math.pi * self.mode / length,
            weights=beams.weights,
            means=beams.means,
            deviations=beams.deviations,
            density=self.mass / length,
        )
        frequency = abs(root.real)
        return complex(root.imag, frequency if frequency > _NO_FREQUENCY else 0.0)

    def facts(self) -> dict[str, Any]:
        """Return collision frequency, temperature, mass, box and field of the problem."""
        keys = ("epsilon", "temperature", "mass", "lengths", "self_consistent", "loading")
        return {key: getattr(self, key) for key in keys}

    def __repr__(self) -> str:
        """Class, dimensions, collision frequency and time interval."""
        keys = ("d_x", "d", "epsilon", "t_start", "t_end")
        return f"{type(self).__name__}({', '.join(f'{key}={getattr(self, key)!r}' for key in keys)})"


def _require_potential(potential: Potential, d_x: int, lengths: tuple[float, ...] | None) -> None:
    """Refuse what is no potential, or is not periodic on the box."""
    if not isinstance(potential, Potential):
        raise InvalidArgument("potential", "must be a Potential", type(potential).__name__)
    shape = tuple(potential.value(torch.zeros(3, d_x, dtype=torch.float64)).shape)
    if shape != (3,):
        raise InvalidArgument("potential", f"must map (N, {d_x}) to (N,)", f"{shape} for (3, {d_x})")
    if lengths is None:
        return
    if isinstance(potential, RippledWell):
        if potential.stiffness != 0:
            raise InvalidArgument("potential", "must have no stiffness in a periodic box", f"{potential.stiffness:g}")
        for length in lengths if potential.amplitude != 0 else ():
            require_fitting("potential", potential.wavenumber, length)
        return
    sides = torch.tensor(lengths, dtype=torch.float64)
    x = torch.linspace(0, 1, _PLACES, dtype=torch.float64)[:, None] * sides
    value = potential.value(x)
    for a, length in enumerate(lengths):
        change = float((potential.value(x + sides * (torch.arange(len(lengths)) == a)) - value).abs().max())
        if change > 1e-8 * (1 + float(value.abs().max())):
            raise InvalidArgument(
                "potential", f"must have period {length:g} along direction {a}", f"a change of {change:g}"
            )
