"""Runs from particles of a user's own: the physics is that of the equation, and nothing is said that is not known."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from graphlandau.base.state import particle_state
from graphlandau.cli.main import main
from graphlandau.fields import RippledWell
from graphlandau.methods import JKO, PINN, SBTM, Blob, KineticJKO, Langevin, Step, Vlasov
from graphlandau.nn import ClosedFormScore, MLPScore, TimeMLP
from graphlandau.nn.control import AffineControl, PhaseEmbedding
from graphlandau.problems import BKW, Gaussian, LandauDamping, PhaseSamples, Samples, VFPGaussian
from graphlandau.problems.densities.unknown import UnknownDensity, UnknownPhaseDensity
from graphlandau.run import RunRecord, Simulation
from graphlandau.training import Fit

UNKNOWN = ("entropy", "not_invertible", "dt_invertible", "kl", "log_f", "rel_fisher", "free_energy", "rel_l2")


def generator(seed: int = 3) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def beam(n: int = 400, d: int = 2, shift: float = 1.0) -> Tensor:
    """A plasma that is neither centred nor isotropic."""
    spread = torch.linspace(0.5, 1.5, d, dtype=torch.float64)
    return torch.randn(n, d, generator=generator(), dtype=torch.float64) * spread + shift


def run(problem: Any, method: Any, **options: Any) -> Any:
    defaults = {"dt": 0.05, "t_end": 0.1, "dtype": torch.float64, "snapshots": 2}
    return Simulation(problem, method, **defaults | options).run()


def names(result: Any) -> set[str]:
    return {*result.metrics[0], *result.summary}


def test_the_equation_conserves_and_relaxes_the_given_particles():
    v = beam(600)
    weight = torch.rand(600, generator=generator(), dtype=torch.float64)
    problem = Samples(state=particle_state(v, weight=weight), gamma=-2.0, strength=0.3)
    result = run(problem, SBTM(ClosedFormScore(2), step=Step(integrator="midpoint")))
    rows = result.metrics
    assert rows[-1]["energy_rel_drift"] < 1e-9
    assert rows[-1]["momentum_abs_drift"] < 1e-12
    assert rows[-1]["equilibrium_distance"] < rows[0]["equilibrium_distance"]
    w = weight / weight.sum()
    mean = w @ v
    T = float(w @ (v - mean).square().sum(1)) / 2
    equilibrium = problem.equilibrium()
    assert torch.allclose(equilibrium.mean, mean)
    assert torch.allclose(equilibrium.covariance, T * torch.eye(2, dtype=torch.float64))
    assert rows[-1]["temperature"] == pytest.approx(T, rel=1e-9)


def test_the_covariance_of_maxwell_molecules_follows_the_formula():
    r""":math:`\Sigma(t) = T I - (T I - \Sigma_0) e^{-4 d C t}` holds for the particles themselves."""
    v = beam(6000)
    result = run(
        Samples(state=particle_state(v), gamma=0.0, strength=0.1), SBTM(ClosedFormScore(2)), dt=0.02, t_end=0.5
    )
    sigma = torch.cov(v.T, correction=0)
    isotropic = sigma.trace() / 2 * torch.eye(2, dtype=torch.float64)
    moved = float((isotropic - sigma).norm()) * (1 - math.exp(-8 * 0.1 * 0.5))
    assert result.metrics[-1]["cov_sample_error"] < 0.1 * moved
    assert "cov_frobenius_error" not in names(result)


def test_nothing_that_is_not_known_is_reported(caplog: pytest.LogCaptureFixture):
    caplog.set_level("INFO")
    for method in (Blob(), SBTM(ClosedFormScore(2)), JKO(ClosedFormScore(2))):
        caplog.clear()
        result = run(Samples(state=particle_state(beam()), strength=0.01), method)
        # What the Maxwellian has, and the rate that score and drift give, are known.
        known = {"entropy_dissipation", "entropy_equilibrium"}
        assert not [name for name in names(result) - known if name.startswith(UNKNOWN)]
        assert "log_f" not in result.state
        assert result.summary["initial_density"] == "not known"
        assert "no log-density, entropy or KL" in caplog.text


def test_a_known_problem_keeps_its_entropy():
    result = run(BKW(d=2), Blob(), particles=60)
    assert {"entropy", "kl"} <= names(result)
    assert "initial_density" not in result.summary


def test_a_log_density_that_is_given_is_carried():
    """Along the flow of a known Gaussian: the entropy starts at the mean of the given logarithms and falls."""
    density = Gaussian([0.5, -0.5], [[2.0, 0.3], [0.3, 0.4]])
    v = density.sample(500, generator=generator())
    state = particle_state(v, log_f=density.log_prob(v))
    result = run(Samples(state=state, gamma=0.0, strength=0.1), SBTM(ClosedFormScore(2)))
    assert result.metrics[0]["entropy"] == pytest.approx(float(density.log_prob(v).mean()), abs=1e-12)
    assert result.metrics[-1]["entropy"] < result.metrics[0]["entropy"]
    assert result.summary["initial_density"] == "known at the particles"


def test_the_initial_score_is_fitted_to_the_samples():
    """Not to a standard normal, which is another density by far: the relative error to the true score is small."""
    density = Gaussian([2.0, -1.0], [[1.5, 0.4], [0.4, 0.5]])
    v = density.sample(2000, generator=generator())
    torch.manual_seed(0)
    method = SBTM(MLPScore(2, width=16, depth=2), fit=Fit(learning_rate=1e-2, initial_steps=600))
    simulation = Simulation(
        Samples(state=particle_state(v), strength=0.01), method, dt=0.1, t_end=0.1, dtype=torch.float64
    )
    state = particle_state(v)
    method.initialise(state, simulation.problem)
    exact = density.score(v)
    error = float((method.model(v) - exact).square().sum() / exact.square().sum())
    stand_in = float((-v - exact).square().sum() / exact.square().sum())
    assert error < 0.05 < stand_in


def test_all_particles_or_some_of_them_without_replacement():
    v = beam(50)
    problem = Samples(state=particle_state(v, weight=torch.arange(1.0, 51.0, dtype=torch.float64)))
    assert problem.particles == 50
    assert torch.equal(problem.draw(50, generator=generator())["v"], v)
    drawn = problem.draw(20, generator=generator())
    rows = [int((v == row).all(1).nonzero()) for row in drawn["v"]]
    assert len(set(rows)) == 20
    assert torch.allclose(drawn["weight"] * 50 * 51 / 2, torch.tensor(rows, dtype=torch.float64) + 1)
    with pytest.raises(ValueError, match=r"'particles' must be at most 50, those that are given \(got 51\)"):
        run(problem, Blob(), particles=51)


@pytest.mark.parametrize("gamma", [0.0, -2.0, -3.0])
def test_the_default_time_step_has_the_unit_of_the_particles(gamma: float):
    """In units in which velocities are c times as large, times are :math:`c^{-gamma}` times as large."""
    v, c = beam(100), 1e5
    small, large = (Samples(state=particle_state(x), gamma=gamma, strength=0.7) for x in (v, c * v))
    assert large.dt == pytest.approx(small.dt * c**-gamma, rel=1e-9)
    assert large.t_end == pytest.approx(200 * large.dt)


def test_a_state_given_to_a_run_starts_it():
    """From the particles of BKW, the particles of BKW follow; what is known of BKW is not said of them."""
    method = Blob(step=Step(log_det="none"))
    whole = run(BKW(d=2), method, particles=80, seed=5, baselines=False)
    v = BKW(d=2).sample(80, generator=generator(5))
    given = run(BKW(d=2), method, state=particle_state(v))
    assert torch.equal(given.state.v, whole.state.v)
    assert not [name for name in names(given) if name.startswith(("kl", "rel_fisher", "cov_frobenius"))]
    with pytest.raises(ValueError, match=r"'state' must have 3 velocities, as bkw_3d"):
        run(BKW(d=3), method, state=particle_state(v))
    with pytest.raises(ValueError, match="'state' must be a Data with velocities"):
        run(BKW(d=2), method, state=v)


def test_a_state_with_positions_starts_a_kinetic_run():
    problem = LandauDamping()
    x, v = problem.sample(200, generator=generator(0))
    whole = run(problem, Vlasov(), particles=200, seed=0)
    given = run(problem, Vlasov(), state=particle_state(v, pos=x))
    assert torch.equal(given.state.v, whole.state.v)
    assert torch.equal(given.state["field"], whole.state["field"])
    assert "entropy" in names(whole)
    assert not [name for name in names(given) if name.startswith(UNKNOWN)]


def test_kinetic_collisions_need_no_density():
    """Langevin and the kinetic JKO scheme heat cold particles to the background, with no word of an entropy."""
    v = 0.1 * torch.randn(500, 1, generator=generator(), dtype=torch.float64)
    state = particle_state(v, pos=v.flip(0))
    problem = PhaseSamples(state=state, epsilon=1.0, potential=RippledWell(stiffness=1.0), dt=0.05, t_end=0.5)
    for method in (Langevin(), KineticJKO(AffineControl(PhaseEmbedding(1, 1)))):
        result = run(problem, method, t_end=0.5)
        assert result.metrics[-1]["kinetic"] > 3 * result.metrics[0]["kinetic"]
        # That of the equilibrium has nothing to do with the particles.
        assert not [name for name in names(result) - {"free_energy_equilibrium"} if name.startswith(UNKNOWN)]


def test_what_needs_a_density_says_so():
    problem = Samples(state=particle_state(beam()))
    for ask in (problem.log_prob, problem.score):
        with pytest.raises(ValueError, match="must have a known density"):
            ask(beam(5))
    with pytest.raises(ValueError, match="must have a known initial density for pinn_pm"):
        run(problem, PINN(TimeMLP(2), TimeMLP(2)))
    for density in (UnknownDensity(2), UnknownPhaseDensity(1, 1, (None,))):
        with pytest.raises(ValueError, match="must be a known density"):
            density.sample(3, generator=generator())


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Samples(), r"'path' must be given: a file with particles \(got none\)"),
        (lambda: Samples("v.npy", state=particle_state(beam())), "'path' must not be given with 'state'"),
        (lambda: Samples(state=particle_state(torch.ones(9, 2))), "'state' must hold particles at several velocities"),
        (lambda: Samples(state=particle_state(beam(d=1))), "'d' must be an integer >= 2"),
        (lambda: PhaseSamples(state=particle_state(beam())), "'state' must hold positions 'pos'"),
        (
            lambda: PhaseSamples(state=particle_state(beam(3), pos=beam(3), weight=torch.tensor([1.0, 2, 3]).double())),
            "'state' must hold particles of one weight",
        ),
    ],
)
def test_what_does_not_fit_is_refused(make: Any, said: str):
    with pytest.raises(ValueError, match=said):
        make()


def test_positions_of_a_homogeneous_plasma_are_said_to_take_no_part(caplog: pytest.LogCaptureFixture):
    Samples(state=particle_state(beam(9), pos=beam(9)))
    assert "positions take no part" in caplog.text


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    np.save("v.npy", beam(90).numpy().astype(np.float32))
    x, v = VFPGaussian().sample(90, generator=generator())
    np.savez("phase.npz", position=x.numpy(), velocity=v.numpy())
    return tmp_path


RUN = "--dt 0.01 --t_end 0.04 --snapshots 3 --checkpoint_every 1"


def test_a_file_is_run_and_taken_up_from_elsewhere(here: Path, capsys: pytest.CaptureFixture[str]):
    line = f"run --problem samples --problem.path v.npy --problem.gamma 0 --method sbtm {RUN}"
    assert main([*line.split(), "--figures", "false", "--out", "a"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("samples · sbtm · closed_form · 90 particles")
    assert "not known: the particles are given" in out
    summary = json.loads(Path("a/summary.json").read_text())
    assert (summary["gamma"], summary["particles"], summary["initial_density"]) == (0.0, 90, "not known")
    (here / "elsewhere").mkdir()
    with pytest.MonkeyPatch.context() as moved:
        moved.chdir(here / "elsewhere")
        assert main(["run", "--resume", "../a", "--t_end", "0.06"]) == 0
    # What is drawn needs the folder alone.
    there = RunRecord(Path("a")).problem.equilibrium()
    Path("v.npy").unlink()
    alone = RunRecord(Path("a")).problem.equilibrium()
    assert torch.allclose(alone.covariance, there.covariance, rtol=1e-6)
    assert torch.allclose(alone.mean, there.mean, rtol=1e-6)


@pytest.mark.slow  # ten pictures
def test_runs_of_samples_are_drawn_without_their_files(here: Path):
    for problem, method in {
        "samples --problem.path v.npy": "blob",
        "phase_samples --problem.path phase.npz --problem.epsilon 0.5": "langevin",
    }.items():
        line = f"run --problem {problem} --method {method} {RUN} --figures false --out {method}"
        assert main(line.split()) == 0
    for file in ("v.npy", "phase.npz"):
        Path(file).unlink()
    for method in ("blob", "langevin"):
        assert main(["plot", method]) == 0
        assert Path(method, "figures", "overview.png").exists()


def test_a_file_with_positions_is_run(here: Path):
    line = f"run --problem phase_samples --problem.path phase.npz --problem.epsilon 0.5 --method langevin {RUN}"
    assert main([*line.split(), "--figures", "false", "--out", "a"]) == 0
    assert json.loads(Path("a/summary.json").read_text())["problem"] == "phase_samples"


def test_a_run_that_is_refused_leaves_nothing(here: Path, capsys: pytest.CaptureFixture[str]):
    before = sorted(here.iterdir())
    for line, said in {
        "samples --method blob": "'problem.path' must be given: a file with particles",
        "samples --problem.path none.npy --method blob": "'problem.path' must be a readable file",
        "samples --problem.path v.npy --method blob --particles 91": "'particles' must be at most 90",
        "samples --problem.path v.npy --method vlasov": "'method' must be one for the equation of samples",
        "samples --problem.path v.npy --method blob --certificate true": "needs an initial density that is known",
        "sample --problem.path v.npy --method blob": "did you mean 'samples'?",
        "phase_samples --problem.path v.npy --method vlasov": "'problem.path' must hold positions",
    }.items():
        assert main(["run", "--problem", *line.split(), "--out", "a"]) == 2
        assert said in capsys.readouterr().err.splitlines()[-1]
    assert sorted(here.iterdir()) == before
    assert main(["list"]) == 0
    assert "  samples " in capsys.readouterr().out
