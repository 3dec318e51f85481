"""PIC-JKO: velocities across the field, determinants of whole steps, dissipation, an independent reference."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kinetic_runs import affine, features, phase, run

from graphlandau.cli.option_groups import closed
from graphlandau.methods import PICJKO, ControlTraining, Push, Vlasov
from graphlandau.nn.conv import Gather
from graphlandau.problems import LandauDamping, VFPGaussian, VPFPBeams

pytestmark = pytest.mark.usefixtures("small_and_quick")


def test_velocities_across_the_field_relax_alone():
    problem, n = VPFPBeams(d=3, epsilon=0.5, cells=16), 2000
    errors = []
    start = problem.draw(n, generator=torch.Generator().manual_seed(0))["v"]
    for dt in (0.1, 0.05):
        v = run(problem, PICJKO(affine(problem)), particles=n, dt=dt, t_end=1.0, metrics_every=50).state.v
        assert v[:, 1:].mean(0).tolist() == pytest.approx([0, 0], abs=1e-3)  # as in the quiet start
        correlation = torch.corrcoef(v.T)
        # Independent of each other and of the field's direction, within four standard errors.
        assert float((correlation - torch.eye(3)).abs().max()) < 4 / math.sqrt(n)
        exact = 1 + (float(start[:, 1:].var(0).mean()) - 1) * math.exp(-1.0)
        errors.append(float(v[:, 1:].var(0).mean()) - exact)
        assert float(v[:, 1:].var(0).mean()) == pytest.approx(problem.transverse_variance(1.0), abs=0.05)
    # The variance of the sample follows the same equation: only the first order in dt is left.
    assert math.log2(errors[0] / errors[1]) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("options", [{"control_at": "old", "map": "drift_kick"}, {"map": "verlet"}], ids=["old", "new"])
@pytest.mark.parametrize("d", [1, 2])
def test_the_log_density_changes_by_the_determinant_of_the_whole_step(options, d):
    problem, dt = VPFPBeams(d=d, epsilon=2.0, cells=8), 0.1
    methods = [PICJKO(features(problem, 6, 0.1), **closed(PICJKO, {"order": 3} | options)) for _ in range(2)]
    start, end = (
        run(problem, method, particles=80, dt=dt, t_end=t).state for method, t in zip(methods, (0.1, 0.2), strict=True)
    )
    control, gather = methods[1].model, Gather(methods[1].force.grid, 3)

    def step(z):
        x, v = z[None, :1], z[None, 1:]

        def kick(v, share, x, field):
            force = gather(methods[1].force.wrap(x), field)
            return torch.cat([v[:, :1] + share * dt * force, v[:, 1:]], dim=1)

        # A test particle in the fields of before and after.
        old = "control_at" in options
        half = v if old else kick(v, 0.5, x, start.field)
        moved = x + dt * half[:, :1]
        after = kick(half, 1.0 if old else 0.5, moved, end.field)
        u = control(x, v) if old else control(moved, after)
        return torch.cat([moved, after + dt * u], dim=1)[0]

    ended = torch.stack([step(z) for z in phase(start)])
    torch.testing.assert_close(ended[:, 1:], end.v, rtol=0, atol=1e-12)
    log_det = step_determinants_one_by_one(start, step).log()
    assert float(log_det.std()) > 1e-3  # not the same for all particles: the features are in use
    torch.testing.assert_close(start.log_f - end.log_f, log_det, rtol=0, atol=1e-10)


def step_determinants_one_by_one(start, step):
    """Determinants by automatic differentiation of a step whose scatter operations do not vectorise."""
    return torch.stack([torch.linalg.det(torch.autograd.functional.jacobian(step, z)) for z in phase(start)])


def test_the_printed_determinant_differs_in_second_order_per_step():
    problem, gaps = VPFPBeams(epsilon=2.0, cells=8), []
    for dt in (0.02, 0.01):
        ends = [
            run(
                problem,
                PICJKO(
                    affine(problem),
                    training=ControlTraining(log_det=log_det),
                    push=Push(map="drift_kick"),
                    control_at="old",
                ),
                particles=60,
                dt=dt,
                t_end=dt,
            ).state.log_f
            for log_det in ("exact", "trace")
        ]
        gaps.append(float((ends[0] - ends[1]).abs().max()))
    # What is left out, dt^2 u_x, and the square of dt tr u_v.
    assert math.log2(gaps[0] / gaps[1]) == pytest.approx(2, abs=0.15)


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    n=st.integers(20, 80),
    dt=st.floats(1e-3, 0.5),
    epsilon=st.sampled_from([0.005, 1.0, 10.0]),
    d=st.sampled_from([1, 3]),
    control=st.sampled_from([affine, features]),
    options=st.sampled_from([{}, {"map": "kick_drift", "field": "ampere"}, {"map": "drift_kick", "control_at": "old"}]),
)
def test_the_free_energy_falls_in_every_collision_step(seed, n, dt, epsilon, d, control, options):
    problem = VPFPBeams(d=d, epsilon=epsilon, cells=8, loading="random")
    rows = run(
        problem, PICJKO(control(problem), **closed(PICJKO, options)), particles=n, dt=dt, t_end=2 * dt, seed=seed
    ).metrics
    for before, after in pairwise(rows):
        collisions, map_energy = after["collision_free_energy_change"], after["map_energy_change"]
        scale = problem.mass + abs(after["free_energy"]) + after["energy"]
        # Rest, u = 0, is among the controls. Rounding of sums.
        assert collisions <= 1e-12 * scale
        change = after["free_energy"] - before["free_energy"]
        assert change == pytest.approx(collisions + map_energy, abs=1e-12 * scale)


def test_momentum_decays_by_friction_alone():
    class Drift(LandauDamping):
        def draw(self, n, *, generator):
            drawn = super().draw(n, generator=generator)
            return {"pos": drawn["pos"], "v": drawn["v"] + 0.5}

    problem = Drift(epsilon=1.0, amplitude=0.3, cells=16)
    rows = run(problem, PICJKO(affine(problem)), particles=300, t_end=1.0).metrics
    momenta = [row["momentum"] for row in rows]
    # The field pushes no momentum in; the minimum over constants added to u divides it by 1 + eps dt. Solves end at
    # eight digits.
    for before, after in pairwise(momenta):
        assert after == pytest.approx(before / 1.1, rel=1e-6)


def test_weak_collisions_leave_vlasovs_solution():
    problem, free = VPFPBeams(epsilon=1e-9, cells=16), VPFPBeams(epsilon=0.0, cells=16)
    with_them = run(problem, PICJKO(affine(problem)), particles=200, dt=0.1).state
    without = run(free, Vlasov(), particles=200, dt=0.1).state
    # Forty steps of eps u with u of order T_0 / sigma^2 = 11.
    torch.testing.assert_close(with_them.v, without.v, rtol=0, atol=1e-6)


def reference(x, v, epsilon, cells, dt, steps, seed):
    """Euler-Maruyama particle in cell in numpy: the integral of E^2 over the box at every step."""
    rng, length, n = np.random.default_rng(seed), 8 * np.pi, len(x)
    k = 2 * np.pi * np.fft.rfftfreq(cells, length / cells)

    def field(x):
        left, share = np.divmod(x / (length / cells), 1)
        left = left.astype(int) % cells
        count = np.bincount(left, 1 - share, cells) + np.bincount((left + 1) % cells, share, cells)
        rho = np.fft.rfft(count * cells / n)
        spectrum = np.zeros_like(rho)
        spectrum[1:-1] = rho[1:-1] / (1j * k[1:-1])
        nodes = np.fft.irfft(spectrum, cells)
        return (1 - share) * nodes[left] + share * nodes[(left + 1) % cells], length * np.mean(nodes**2)

    force, square = field(x)
    history = [square]
    for _ in range(steps):
        v = v + 0.5 * dt * force
        x = (x + dt * v) % length
        force, square = field(x)
        history.append(square)
        v = v + 0.5 * dt * force
        v = (1 - epsilon * dt) * v + np.sqrt(2 * epsilon * dt) * rng.standard_normal(n)
    return history


@pytest.mark.parametrize(("epsilon", "dt"), [(0.005, 0.02), (10.0, 0.005)])
def test_the_field_is_that_of_euler_maruyama(epsilon, dt):
    n, cells, t_end = 2000, 32, 0.5
    problem = VPFPBeams(epsilon=epsilon, cells=cells)
    rows = run(problem, PICJKO(features(problem)), particles=n, dt=dt, t_end=t_end).metrics
    ours = np.array([row["e2"] for row in rows])
    start = problem.draw(n, generator=torch.Generator().manual_seed(0))
    x, v = start["pos"][:, 0].numpy(), start["v"][:, 0].numpy()
    theirs = np.array([reference(x, v, epsilon, cells, dt, len(rows) - 1, seed) for seed in range(10)])
    # The same particles, so the noise of collisions alone; ten runs give the spread of one, and their mean.
    assert ours[0] == pytest.approx(theirs[0, 0], rel=1e-12)
    assert (np.abs(ours - theirs.mean(0)) <= 4 * theirs.std(0, ddof=1) + 1e-12).all()


def test_refuses_what_it_is_not_for():
    problem = VFPGaussian()
    with pytest.raises(ValueError, match=r"'method' must be kinetic_jko for vfp_gaussian_1d, .* no field"):
        run(problem, PICJKO(affine(problem)), particles=20)
    with pytest.raises(ValueError, match=r"'map' must be 'drift_kick' for control_at 'old' \(got 'verlet'\)"):
        PICJKO(affine(problem), control_at="old")
    with pytest.raises(ValueError, match="'control_at' must be"):
        PICJKO(affine(problem), control_at="both")
    none = LandauDamping()
    with pytest.raises(ValueError, match=r"'epsilon' must be positive for a method with collisions \(got 0\)"):
        run(none, PICJKO(affine(none)), particles=20)


def test_a_step_that_is_not_invertible_in_a_gap_says_so_once(caplog):
    """Two beams at +-1.5 and a long step: where no particle is, between them, v'(v) turns back."""
    problem = VPFPBeams(epsilon=10.0)
    with caplog.at_level("WARNING", logger="graphlandau"):
        run(problem, PICJKO(features(problem)), particles=400, dt=0.1, t_end=0.2)
    (warning,) = [record.getMessage() for record in caplog.records if "not invertible between" in record.getMessage()]
    assert "would have passed" in warning
