"""What every problem promises, and what it refuses."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from jsonargparse import ArgumentParser

from graphlandau.cli.presets import import_class, load_preset
from graphlandau.problems import BKW, Anisotropic, Density, Gaussian, Problem
from graphlandau.run.arguments import count_steps

# Those with positions have tests of their own.
PRESETS = [
    path
    for path in sorted((Path(__file__).parents[2] / "configs" / "problem").glob("*.yaml"))
    if issubclass(import_class("problem", load_preset("problem", path.stem).class_path), Problem)
]


class Slab(Density):
    """Uniform on a square: a user's density that only samples and evaluates."""

    d = 2

    def sample(self, n, *, generator):
        return torch.rand(n, 2, generator=generator, dtype=torch.float64, device=generator.device)

    def log_prob(self, v):
        return torch.where(((v >= 0) & (v <= 1)).all(1), 0.0, -math.inf).to(v.dtype)


def problem(initial: Density | None = None, **changes) -> Problem:
    arguments = {"gamma": -3.0, "strength": 1.0, "t_end": 1.0, "dt": 0.1, "particles": 10}
    return Problem(initial or Gaussian(torch.zeros(2), torch.eye(2)), **(arguments | changes))


def test_exact_solution_only_where_it_is_known():
    p = problem(t_start=0.5)
    v = p.sample(20, generator=torch.Generator().manual_seed(0))
    assert torch.equal(p.score(v), -v)
    assert torch.equal(p.log_prob(v), p.log_prob(v, 0.5))
    assert p.density(0.7) is None
    for evaluate in (p.score, p.log_prob):
        with pytest.raises(ValueError, match=r"'t' must be 0.5, the only time .* of problem .* \(got 0.7\)"):
            evaluate(v, 0.7)
    with pytest.raises(ValueError, match=r"'t' must be 0\.5"):
        p.sample(3, generator=torch.Generator(), t=0.0)


def test_time_zero_is_a_time():
    """t = 0 is not taken for 'no time given'."""
    p = BKW(d=2, t_start=2.0)
    v = p.sample(20, generator=torch.Generator().manual_seed(0))
    assert torch.equal(p.score(v, 0.0), BKW(d=2).score(v))
    assert not torch.equal(p.score(v, 0.0), p.score(v))


def test_covariance_only_for_maxwell_molecules():
    assert problem().covariance(0.5) is None
    assert problem().covariance(0.5, torch.eye(2)) is None
    assert problem(Slab(), gamma=0.0).covariance(0.5) is None
    own = torch.tensor([[2.0, 0.3], [0.3, 1.0]])
    sigma = problem(Slab(), gamma=0.0, t_start=0.25, t_end=2.0).covariance(0.5, own)
    assert sigma.dtype == torch.float32
    decay = math.exp(-4 * 2 * 0.25)
    expected = torch.tensor([[1.5 + 0.5 * decay, 0.3 * decay], [0.3 * decay, 1.5 - 0.5 * decay]])
    assert torch.allclose(sigma, expected)


def test_covariance_refuses_a_wrong_start():
    with pytest.raises(ValueError, match=r"'initial' must have shape \(3, 3\) \(got \(2, 2\)\)"):
        Anisotropic(d=3).covariance(1.0, torch.eye(2))
    with pytest.raises(ValueError, match="'initial' must be finite"):
        Anisotropic(d=2).covariance(1.0, torch.full((2, 2), math.nan))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gamma": -9.0}, r"'gamma' must be in \[-4, 1\] \(got -9.0\)"),
        ({"gamma": 1.5}, r"'gamma' must be in \[-4, 1\] \(got 1.5\)"),
        ({"gamma": math.nan}, r"'gamma' must be in \[-4, 1\]"),
        ({"strength": 0.0}, r"'strength' must be positive \(got 0.0\)"),
        ({"dt": 0.0}, r"'dt' must be positive \(got 0.0\)"),
        ({"t_end": 0.0}, r"'t_end' must be after t_start = 0 \(got 0\)"),
        ({"t_start": math.inf}, "'t_start' must be a finite number"),
        ({"particles": 1}, r"'particles' must be an integer >= 2 \(got 1\)"),
        ({"particles": -5}, r"'particles' must be an integer >= 2 \(got -5\)"),
        ({"bandwidth": -0.1}, r"'bandwidth' must be positive \(got -0.1\)"),
        ({"grid": (0.0, 10)}, r"'grid' must be positive \(got 0.0\)"),
        ({"grid": (4.0, 1)}, r"'grid' must be an integer >= 2 \(got 1\)"),
        ({"initial": Gaussian([0.0], [[1.0]])}, r"'d' must be an integer >= 2 \(got 1\)"),
    ],
)
def test_bad_arguments_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        problem(**changes)


@pytest.mark.parametrize("preset", PRESETS, ids=lambda path: path.stem)
def test_preset_builds_the_problem_it_is_named_after(preset):
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--problem", type=Problem, sub_configs=True)
    built = parser.instantiate(parser.parse_args([f"--problem={preset}"])).problem
    assert built.name == preset.stem
    changed = parser.parse_args([f"--problem={preset}", "--problem.strength=0.5"])
    # Particles are normalised: in the time of an unnormalised density their strength has its mass in it.
    assert parser.instantiate(changed).problem.strength == 0.5 * built.mass
    count_steps(built.t_start, built.t_end, built.dt)


def test_presets_are_there():
    assert {p.stem for p in PRESETS} >= {
        "anisotropic_10d",
        "anisotropic_3d",
        "anisotropic_coulomb_3d",
        "bimaxwellian_2d",
        "bkw_2d",
        "bkw_3d",
        "mixture_3d",
        "rosenbluth_3d",
        "rosenbluth_3d_wide",
        "truncated_2d",
    }


def test_equilibrium_keeps_mean_and_energy():
    initial = Gaussian([0.5, -1.0], [[2.0, 0.3], [0.3, 1.0]])
    equilibrium = problem(initial).equilibrium()
    assert torch.equal(equilibrium.mean, initial.mean)
    assert torch.equal(equilibrium.covariance, 1.5 * torch.eye(2, dtype=torch.float64))
    assert equilibrium.entropy() == pytest.approx(-math.log(2 * math.pi * math.e * 1.5), rel=1e-14)
    assert equilibrium.entropy() < initial.entropy()
    assert problem(Slab()).equilibrium() is None


@pytest.mark.parametrize("preset", PRESETS, ids=lambda path: path.stem)
def test_no_density_has_less_entropy_than_its_equilibrium(preset):
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--problem", type=Problem, sub_configs=True)
    built = parser.instantiate(parser.parse_args([f"--problem={preset}"])).problem
    # BKW starts within 1e-3 of its Maxwellian at the least.
    assert built.initial.entropy() - built.equilibrium().entropy() > 1e-3


def test_sample_size_is_checked():
    with pytest.raises(ValueError, match=r"'n' must be an integer >= 1 \(got 0\)"):
        problem().sample(0, generator=torch.Generator())
