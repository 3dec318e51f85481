"""Particles of a user's own: problems without an initial density."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data

from graphlandau.base.errors import InvalidArgument
from graphlandau.base.particle_files import read_particles
from graphlandau.base.state import particle_state
from graphlandau.fields import Potential
from graphlandau.physics import LandauKernel
from graphlandau.physics.moments import average, covariance
from graphlandau.problems.densities.density import Gaussian
from graphlandau.problems.densities.unknown import UnknownDensity, UnknownPhaseDensity
from graphlandau.problems.initial_value import InitialValueProblem
from graphlandau.problems.kinetic_problem import KineticProblem
from graphlandau.problems.problem import Problem

log = logging.getLogger(__name__)

__all__ = ["PhaseSamples", "Samples", "samples_of"]

# Default time steps of a run.
STEPS = 200


class Samples(Problem):
    r"""The homogeneous Landau equation from particles of a user's own, dimensionless.

    The density of the particles is not known: a run has no log-density, entropy or KL, and says so, unless the file
    gives ``log_f`` at the particles. A score that is trained is fitted to the particles at the start. What collisions
    conserve is known from the particles themselves, and with it the Maxwellian to which they lead, and for
    ``gamma = 0`` the evolution of their covariance.

    A run takes all particles, or as many of them, drawn without replacement, as ``particles`` says.

    Args:
        path: A file of :func:`~graphlandau.base.particle_files.read_particles`: npy, npz, csv or HDF5 with velocities
            ``v``, and optionally ``weight`` and ``log_f``. Positions take no part in a homogeneous plasma.
        gamma: Exponent in [-4, 1]; 0 is Maxwell molecules, -3 is Coulomb.
        strength: The constant :math:`C > 0`.
        t_start: Time of the particles.
        t_end: Default end of a run; 200 steps after ``t_start`` unless given.
        dt: Default time step of a run; :math:`T^{-\gamma / 2} / 40 d C` with the temperature :math:`T` unless given.
        state: The particles themselves, in place of ``path``: a ``Data`` with ``v``, and optionally ``weight`` and
            ``log_f``.

    Raises:
        ValueError: If not exactly one of ``path`` and ``state`` is given, a file or a tensor does not fit, or a number
            is out of range.

    Example:
        >>> v = torch.randn(500, 3, generator=torch.Generator().manual_seed(0))
        >>> problem = Samples(state=particle_state(v), gamma=0.0, strength=0.5)
        >>> problem
        Samples(d=3, gamma=0.0, strength=0.5, t_start=0.0, t_end=3.3333333333333335)
        >>> problem.density(0.0) is None, problem.particles
        (True, 500)
    """

    def __init__(
        self,
        path: str | None = None,
        gamma: float = -3.0,
        strength: float = 1.0,
        t_start: float = 0.0,
        t_end: float | None = None,
        dt: float | None = None,
        state: Data | None = None,
    ) -> None:
        self.path, self.given = _given(path, state)
        if "pos" in self.given:
            log.warning("positions take no part in a homogeneous plasma; the problem phase_samples moves them")
        v, weight = self.given.v, self.given.get("weight")
        sigma = covariance(v, weight)
        n, d = v.shape
        temperature = float(sigma.trace()) / d
        if temperature <= 0:
            raise InvalidArgument("path" if path else "state", "must hold particles at several velocities", "one")
        kernel = LandauKernel(gamma=gamma, strength=strength)
        step = temperature ** (-0.5 * kernel.gamma) / (40 * d * kernel.strength) if dt is None else dt
        super().__init__(
            UnknownDensity(d),
            gamma=gamma,
            strength=strength,
            t_start=t_start,
            t_end=t_start + STEPS * step if t_end is None else t_end,
            dt=step,
            particles=n,
        )
        self._equilibrium = Gaussian(average(v, weight), temperature * torch.eye(d, dtype=torch.float64))

    def density(self, t: float) -> None:
        """``None``: it is known at no time."""
        return

    def equilibrium(self) -> Gaussian:
        """The Maxwellian of the particles' own mass, momentum and energy."""
        return self._equilibrium

    @property
    def log_density_known(self) -> bool:
        """Whether it came with the particles."""
        return "log_f" in self.given

    def draw(self, n: int, *, generator: torch.Generator) -> dict[str, Tensor]:
        """The particles, or ``n`` of them."""
        return _drawn(self.given, n, ("v", "weight", "log_f"), generator)

    def sample(self, n: int, *, generator: torch.Generator, t: float | None = None) -> Tensor:
        """The velocities of :meth:`draw`; there are none at a later time."""
        if t is not None and t != self.t_start:
            raise InvalidArgument("t", f"must be {self.t_start:g}, the time of the samples", f"{t:g}")
        return self.draw(n, generator=generator)["v"]

    def facts(self) -> dict[str, Any]:
        """Return the constants of the kernel, and what is known of the density."""
        facts = super().facts()
        return {"gamma": facts["gamma"], "strength": facts["strength"], "initial_density": _known(self)}

    def _known_density(self, t: float | None) -> UnknownDensity:
        raise InvalidArgument("problem", "must have a known density", f"{self.name}, whose particles are all that is")


