"""A stranger's module keeps its precision, or those of its layers; the border converts."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from graphlandau.base.precision import Adapted, place
from graphlandau.base.state import particle_state
from graphlandau.methods import JKO, SBTM, EpochFit, Fit, Step
from graphlandau.nn import ClosedFormScore, FlowMap, MLPScore, as_control_model, as_score_model
from graphlandau.problems import Anisotropic

CPU = torch.device("cpu")


class Waves(nn.Module):
    """A complex buffer between real layers: without its imaginary part the value is another one."""

    def __init__(self, dtype=torch.complex64):
        super().__init__()
        self.first, self.last = nn.Linear(3, 4), nn.Linear(4, 3)
        self.register_buffer("turn", torch.polar(torch.ones(4), torch.arange(4.0)).to(dtype))

    def forward(self, v):
        return self.last((self.first(v) * self.turn).imag.to(v.dtype)) - v


class OwnPrecisions(nn.Module):
    """Layers of several precisions; the one that meets the velocities is not the first that was made."""

    def __init__(self, inner=torch.float64):
        super().__init__()
        self.last, self.inner = nn.Linear(5, 3).to(inner), inner
        self.first = nn.Linear(3, 5)

    def forward(self, v):
        return self.last(torch.tanh(self.first(v)).to(self.inner))


STRANGERS = [
    Waves,
    lambda: Waves(torch.complex128),
    OwnPrecisions,
    lambda: OwnPrecisions(torch.bfloat16),
    lambda: nn.Linear(3, 3).double(),
]


def numbers(module):
    return {key: x.clone() for key, x in module.state_dict().items()}


def require_same(module, before):
    for key, x in module.state_dict().items():
        assert x.dtype == before[key].dtype
        assert torch.equal(x, before[key])


@pytest.mark.parametrize("stranger", STRANGERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_module_gives_what_it_gave_before_it_was_adapted(stranger, dtype):
    torch.manual_seed(1)
    module = stranger()
    v, before = torch.randn(7, 3, dtype=dtype), numbers(module)
    taken = torch.float64 if isinstance(module, nn.Linear) else torch.float32
    with torch.no_grad():
        alone = module(v.to(taken)).to(dtype)
    score = as_score_model(module, 3)
    place(score, CPU, dtype)
    require_same(module, before)
    value, jacobian = score.value_and_jacobian(v)
    assert score.pointwise
    assert value.dtype == jacobian.dtype == dtype
    assert torch.equal(score(v), alone)


@pytest.mark.parametrize(
    ("stranger", "method", "dtype"),
    [(STRANGERS[1], SBTM, torch.float64), (OwnPrecisions, SBTM, torch.float32), (Waves, JKO, torch.float64)],
)
def test_a_run_trains_a_module_in_its_own_precisions(stranger, method, dtype):
    torch.manual_seed(2)
    module, problem = stranger(), Anisotropic(3)
    before, fixed = numbers(module), getattr(module, "turn", None)
    if method is SBTM:
        method = SBTM(module, fit=Fit(initial_steps=50, steps=2), step=Step(log_det="exact"))
    else:
        method = JKO(module, fit=EpochFit(initial_steps=50, epochs=2))
    state = particle_state(problem.sample(64, generator=torch.Generator().manual_seed(0)).to(dtype), t=0.0)
    state = method.initialise(state, problem)
    state = method.advance(state, method.evaluate(state, 0.01), 0.01)
    assert state.v.dtype == dtype
    assert bool(state.v.isfinite().all())
    assert any(not torch.equal(x, before[key]) for key, x in module.state_dict().items())
    assert all(x.dtype == before[key].dtype for key, x in module.state_dict().items())
    if fixed is not None:
        assert torch.equal(fixed, before["turn"])


class Phase(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = OwnPrecisions()

    def forward(self, x, v):
        return self.inner(torch.cat([x, v], 1))[:, :2]


class InTime(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = OwnPrecisions()

    def forward(self, v, t):
        return self.inner(torch.cat([v, t[:, None]], 1))[:, :2]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_controls_flows_and_features_keep_their_precision_too(dtype):
    torch.manual_seed(3)
    x, v = torch.randn(9, 1, dtype=dtype), torch.randn(9, 2, dtype=dtype)
    fields = (
        (as_control_model(Phase(), 1, 2), (x, v)),
        (FlowMap(InTime(), 2, 0.0, 1.0), (v, torch.full((9,), 0.5, dtype=dtype))),
        (ClosedFormScore(3, features=OwnPrecisions()), (torch.cat([x, v], 1),)),
    )
    for field, at in fields:
        (adapted,) = (m for m in field.modules() if isinstance(m, Adapted))
        before = numbers(adapted.module)
        place(field, CPU, dtype)
        require_same(adapted.module, before)
        value, jacobian = field.value_and_jacobian(*at)
        assert value.dtype == jacobian.dtype == dtype


def test_what_is_of_the_package_follows_the_particles():
    """Real numbers to their precision; complex ones to the complex one that goes with it, nothing lost."""
    score = MLPScore(3)
    score.register_buffer("turn", Waves().turn)
    imaginary = score.turn.imag.clone()
    parameters = list(score.parameters())
    place(score, CPU, torch.float64)
    assert all(p is q and p.dtype == torch.float64 for p, q in zip(parameters, score.parameters(), strict=True))
    assert score.turn.dtype == torch.complex128
    assert torch.equal(score.turn.imag.float(), imaginary)


def test_a_complex_score_is_refused():
    class Complex(nn.Module):
        def forward(self, v):
            return v.to(torch.complex64)

    with pytest.raises(ValueError, match="complex64"):
        as_score_model(Complex(), 2)


def test_copies_choose_the_same_precision():
    score = as_score_model(OwnPrecisions(), 3)
    assert copy.deepcopy(score).precision == score.precision == torch.float32
