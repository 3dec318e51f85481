"""What every problem with positions is: its density, equilibrium, rate and refusals."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from scipy.integrate import quad

from graphlandau.cli.presets import load_preset, preset_names
from graphlandau.fields import Potential, RippledWell
from graphlandau.problems import (
    InitialValueProblem,
    KineticProblem,
    LandauDamping,
    NormalMixture,
    PhaseProduct,
    Ripple,
    TwoStream,
    VFPDoubleWell,
    VFPGaussian,
    VFPPeriodic,
    VPFPBeams,
    VPFPBeamsAsPrinted,
)
from graphlandau.problems.wavenumber import require_fitting

PROBLEMS: dict[str, KineticProblem] = {
    problem.name: problem
    for problem in (
        VFPGaussian(1),
        VFPGaussian(3),
        VFPDoubleWell(1),
        VFPDoubleWell(3),
        VFPPeriodic(),
        VPFPBeams(1),
        VPFPBeams(3),
        VPFPBeamsAsPrinted(),
        LandauDamping(),
        TwoStream(),
    )
}
NORMAL = NormalMixture([1.0], [0.0], [1.0])
BOX = PhaseProduct([Ripple(2.0, 0.1)], [NORMAL])
LINE = PhaseProduct([NORMAL], [NORMAL])
PLANE = PhaseProduct([NORMAL] * 2, [NORMAL] * 2)


class Valley(Potential):
    """A potential of two coordinates that is no sum over them, periodic in neither."""

    def value(self, x):
        return 0.5 * x.square().sum(1) + 0.1 * x.prod(1)


def kinetic(initial=LINE, **changes) -> KineticProblem:
    options = {"epsilon": 1.0, "t_end": 1.0, "dt": 0.1, "particles": 10} | changes
    return KineticProblem(initial, **options)


def steady_residual(problem: KineticProblem, x: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """v . grad_x log f - grad phi . grad_v log f, and the collision flux v + T0 grad_v log f, of f_inf: both zero."""
    log_f = problem.stationary()
    x, v = x.clone().requires_grad_(True), v.clone().requires_grad_(True)
    along_x, along_v = torch.autograd.grad(log_f(x, v).sum(), (x, v))
    force = torch.zeros_like(x) if problem.potential is None else -problem.potential.gradient(x.detach())
    transport = (v[:, : problem.d_x] * along_x).sum(1) + (force * along_v[:, : problem.d_x]).sum(1)
    return torch.cat([transport[:, None], v + problem.temperature * along_v], dim=1).detach()


@pytest.mark.parametrize("name", PROBLEMS)
def test_equilibrium_solves_the_steady_equation_and_has_the_mass(name):
    problem = PROBLEMS[name]
    if problem.stationary() is None:
        assert problem.epsilon == 0
        return
    x, v = problem.sample(100, generator=torch.Generator().manual_seed(0))
    residual = steady_residual(problem, x, v)
    # Terms of up to some 10; the parts cancel to rounding.
    assert float(residual.abs().max()) < 1e-12
    f = problem.equilibrium()
    y, w = f.sample(2000, generator=torch.Generator().manual_seed(1))
    expected = math.log(problem.mass) + f.log_prob(y, w)
    assert torch.allclose(problem.stationary()(y, w), expected, rtol=1e-14)


@pytest.mark.parametrize(
    "problem",
    [VFPDoubleWell(1), VFPPeriodic(), VPFPBeams(1, temperature=2.0), VPFPBeamsAsPrinted()],
    ids=lambda problem: problem.name,
)
def test_mass_of_initial_and_stationary_density_by_quadrature(problem):
    """Adaptive in pieces. All are products rho(x) g(v), so the mass is that of two cuts over f where they meet."""
    low, high = (-12.0, 12.0) if problem.lengths is None else (0.0, problem.lengths[0])
    for log_f in (problem.log_f, problem.stationary()):

        def f(x: float, v: float, log_f=log_f) -> float:
            return float(log_f(*torch.tensor([[x], [v]], dtype=torch.float64)[:, None]).exp())

        edges = [low + (high - low) * i / 24 for i in range(25)]
        along_x = math.fsum(quad(f, a, b, (0.4,), epsrel=1e-12)[0] for a, b in pairwise(edges))
        along_v = math.fsum(quad(lambda v, f=f: f(0.3, v), a, a + 1, epsrel=1e-12)[0] for a in range(-15, 15))
        assert along_x * along_v / f(0.3, 0.4) == pytest.approx(problem.mass, rel=1e-9)


@pytest.mark.parametrize("name", PROBLEMS)
def test_particles_have_the_moments_of_the_initial_density(name):
    problem = PROBLEMS[name]
    n = 20_000
    x, v = problem.initial.sample(n, generator=torch.Generator().manual_seed(2))
    assert (x.shape, v.shape) == ((n, problem.d_x), (n, problem.d))
    if problem.initial.mean is None:
        return
    y = torch.cat([x, v], dim=1) - problem.initial.mean
    second = y[:, :, None] * y[:, None, :]
    # Four standard errors.
    assert bool((y.mean(0).abs() < 4 * y.std(0) / math.sqrt(n)).all())
    assert bool(((second.mean(0) - problem.initial.covariance).abs() < 4 * second.std(0) / math.sqrt(n)).all())


@pytest.mark.parametrize("name", PROBLEMS)
def test_a_run_draws_with_the_loading_of_the_problem(name):
    problem = PROBLEMS[name]
    assert isinstance(problem, InitialValueProblem)
    drawn = problem.draw(50, generator=torch.Generator().manual_seed(3))
    x, v = problem.initial.sample(50, generator=torch.Generator().manual_seed(3), loading=problem.loading)
    assert torch.equal(drawn["pos"], x)
    assert torch.equal(drawn["v"], v)
    assert torch.allclose(problem.log_f(x, v), problem.initial.log_prob(x, v) + math.log(problem.mass))
    assert problem.facts()["epsilon"] == problem.epsilon
    assert problem.density(problem.t_start) is not None
    assert (problem.density(problem.t_end) is None) == (not isinstance(problem, VFPGaussian))


def test_presets_are_the_problems_of_their_names():
    found = [name for name in preset_names("problem") if name in PROBLEMS]
    assert sorted(found) == sorted(PROBLEMS)
    for name in found:
        choice = load_preset("problem", name)
        assert choice.class_path == f"graphlandau.problems.{type(PROBLEMS[name]).__name__}"
        assert type(PROBLEMS[name])(**choice.init_args).name == name


def test_neutral_problems_have_mean_density_one():
    for problem in (
        VPFPBeams(1),
        VPFPBeams(3, length=10.0),
        LandauDamping(0.3),
        TwoStream(),
        LandauDamping(length=40.0 * math.pi),
    ):
        assert problem.mass == pytest.approx(problem.volume, rel=1e-15)
    assert VPFPBeamsAsPrinted().mass / VPFPBeamsAsPrinted().volume == pytest.approx(1 / (8 * math.pi), rel=1e-15)


def test_wavenumbers_that_fit():
    assert require_fitting("k", 0.25, 8 * math.pi) == 1
    assert require_fitting("k", 0.7853982, 8.0) == 1  # pi / 4 to seven digits
    assert LandauDamping(k=0.5, length=8 * math.pi).mode == 2
    with pytest.raises(
        ValueError, match=r"'k' must be a multiple of 2 pi / length = 0.25 \(got 0.2; the nearest is 0.25"
    ):
        VPFPBeams(k=0.2)
    with pytest.raises(ValueError, match=r"'k' must be a multiple of .*\(got 0.4; the nearest is 0.5\)"):
        LandauDamping(k=0.4, length=8 * math.pi)
    with pytest.raises(ValueError, match=r"\(got 0.1; the nearest is 0.25\)"):
        TwoStream(k=0.1, length=8 * math.pi)


def test_wavelengths_are_the_ripples_of_unbounded_directions():
    assert VFPDoubleWell(3).wavelengths == (1.0, 1.0, 1.0)
    for problem in (VFPGaussian(2), VPFPBeams(3)):
        assert problem.wavelengths == (None,) * problem.d_x
    assert VFPPeriodic().wavelengths == (None,)  # its box is periodic already


def test_no_equilibrium_where_nothing_leads_to_one():
    assert kinetic().stationary() is None  # no potential, no box
    assert kinetic(BOX, epsilon=0.0, lengths=(2.0,)).stationary() is None
    assert kinetic(potential=RippledWell(amplitude=1.0)).stationary() is None
    assert kinetic(PLANE, potential=Valley()).stationary() is None
    uniform = kinetic(BOX, lengths=(2.0,), temperature=4.0, mass=3.0).stationary()
    at = torch.zeros(1, 1, dtype=torch.float64)
    assert float(uniform(at, at).exp()) == pytest.approx(3 / 2 / math.sqrt(8 * math.pi), rel=1e-12)


def test_rates_are_known_without_collisions_only():
    assert LandauDamping(epsilon=0.01).rate() is None
    assert VFPPeriodic(epsilon=0.0).rate() is None
    rate = LandauDamping(k=0.5).rate()
    assert (rate.real, rate.imag) == pytest.approx((-0.1533594669, 1.4156618886), abs=1e-9)
    # The rate is that of the mode, however many of it fit into the box.
    assert LandauDamping(k=0.5, length=12 * math.pi).rate() == pytest.approx(rate, rel=1e-10)
    assert TwoStream(k=0.2, v0=2.4).rate().real == pytest.approx(0.2258, abs=1e-4)
    assert TwoStream(k=0.2, v0=3.0).rate().real == pytest.approx(0.2845, abs=1e-4)
    # Plasma frequency sqrt(M / L): with mass 4 L every rate doubles for velocities twice as large.
    hot = PhaseProduct([Ripple(4 * math.pi, 0.01)], [NormalMixture([1.0], [0.0], [2.0])])
    options = {"epsilon": 0.0, "lengths": (4 * math.pi,), "self_consistent": True, "cells": 32}
    assert kinetic(hot, mass=16 * math.pi, **options).rate() == pytest.approx(2 * rate, rel=1e-10)


def test_a_potential_of_ones_own_in_one_dimension():
    class Cosh(Potential):
        def value(self, x):
            return torch.cosh(x).sum(1)

    problem = kinetic(potential=Cosh(), temperature=0.5)
    # The integral of exp(-2 cosh x) is 2 K_0(2) = 0.227787...
    at = torch.zeros(1, 1, dtype=torch.float64)
    expected = math.exp(-2) / (2 * 0.11389387274953344) / math.sqrt(math.pi)
    assert float(problem.stationary()(at, at).exp()) == pytest.approx(expected, rel=1e-11)


class Sawtooth(Potential):
    """Not periodic on any box."""

    def value(self, x):
        return x[:, 0]


BOXED = {"lengths": (2.0,), "self_consistent": True, "cells": 16}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: kinetic("f"), r"'initial' must be a PhaseDensity \(got str\)"),
        (lambda: kinetic(epsilon=-1.0), r"'epsilon' must not be negative \(got -1\)"),
        (lambda: kinetic(epsilon=math.inf), r"'epsilon' must be a finite number \(got inf\)"),
        (lambda: kinetic(temperature=0.0), r"'temperature' must be positive \(got 0.0\)"),
        (lambda: kinetic(mass=-1.0), r"'mass' must be positive \(got -1.0\)"),
        (lambda: kinetic(dt=0.0), r"'dt' must be positive"),
        (lambda: kinetic(t_end=-1.0), r"'t_end' must be after t_start = 0"),
        (lambda: kinetic(particles=1), r"'particles' must be an integer >= 2"),
        (lambda: kinetic(mode=0), r"'mode' must be an integer >= 1"),
        (lambda: kinetic(loading="sobol"), r"'loading' must be one of random, quiet \(got 'sobol'\)"),
        (lambda: kinetic(lengths=(1.0,)), r"'lengths' must be the periods \(None,\) of 'initial' \(got \(1.0,\)\)"),
        (lambda: kinetic(BOX), r"'lengths' must be the periods \(2.0,\) of 'initial' \(got None\)"),
        (lambda: kinetic(BOX, lengths=(2.0, 2.0)), r"'lengths' must be the periods \(2.0,\)"),
        (lambda: kinetic(BOX, lengths=(-2.0,)), r"'lengths' must be positive"),
        (lambda: kinetic(potential=abs), r"'potential' must be a Potential \(got builtin"),
        (lambda: kinetic(BOX, lengths=(2.0,), potential=RippledWell(1.0)), r"must have no stiffness .* \(got 1\)"),
        (
            lambda: kinetic(BOX, lengths=(2.0,), potential=RippledWell(amplitude=1.0, wavenumber=3.0)),
            r"'potential' must be a multiple of 2 pi / length = 3.141593 \(got 3; the nearest is 3.141593\)",
        ),
        (lambda: kinetic(BOX, lengths=(2.0,), potential=Sawtooth()), r"must have period 2 along direction 0 \(got a c"),
        (lambda: kinetic(self_consistent=True), r"'self_consistent' must come with lengths and cells \(got None, None"),
        (lambda: kinetic(BOX, **BOXED | {"cells": None}), r"must come with lengths and cells \(got \(2.0,\), None\)"),
        (lambda: kinetic(BOX, **BOXED | {"cells": 3}), r"'cells' must be an integer >= 4 \(got 3\)"),
        (lambda: kinetic(BOX, **BOXED, mode=8), r"'cells' must be more than twice the mode 8 \(got 16\)"),
        (lambda: LandauDamping(amplitude=1.0), r"'amplitude' must be in \[0, 1\) \(got 1\)"),
        (lambda: LandauDamping(k=-0.5), r"'k' must be positive \(got -0.5\)"),
        (lambda: LandauDamping(epsilon=-0.5), r"'epsilon' must not be negative"),
        (lambda: LandauDamping(length=-1.0), r"'length' must be positive"),
        (lambda: TwoStream(v0=0.0), r"'v0' must be positive"),
        (lambda: TwoStream(sigma=0.0), r"'sigma' must be positive"),
        (lambda: VPFPBeams(0), r"'d' must be an integer >= 1"),
        (lambda: VPFPBeams(temperature=-1.0), r"'temperature' must be positive"),
        (lambda: VFPGaussian(0), r"'d' must be an integer >= 1"),
        (lambda: VFPGaussian(epsilon=-1.0), r"'epsilon' must not be negative"),
        (lambda: VFPDoubleWell(0), r"'d' must be an integer >= 1"),
    ],
)
def test_refuses_bad_problems(make, message):
    with pytest.raises(ValueError, match=message):
        make()
