"""Integrators by name, by import path, as objects; what is none is refused."""

import pytest

from graphlandau.integrators import INTEGRATORS, Midpoint, RungeKutta, explicit_integrator, integrator_of
from graphlandau.methods import Blob, Step

HEUN = RungeKutta(order=2, a=((), (1.0,)), weights=(0.5, 0.5))


def test_a_name_an_object_and_a_path():
    assert integrator_of("midpoint") == Midpoint()
    assert integrator_of(HEUN) is HEUN
    assert explicit_integrator("rk4") is INTEGRATORS["rk4"]


def test_a_strangers_scheme_needs_no_registration(tmp_path, monkeypatch):
    (tmp_path / "my_schemes.py").write_text(
        "from graphlandau.integrators import RungeKutta\n"
        "heun = RungeKutta(order=2, a=((), (1.0,)), weights=(0.5, 0.5))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert integrator_of("my_schemes.heun") == HEUN
    assert explicit_integrator("my_schemes.heun") == HEUN
    assert Blob(step=Step(integrator="my_schemes.heun")).integrator == HEUN


@pytest.mark.parametrize("given", ["leapfrog", "no_such_module.heun", "math.pi", 3])
def test_refuses_what_is_none(given):
    with pytest.raises(ValueError, match=f"'integrator' must be one of {', '.join(INTEGRATORS)}, or a"):
        integrator_of(given)


def test_an_implicit_scheme_is_no_explicit_one():
    with pytest.raises(ValueError, match=r"'integrator' must be one of euler, rk4, .* \(got 'midpoint'\)"):
        explicit_integrator("midpoint")


def test_what_went_wrong_in_a_users_module_is_kept(tmp_path, monkeypatch):
    (tmp_path / "my_broken.py").write_text("import no_such_package\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match="ModuleNotFoundError: No module named 'no_such_package'") as refused:
        integrator_of("my_broken.heun")
    assert isinstance(refused.value.__cause__, ModuleNotFoundError)
