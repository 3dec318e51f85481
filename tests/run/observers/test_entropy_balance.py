"""The change of the carried entropy against the integral of its dissipation."""

from __future__ import annotations

import itertools
import warnings

import pytest
import torch

from graphlandau.methods import SBTM, Blob, Collisions, Step
from graphlandau.methods.transport import LandauTransport
from graphlandau.nn import ClosedFormScore
from graphlandau.problems import BKW, Anisotropic
from graphlandau.run import Simulation


class Exact(LandauTransport):
    """Follows the exact score of BKW, with its Jacobian."""

    def score(self, state):
        v = state.v.detach().requires_grad_()
        with torch.enable_grad():
            s = BKW(d=2).score(v, state.t)
            rows = [torch.autograd.grad(column.sum(), v, retain_graph=True)[0] for column in s.unbind(1)]
        return s.detach(), torch.stack(rows, 1)


class Doubled(SBTM):
    """The log-density changes twice as fast as it should."""

    def _log_det(self, *args):
        return 2 * super()._log_det(*args)


def run(problem, method, n=1000, **options):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = Simulation(problem, method, particles=n, snapshots=2, baselines=False, **options).run()
    return result.metrics, [str(w.message) for w in caught if "was dissipated" in str(w.message)]


@pytest.mark.parametrize("batch_size", [None, 100])
def test_it_is_the_change_of_the_entropy_less_the_trapezoidal_sum_of_the_dissipation(batch_size):
    method = SBTM(ClosedFormScore(2), collisions=Collisions(batch_size=batch_size))
    rows, _ = run(BKW(d=2), method, n=400, dt=0.1, t_end=0.5, dtype=torch.float64)
    integral = 0.0
    for before, row in itertools.pairwise(rows):
        integral += 0.05 * (before["entropy_dissipation"] + row["entropy_dissipation"])
        expected = row["entropy"] - rows[0]["entropy"] - integral
        assert row["entropy_balance"] == pytest.approx(expected, rel=1e-9, abs=1e-13)


@pytest.mark.parametrize("integrator", ["euler", "midpoint"])
def test_the_exact_score_is_in_balance(integrator):
    """To 6 % of the change with 2,000 particles and steps of 0.2, of which the sample has 5 (4 with 20,000)."""
    rows, said = run(BKW(d=2), Exact(step=Step(integrator=integrator)), n=2000, dt=0.2, t_end=2.0, dtype=torch.float64)
    assert not said
    assert abs(rows[-1]["entropy_balance"]) < 0.1 * (rows[0]["entropy"] - rows[-1]["entropy"])


def test_a_log_density_that_is_carried_wrongly_is_said_once():
    rows, said = run(BKW(d=2), Doubled(ClosedFormScore(2)), dt=0.05, t_end=2.0)
    assert len(said) == 1
    assert rows[-1]["entropy_balance"] < 0.4 * (rows[-1]["entropy"] - rows[0]["entropy"])


def test_a_blob_that_gives_coulomb_particles_too_little_entropy_is_said_and_a_fitted_score_is_not():
    """The blob score of 800 particles in 3D sees each of them: its divergence there is too large."""
    problem, options = Anisotropic(d=3, gamma=-3.0, strength=0.5), {"n": 800, "dt": 0.1, "t_end": 1.0}
    assert run(problem, Blob(), **options)[1]
    assert not run(problem, SBTM(ClosedFormScore(3)), **options)[1]


def test_nothing_is_measured_where_no_density_is_carried():
    rows, _ = run(BKW(d=2), SBTM(ClosedFormScore(2), step=Step(log_det="none")), n=200, dt=0.1, t_end=0.2)
    assert "entropy_balance" not in rows[-1]


class Maxwellian(LandauTransport):
    """The score of the unit Maxwellian, whose drift is rounding."""

    def score(self, state):
        return -state.v, -torch.eye(2, dtype=state.v.dtype).expand(len(state.v), 2, 2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rounding_is_not_said(dtype):
    rows, said = run(Anisotropic(d=2, gamma=-3.0, strength=0.1), Maxwellian(), n=300, dt=0.1, t_end=1.0, dtype=dtype)
    assert not said
    assert abs(rows[-1]["entropy_balance"]) < 1e-4
