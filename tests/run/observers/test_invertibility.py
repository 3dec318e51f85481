"""Steps whose map is not invertible for some particles: counted, said once, and gone below the step that is named."""

from __future__ import annotations

import warnings

import pytest
import torch

from graphlandau.methods import SBTM, Step
from graphlandau.nn import ClosedFormScore
from graphlandau.problems import Truncated
from graphlandau.run import Simulation
from graphlandau.run.observers.invertibility import Invertibility


def run(dt, steps=1, integrator="euler", n=1500, log_det="exact"):
    problem = Truncated(gamma=0.0, strength=1 / 10)
    method = SBTM(ClosedFormScore(2), step=Step(integrator=integrator, log_det=log_det))
    options = {"particles": n, "dt": dt, "t_end": steps * dt, "dtype": torch.float64}
    simulation = Simulation(problem, method, snapshots=2, baselines=False, **options)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = simulation.run()
    return result, [str(w.message) for w in caught if "not invertible" in str(w.message)], simulation


@pytest.mark.parametrize("integrator", ["euler", "midpoint"])
def test_the_step_that_is_named_is_the_largest_that_passes(integrator):
    result, said, _ = run(0.3, integrator=integrator)
    passing = result.summary["dt_invertible"]
    assert result.summary["not_invertible"] > 0
    assert len(said) == 1
    assert 0 < passing < 0.3
    if integrator == "euler":  # the field of the midpoint rule depends on the step
        assert run(0.999 * passing)[0].summary["not_invertible"] == 0
        assert run(1.001 * passing)[0].summary["not_invertible"] == 1


def test_the_count_is_that_of_maps_that_turn_inside_out():
    """Against the real negative eigenvalues of the Jacobian of the step, made by hand."""
    result, said, _ = run(0.25, steps=3)
    assert len(said) == 1  # not once a step
    counts = [row["not_invertible"] for row in result.metrics]
    assert counts[0] == 0
    assert sum(counts) == result.summary["not_invertible"]
    _, _, fresh = run(0.25)
    state = fresh._initial_state()
    method = SBTM(ClosedFormScore(2))
    state = method.initialise(state, fresh.problem)
    frame = method.evaluate(state)
    by_v, by_s = method.drift.partials(state.v, frame.s)
    values = torch.linalg.eigvals(0.25 * (by_v + by_s @ frame.jac_s))
    inside_out = ((values.imag.abs() < 1e-9) & (values.real <= -1)).any(1)
    assert counts[1] == int(inside_out.sum()) > 0


def test_nothing_is_counted_where_no_density_is_carried():
    result, said, simulation = run(0.3, log_det="none")
    assert not said
    assert "not_invertible" not in result.summary
    assert Invertibility.of(simulation.method) == []
