"""What would fail after the initial fit is refused before it."""

from __future__ import annotations

import pytest
import torch
from short_runs import short_run
from torch import nn
from torch.autograd.function import once_differentiable

from graphlandau.base.errors import InvalidArgument
from graphlandau.methods import JKO, SBTM
from graphlandau.methods.options import Step
from graphlandau.training import EpochFit, Fit
from graphlandau.training.descent import Descent

pytestmark = pytest.mark.usefixtures("small_and_quick")


class Square(torch.autograd.Function):
    """With a gradient, and nothing else."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.square()

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        return 2 * ctx.saved_tensors[0] * gradient


class Rough(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 2)

    def forward(self, v):
        return Square.apply(self.layer(v)) - v


class Attentive(nn.Module):
    """Attention over the particles, or over the components of each."""

    def __init__(self, over_particles):
        super().__init__()
        self.over_particles, self.layer, self.back = over_particles, nn.Linear(2, 24), nn.Linear(8, 2)

    def forward(self, v):
        q, k, x = self.layer(v).chunk(3, -1)
        if not self.over_particles:
            q, k, x = (y.unflatten(-1, (4, 2)) for y in (q, k, x))
            return self.back(nn.functional.scaled_dot_product_attention(q, k, x).flatten(-2)) - v
        return self.back(nn.functional.scaled_dot_product_attention(q[None], k[None], x[None])[0]) - v


METHODS = {
    "sbtm": lambda net: SBTM(net, fit=Fit(initial_steps=60, steps=2)),
    "hutchinson": lambda net: SBTM(net, objective="hutchinson", fit=Fit(initial_steps=60, steps=2)),
    "jko": lambda net: JKO(net, fit=EpochFit(initial_steps=60, epochs=1)),
}


@pytest.mark.parametrize("method", METHODS)
def test_refused_before_a_step_is_taken(method, monkeypatch):
    taken = []
    monkeypatch.setattr(Descent, "_step", lambda *_: taken.append(1))
    with pytest.raises(InvalidArgument, match=r"'score' must have derivatives .*a Rough that failed: .*") as error:
        short_run(METHODS[method](Rough())).run()
    assert taken == []
    assert len(str(error.value).splitlines()) == 1
    if method != "jko":
        assert "--method.objective denoising --log_det none --method.hold_out false" in str(error.value)


def test_what_needs_no_derivatives_is_not_refused():
    """The way out that the message names."""
    fit = Fit(initial_steps=50, steps=2, hold_out=False)
    method = SBTM(Rough(), objective="denoising", fit=fit, step=Step(log_det="none"))
    assert short_run(method).run().summary["steps"] == 10


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("over_particles", [False, True])
def test_attention_is_a_score(method, over_particles):
    result = short_run(METHODS[method](Attentive(over_particles)), t_end=0.04).run()
    assert result.state.log_f.isfinite().all()
    assert result.summary["rel_fisher_divergence"] < 1
