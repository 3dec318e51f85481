"""Which drifts of energy and momentum are said."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch_geometric.transforms import BaseTransform

from graphlandau.base.state import particle_state
from graphlandau.methods import SBTM, Collisions, Step, Vlasov
from graphlandau.nn import GaussianScore
from graphlandau.problems import Anisotropic, LandauDamping
from graphlandau.run import Simulation


def said(*args, **options):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = Simulation(*args, snapshots=2, baselines=False, **options).run()
    return [str(w.message) for w in caught if "has moved by" in str(w.message)], result.metrics[-1]


def test_an_unstable_step_of_a_field_is_said_and_a_stable_one_is_not():
    """Störmer-Verlet is unstable for omega dt > 2; the plasma frequency is 1."""
    found, row = said(LandauDamping(), Vlasov(), particles=2000, dt=5.0, t_end=50.0)
    assert len(found) == 1
    assert row["energy_rel_drift"] > 0.01
    assert "a smaller dt than 5 is needed" in found[0]
    assert said(LandauDamping(), Vlasov(), particles=2000, dt=0.1, t_end=2.0)[0] == []


CASES = [("euler", 2.0, 1), ("euler", 0.05, 0), ("midpoint", 0.1, 0)]


@pytest.mark.parametrize(("integrator", "dt", "expected"), CASES)
def test_the_energy_of_a_step_along_the_drift(integrator, dt, expected):
    """Euler's grows by dt^2 <|U|^2> / 2 a step."""
    problem = Anisotropic(d=2, gamma=0.0, strength=0.25)
    method = SBTM(GaussianScore(2), step=Step(integrator=integrator, log_det="none"))
    found, row = said(problem, method, particles=400, dt=dt, t_end=4.0, dtype=torch.float64)
    assert len(found) == expected, (found, row)
    assert (row["energy_rel_drift"] > 0.05) == bool(expected)


def test_a_directed_graph_loses_momentum_and_that_is_said():
    class Chain(BaseTransform):
        def forward(self, data):
            data.edge_index = torch.stack([torch.arange(len(data.v) - 1), torch.arange(1, len(data.v))])
            return data

    method = SBTM(GaussianScore(2), step=Step(log_det="none"), collisions=Collisions(graph=Chain()))
    found, _ = said(Anisotropic(d=2, gamma=0.0, strength=20.0), method, particles=200, dt=0.05, t_end=1.0)
    assert any(text.startswith("the momentum has moved") and "a symmetric graph" in text for text in found)


@pytest.mark.parametrize("bulk", [0.0, 1e5])
def test_a_bulk_velocity_hides_no_heating(bulk):
    """Energy about the mean: that of the bulk is 1e10 times larger."""
    problem = Anisotropic(d=2, gamma=0.0, strength=0.25)
    v = problem.sample(400, generator=torch.Generator().manual_seed(0)) + bulk
    method = SBTM(GaussianScore(2), step=Step(log_det="none"))
    found, _ = said(problem, method, state=particle_state(v), dt=2.0, t_end=4.0, dtype=torch.float64)
    assert [text.startswith("the energy has moved") for text in found] == [True]
