"""The blob method: its entropy falls, and a Gaussian relaxes at the rate of the exact solution."""

from __future__ import annotations

import pytest
import torch

from graphlandau.base.state import particle_state
from graphlandau.methods import Blob, Step
from graphlandau.nn import BlobScore
from graphlandau.problems import Anisotropic


def covariance(v):
    x = v - v.mean(0)
    return x.T @ x / len(v)


def relax(method, problem, n, t_end, steps):
    v = problem.sample(n, generator=torch.Generator().manual_seed(0))
    state = method.initialise(particle_state(v), problem)
    entropies = []
    for _ in range(steps):
        entropies.append(method.entropy(state))
        state = method.advance(state, method.evaluate(state), t_end / steps)
    return covariance(v), state, entropies


@pytest.mark.parametrize("integrator", ["euler", "midpoint"])
def test_regularised_entropy_falls(integrator):
    """dH_h/dt <= 0 at fixed bandwidth, for any number of particles; energy by midpoint exactly."""
    problem = Anisotropic(2)
    start, state, entropies = relax(Blob(0.4, step=Step(integrator=integrator, log_det="none")), problem, 100, 2.0, 20)
    falls = torch.tensor(entropies).diff()
    assert float(falls.max()) < 0
    assert float(falls.sum()) < -0.05
    energy = float(covariance(state.v).trace() / start.trace() - 1)
    assert abs(energy) < {"euler": 1e-2, "midpoint": 1e-13}[integrator]


@pytest.mark.parametrize("d", [2, 3])
def test_gaussian_relaxes_like_the_exact_covariance(d):
    """From the particles' own covariance, corrected blob, 1200 particles, dt = 0.1.

    Statistical error of a rate about sqrt(2 d / N) = 6 %, of a temperature difference that is 1.6 at the start.
    """
    problem = Anisotropic(d)
    start, state, _ = relax(Blob(0.3, step=Step(log_det="none"), correct=True), problem, 1200, 1.0, 10)
    error = float((covariance(state.v) - problem.covariance(1.0, initial=start)).norm())
    moved = float((covariance(state.v) - start).norm())
    assert moved > 0.3
    assert error < 0.08


def test_correction_matters_for_a_wide_kernel():
    """At h = 0.6, wider than the cold direction, the uncorrected blob relaxes at another rate."""
    problem, errors = Anisotropic(2), []
    for correct in (True, False):
        start, state, _ = relax(Blob(0.6, correct, step=Step(log_det="none")), problem, 800, 1.0, 10)
        errors.append(float((covariance(state.v) - problem.covariance(1.0, initial=start)).norm()))
    assert errors[0] < 0.5 * errors[1]


def test_entropy_of_the_carried_density():
    """<log f> along the trajectories against the Gaussian of the exact covariance, from which f is close.

    The Jacobian of a blob field contains each particle's own bump, a bias of the order 1 / (N h^(d+2)) in
    d<log f>/dt: it is -0.3 here at N = 400, h = 0.3, and below 0.02 at N = 1600, h = 0.5. Noise 0.02.
    """
    problem = Anisotropic(2)
    start, state, _ = relax(Blob(0.5, correct=True), problem, 1600, 1.0, 10)
    initial = float(problem.log_prob(problem.sample(1600, generator=torch.Generator().manual_seed(0))).mean())
    exact = [-0.5 * float(torch.logdet(problem.covariance(t, initial=start))) for t in (0.0, 1.0)]
    fall = float(state.log_f.mean()) - initial
    assert exact[1] - exact[0] < -0.25
    assert fall == pytest.approx(exact[1] - exact[0], abs=0.05)


@pytest.mark.parametrize("value", [0.0, -1.0, "scott"])
def test_refuses_bandwidth(value):
    with pytest.raises(ValueError, match="'bandwidth' must be"):
        Blob(value)


def test_cutoff_is_that_of_the_layer():
    state = particle_state(torch.randn(50, 2, generator=torch.Generator().manual_seed(0)))
    s, _ = Blob(0.3, cutoff=2.0).score(state)
    assert torch.equal(s, BlobScore(0.3, cutoff=2.0).value_and_jacobian(state.v)[0])
    assert not torch.allclose(s, BlobScore(0.3)(state.v), rtol=1e-3)


def test_refuses_cutoff():
    with pytest.raises(ValueError, match=r"'cutoff' must be positive \(got 0\)"):
        Blob(cutoff=0)
