"""Forces: potentials in boxes, the field of charges, Ampère's law, refusals."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kinetic_runs import Drifting, WarmGaussian, run

from graphlandau.fields import Ampere, RippledWell
from graphlandau.methods import Langevin, Mesh, Push, Vlasov
from graphlandau.methods.forces import AmpereForce, ExternalForce, PoissonForce, force_of
from graphlandau.problems import (
    KineticProblem,
    LandauDamping,
    NormalMixture,
    PhaseProduct,
    Ripple,
    VFPDoubleWell,
    VFPPeriodic,
)

pytestmark = pytest.mark.usefixtures("small_and_quick")


class Plasma(KineticProblem):
    """A plasma of mass 3 in ``d`` dimensions, in a potential besides if one is given."""

    def __init__(self, d: int = 1, potential: RippledWell | None = None) -> None:
        initial = PhaseProduct([Ripple(2.0, 0.3)] * d, [NormalMixture([1.0], [0.0], [1.0])] * d)
        super().__init__(
            initial,
            epsilon=0.0,
            potential=potential,
            lengths=(2.0,) * d,
            self_consistent=True,
            cells=8,
            mass=3.0,
            t_end=1.0,
            dt=0.1,
            particles=100,
        )


def places(n, d=1, dtype=torch.float64, seed=0):
    return 2 * torch.rand(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def test_an_external_force_is_minus_the_gradient():
    x = torch.randn(30, 2, dtype=torch.float64)
    force, field = ExternalForce(VFPDoubleWell(d=2)).begin(x)
    torch.testing.assert_close(force, -(x - 2 * math.pi * torch.sin(2 * math.pi * x)), rtol=0, atol=1e-12)
    assert field is None
    none, _ = ExternalForce(Drifting()).begin(x[:, :1])
    assert not none.any()


@settings(max_examples=50, deadline=None)
@given(st.floats(-1e3, 1e3, width=32), st.sampled_from([torch.float32, torch.float64]))
def test_positions_are_wrapped_into_the_box(x, dtype):
    pos = torch.tensor([[x], [-1e-12], [1.0], [-1.0]], dtype=dtype)
    inside = ExternalForce(VFPPeriodic()).wrap(pos)
    # 1 - 1e-12 is 1 in single precision: the end of the box is its start.
    assert bool(((inside >= 0) & (inside < 1)).all())
    whole = pos - inside
    torch.testing.assert_close(whole, whole.round(), rtol=0, atol=1e-4 if dtype == torch.float32 else 1e-12)
    free = ExternalForce(WarmGaussian())
    assert free.wrap(pos) is pos


@pytest.mark.parametrize("kind", [PoissonForce, AmpereForce])
def test_the_field_of_a_wave_of_charge(kind):
    # E' = a cos kx has E = (a / k) sin kx.
    length, a, n = 4 * math.pi, 0.1, 40_000
    problem, errors = LandauDamping(k=0.5, amplitude=a), []
    x = problem.initial.x[0].icdf((torch.arange(n, dtype=torch.float64) + 0.5) / n)[:, None]
    for cells in (16, 32):
        force, field = kind(problem, Mesh(cells=cells)).begin(x)
        errors.append(float((force[:, 0] - a / 0.5 * torch.sin(0.5 * x[:, 0])).abs().max()))
        assert field.shape == (cells, 1)
    assert errors[1] < 0.02 * a / 0.5
    # Tents: the second order in the width of a cell.
    assert math.log2(errors[0] / errors[1]) == pytest.approx(2, abs=0.3)
    assert problem.mass == pytest.approx(length)


@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("order", [0, 1, 3])
def test_no_charge_pushes_itself_and_two_push_alike(d, order):
    force = PoissonForce(Plasma(d), Mesh(order=order))
    # Adjoint deposit and gather around an antisymmetric solver; rounding.
    assert float(force.begin(places(1, d))[0].abs().max()) < 1e-13
    pair = force.begin(places(2, d))[0]
    torch.testing.assert_close(pair[0], -pair[1], rtol=0, atol=1e-13)
    assert float(pair.abs().max()) > 1e-3


@pytest.mark.parametrize("d", [1, 2])
def test_amperes_field_follows_any_motion(d):
    problem = Plasma(d)
    force, x = AmpereForce(problem, Mesh()), places(50, d)
    _, field = force.begin(x)
    moved = torch.randn(50, d, dtype=torch.float64)  # several cells of 1/4, and across the ends of the box
    after, field = force.follow(x, moved, field, 0.1)
    rho = force.density(force.wrap(x + moved))
    # Gauss's law in the same discrete divergence, at the new positions; rounding.
    torch.testing.assert_close(Ampere(force.grid).divergence(field), rho - rho.mean(), rtol=0, atol=1e-12)
    assert float(rho.mean()) == pytest.approx(problem.mass / problem.volume, rel=1e-13)
    # In one dimension Gauss's law leaves only the mean of the field open, which a current without a mean keeps.
    if d == 1:
        torch.testing.assert_close(after, force.begin(force.wrap(x + moved))[0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("field", ["poisson", "ampere"])
def test_a_potential_adds_its_force(field):
    hill = RippledWell(amplitude=0.7, wavenumber=math.pi)
    x = places(20)
    alone, both = (force_of(p, Push(field=field)).begin(x)[0] for p in (Plasma(), Plasma(1, hill)))
    torch.testing.assert_close(both - alone, 0.7 * math.pi * torch.sin(math.pi * x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("field", ["poisson", "ampere"])
def test_the_force_in_the_state_is_that_at_its_positions(field):
    method = Vlasov(push=Push(field=field, order=2))
    state = run(Plasma(1, RippledWell(amplitude=0.2, wavenumber=math.pi)), method, particles=200).state
    again, _ = method.force.begin(state["pos"])
    # Poisson's from the very same positions, Ampère's by Gauss's law up to rounding.
    torch.testing.assert_close(state.force, again, rtol=0, atol=0 if field == "poisson" else 1e-11)
    assert method.force.grid.cells == (8,)


def test_refuses_grids_that_do_not_fit():
    for cells in (3, 0, 2.5):
        with pytest.raises(ValueError, match="'cells' must be"):
            run(Plasma(), Vlasov(push=Push(cells=cells)))
    with pytest.raises(ValueError, match=r"'cells' must not be given for drifting, which has no field .* \(got 8\)"):
        run(Drifting(), Langevin(push=Push(cells=8)))
    with pytest.raises(ValueError, match="'order' must be 0, 1, 2 or 3"):
        Vlasov(push=Push(order=4))
    with pytest.raises(ValueError, match="'field' must be"):
        Vlasov(push=Push(field="maxwell"))