class PhaseSamples(KineticProblem):
    r"""A Vlasov-Fokker-Planck equation from particles of a user's own with positions, dimensionless.

    The density is not known, as in :class:`Samples`. All particles have one weight.

    Args:
        path: A file of :func:`~graphlandau.base.particle_files.read_particles` with ``pos`` and ``v``, and optionally
            ``log_f``, the logarithm of the density with its ``mass``.
        epsilon: Collision frequency.
        temperature: :math:`T_0` of the background.
        potential: External potential.
        lengths: Sides of the periodic box; ``None`` on the whole space.
        self_consistent: Whether the particles' own field acts on them.
        cells: Grid cells per direction for the field; 64 unless given, where there is one.
        mass: :math:`M`; the volume of the box (mean density 1) unless given with a field of their own, else 1.
        mode: Fourier mode of the field whose growth is measured.
        t_start: Time of the particles.
        t_end: Default end of a run.
        dt: Default time step of a run.
        state: The particles themselves, in place of ``path``: a ``Data`` with ``pos`` and ``v``.

    Raises:
        ValueError: As :class:`Samples`; if there are no positions, or weights that differ.
    """

    def __init__(
        self,
        path: str | None = None,
        epsilon: float = 0.0,
        temperature: float = 1.0,
        potential: Potential | None = None,
        lengths: Sequence[float] | None = None,
        self_consistent: bool = False,
        cells: int | None = None,
        mass: float | None = None,
        mode: int = 1,
        t_start: float = 0.0,
        t_end: float = 10.0,
        dt: float = 0.1,
        state: Data | None = None,
    ) -> None:
        self.path, self.given = _given(path, state)
        name = "path" if path is not None else "state"
        if "pos" not in self.given:
            raise InvalidArgument(name, "must hold positions 'pos'", "velocities alone; the problem samples has none")
        weight = self.given.get("weight")
        if weight is not None and not bool((weight - weight[0]).abs().max() <= 1e-9 * weight[0]):
            raise InvalidArgument(name, "must hold particles of one weight, as all with positions", "several")
        x, v = self.given["pos"], self.given.v
        sides = None if lengths is None else tuple(lengths)
        if self_consistent and sides is not None:
            volume = float(torch.tensor(sides, dtype=torch.float64).prod())
            cells, mass = 64 if cells is None else cells, volume if mass is None else mass
        super().__init__(
            UnknownPhaseDensity(x.size(1), v.size(1), sides or (None,) * x.size(1)),
            epsilon=epsilon,
            temperature=temperature,
            potential=potential,
            lengths=sides,
            self_consistent=self_consistent,
            cells=cells,
            mass=1.0 if mass is None else mass,
            mode=mode,
            t_start=t_start,
            t_end=t_end,
            dt=dt,
            particles=v.size(0),
        )

    def density(self, t: float) -> None:
        """``None``: it is known at no time."""
        return

    @property
    def log_density_known(self) -> bool:
        """Whether it came with the particles."""
        return "log_f" in self.given

    def draw(self, n: int, *, generator: torch.Generator) -> dict[str, Tensor]:
        """The particles, or ``n`` of them."""
        return _drawn(self.given, n, ("pos", "v", "log_f"), generator)

    def sample(self, n: int, *, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """The positions and velocities of :meth:`draw`."""
        drawn = self.draw(n, generator=generator)
        return drawn["pos"], drawn["v"]

    def log_f(self, x: Tensor, v: Tensor) -> Tensor:
        """Refused: it is not known."""
        return self.initial.log_prob(x, v)

    def facts(self) -> dict[str, Any]:
        """Return the constants of the equation, and what is known of the density."""
        facts = super().facts()
        del facts["loading"]
        return facts | {"initial_density": _known(self)}


def samples_of(problem: InitialValueProblem, state: Data) -> Samples | PhaseSamples:
    """Return the equation of ``problem`` from the particles of ``state``: what is known of its solution is not theirs.

    Raises:
        ValueError: If the state does not fit the problem, or ``problem`` is of no known kind.
    """
    times: dict[str, Any] = {"t_start": problem.t_start, "t_end": problem.t_end, "dt": problem.dt}
    if isinstance(problem, KineticProblem):
        keys = ("epsilon", "temperature", "potential", "lengths", "self_consistent", "cells", "mass", "mode")
        of_equation: dict[str, Any] = {key: getattr(problem, key) for key in keys}
        found = PhaseSamples(state=state, **of_equation, **times)
        fits = (found.d_x, found.d) == (problem.d_x, problem.d)
        dimensions = f"{problem.d_x} positions and {problem.d} velocities"
    elif isinstance(problem, Problem):
        found = Samples(state=state, gamma=problem.gamma, strength=problem.strength, **times)
        fits, dimensions = found.d == problem.d, f"{problem.d} velocities"
    else:
        raise InvalidArgument("problem", "must be a Problem or a KineticProblem", type(problem).__name__)
    if not fits:
        raise InvalidArgument("state", f"must have {dimensions}, as {problem.name}", f"v {tuple(state.v.shape)}")
    return found


def _given(path: str | None, state: Data | None) -> tuple[Path | None, Data]:
    """The particles, checked, in float64; weights with sum 1."""
    if (path is None) == (state is None):
        what = "must be given: a file with particles" if path is None else "must not be given with 'state'"
        raise InvalidArgument("path", what, "none" if path is None else repr(path))
    if path is not None:
        file = Path(path).expanduser().absolute()
        tensors: dict[str, Any] = dict(read_particles(file))
        return file, particle_state(**tensors)
    if not isinstance(state, Data) or state.get("v") is None:
        raise InvalidArgument("state", "must be a Data with velocities 'v'", repr(state))
    there = {key: state.get(key) for key in ("v", "pos", "weight", "log_f")}
    given: dict[str, Any] = {key: x.detach().double().cpu() for key, x in there.items() if isinstance(x, Tensor)}
    return None, particle_state(**given)


def _drawn(given: Data, n: int, keys: Sequence[str], generator: torch.Generator) -> dict[str, Tensor]:
    count = given.v.size(0)
    if n > count:
        raise InvalidArgument("particles", f"must be at most {count:,}, those that are given", f"{n:,}")
    there = {key: given[key].to(generator.device) for key in keys if key in given}
    if n == count:
        return {key: x.clone() for key, x in there.items()}
    chosen = torch.randperm(count, generator=generator, device=generator.device)[:n].sort().values
    return {key: x[chosen] for key, x in there.items()}


def _known(problem: InitialValueProblem) -> str:
    return "known at the particles" if problem.log_density_known else "not known"
