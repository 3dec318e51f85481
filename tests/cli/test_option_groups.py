"""Flat keys in place of option groups: opened for the parser, closed for the constructor, refused by their own name."""

from dataclasses import asdict, dataclass, fields

import pytest
from jsonargparse import ArgumentParser

from graphlandau import methods
from graphlandau.cli.arguments import known_keys, read_arguments
from graphlandau.cli.config import compose
from graphlandau.cli.option_groups import add_arguments, closed, groups_of, keys_of
from graphlandau.methods import JKO, PINN, Blob, Collisions, EpochFit, InnerStep, LandauTransport, Step

CONCRETE = ["Blob", "SBTM", "JKO", "PINN", "KineticJKO", "PICJKO", "KineticSBTM", "VelocityMatching", "Vlasov"]


def composed(*argv):
    return compose(read_arguments(argv))


@pytest.mark.parametrize("name", CONCRETE)
def test_every_option_is_one_key_with_its_meaning(name):
    found = getattr(methods, name)
    keys, networks = keys_of(found), {"score", "flow", "control"}
    assert len(keys) == len(set(keys))
    parser = ArgumentParser(exit_on_error=False)
    add_arguments(parser, found, "method", {"seed", *networks})
    known = known_keys(parser)
    assert set(known) == {f"method.{key}" for key in keys if key not in {"seed", *networks}}
    assert [key for key, action in known.items() if not action.help or action.help == "==SUPPRESS=="] == []


@pytest.mark.parametrize("name", CONCRETE)
def test_groups_closed_over_their_own_values_are_the_defaults(name):
    found = getattr(methods, name)
    groups = groups_of(found)
    flat = {key: value for group in groups.values() for key, value in vars(group).items()}
    assert closed(found, flat) == groups
    assert closed(found, {}) == {}


def test_the_defaults_of_a_method_are_those_of_its_own_groups():
    assert closed(JKO, {"integrator": "rk4"}) == {"step": InnerStep(integrator="rk4")}
    assert closed(JKO, {"epochs": 5})["fit"] == EpochFit(epochs=5, learning_rate=1e-4, minibatch=None)


def test_a_class_that_hands_its_options_on_has_the_keys_of_the_one_above():
    class Mine(LandauTransport):
        def __init__(self, depth: int = 1, **options):
            super().__init__(**options)

    assert set(keys_of(Mine)) == {"depth", "seed", *asdict(Step()), *(f.name for f in fields(Collisions))}
    assert closed(Mine, {"depth": 2, "log_det": "none"}) == {"depth": 2, "step": Step(log_det="none")}


def test_a_default_in_a_signature_is_that_of_the_group():
    @dataclass(frozen=True)
    class Few:
        steps: int = 5

    class Mine:
        def __init__(self, few: Few = Few(steps=2)):
            self.few = few

    parser = ArgumentParser(exit_on_error=False)
    add_arguments(parser, Mine, "method", set())
    assert parser.get_defaults()["method.steps"] == 2


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ("--problem bkw_2d --method blob --integrator leapfrog", "'method.integrator' must be one of euler, midpoint"),
        ("--problem bkw_2d --method blob --mesh_tolerance 0", r"'method.mesh_tolerance' must be positive \(got 0.0\)"),
        ("--problem bkw_2d --method jko --method.epochs 0", "'method.epochs' must be an integer >= 1"),
        ("--problem landau_damping --method vlasov --method.map leap", "'method.map' must be one of verlet"),
        ("--problem landau_damping --method vlasov --method.steps 3", "'method.steps' is not a known key"),
        ("--problem vfp_gaussian_1d --method kinetic_jko --method.cells 3", "'method.cells' is not a known key"),
    ],
)
def test_what_a_group_refuses_is_refused_under_its_flat_key(argv, message):
    with pytest.raises(ValueError, match=message):
        composed(*argv.split()).simulation()


def test_a_flow_takes_the_tolerance_that_its_own_message_recommends():
    """``Facts.savings`` says ``a larger --mesh_tolerance`` on a mesh; the key has to exist."""
    line = "--problem anisotropic_coulomb_3d --method pinn_pm --backend mesh --mesh_tolerance 0.05"
    method = composed(*line.split()).simulation().method
    assert isinstance(method, PINN)
    assert method.collisions == Collisions(backend="mesh", mesh_tolerance=0.05)
    assert "a larger --mesh_tolerance" in method.facts(composed(*line.split()).problem, 100).savings


def test_groups_are_frozen_and_checked_once():
    with pytest.raises(ValueError, match="'batch_size' must be an integer >= 2"):
        Collisions(batch_size=1)
    with pytest.raises(AttributeError):
        Collisions().backend = "dense"
    like = Blob(collisions=Collisions(mesh_tolerance=0.02))
    assert Blob(collisions=like.collisions).collisions is like.collisions
