"""What a method says of itself, whatever kind it is."""

from __future__ import annotations

import pytest
import torch

from graphlandau.base.state import particle_state
from graphlandau.methods import JKO, SBTM, Blob, Collisions, KineticJKO, Langevin, Vlasov
from graphlandau.methods.method import Facts, Frame, Scored
from graphlandau.nn import AffineControl, PhaseEmbedding
from graphlandau.nn.score import ClosedFormScore, MLPScore
from graphlandau.problems import BKW, Anisotropic, TwoStream, VFPGaussian


def test_a_method_without_pairs_or_models_has_nothing_to_say():
    assert Vlasov().facts(TwoStream(), 100) == Langevin().facts(VFPGaussian(), 100) == Facts()


def test_models_are_named():
    assert SBTM(MLPScore(2)).facts(BKW(d=2), 100).models == {"score": "MLPScore"}
    assert JKO(ClosedFormScore(2)).facts(BKW(d=2), 100).models == {"score": "ClosedFormScore"}
    assert Blob().facts(BKW(d=2), 100).models == {}
    control = AffineControl(PhaseEmbedding(1, 1))
    assert KineticJKO(control).facts(VFPGaussian(), 100).models == {"control": "AffineControl"}


@pytest.mark.parametrize(
    ("gamma", "options", "particles", "backend"),
    [
        (0.0, {}, 100, "moments"),
        (-3.0, {}, 100, "dense"),
        (-3.0, {}, 1_000_000, "mesh"),
        # What counts is how many move each other.
        (-3.0, {"batch_size": 1000}, 1_000_000, "dense"),
        (-3.0, {"backend": "edges"}, 1_000_000, "edges"),
    ],
)
def test_the_backend_is_known_before_the_run(gamma, options, particles, backend):
    facts = Blob(collisions=Collisions(**options)).facts(Anisotropic(d=3, gamma=gamma), particles)
    assert facts.backend == backend
    assert facts.batch_size == options.get("batch_size")


def test_the_backend_is_the_one_that_was_used():
    problem, method = Anisotropic(d=3, gamma=-3.0), Blob()
    v = problem.sample(50, generator=torch.Generator().manual_seed(0))
    state = method.initialise(particle_state(v), problem)
    method.evaluate(state)
    assert method.drift.used == "dense"
    assert method.facts(problem, 1_000_000).backend == "dense"


def test_what_would_need_less_memory_depends_on_what_there_is():
    coulomb, maxwell = Anisotropic(d=3, gamma=-3.0), Anisotropic(d=3, gamma=0.0)
    assert Blob().facts(coulomb, 100).savings == ("a smaller --batch_size", "--backend mesh")
    assert Blob(collisions=Collisions(backend="mesh")).facts(coulomb, 100).savings == (
        "a smaller --batch_size",
        "a larger --mesh_tolerance",
    )
    assert Blob().facts(maxwell, 100).savings == ("a smaller --batch_size",)


def test_frames_say_what_must_be_finite_and_what_is_shown():
    s, drift, jac_s = torch.zeros(3, 2), torch.ones(3, 2), torch.zeros(3, 2, 2)
    assert Frame().computed() == Frame().shown() == {}
    frame = Scored(s, drift, jac_s)
    assert frame.computed() == {"s": s, "drift": drift}
    assert frame.shown() == {"s": s}
