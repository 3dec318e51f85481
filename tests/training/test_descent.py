"""Gradient descent on minibatches: every tensor is cut alike, a burst that does harm leaves no trace."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch_geometric.data import Data

from graphlandau.training.descent import Descent, subset


@pytest.fixture
def descent():
    torch.manual_seed(0)
    return Descent(nn.Linear(2, 1).double(), 0.1, 4, torch.Generator().manual_seed(0))


@pytest.fixture
def regression():
    """y = 3 v_1 - v_2 + 2 exactly, so that the least loss is zero."""
    v = torch.randn(20, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return Data(v=v, y=v @ torch.tensor([[3.0], [-1.0]], dtype=torch.float64) + 2)


def test_a_subset_keeps_all_tensors_and_their_rows_together():
    state = Data(v=torch.arange(10.0).reshape(5, 2), weight=torch.arange(5.0), D=torch.eye(2).expand(5, 2, 2), t=1.0)
    cut = subset(state, torch.tensor([3, 0]))
    assert torch.equal(cut.v, torch.tensor([[6.0, 7.0], [0.0, 1.0]]))
    assert torch.equal(cut.weight, torch.tensor([3.0, 0.0]))
    assert cut.D.shape == (2, 2, 2)
    assert torch.equal(subset(state, torch.tensor([0, 1, 0, 1, 0]).bool()).weight, torch.tensor([1.0, 3.0]))


def test_finds_the_least_squares_and_counts_its_steps(descent, regression):
    descent.run(regression, 1500, lambda x: (descent.model(x.v) - x.y).square().mean())
    torch.testing.assert_close(
        descent.model.weight[0], torch.tensor([3.0, -1.0], dtype=torch.float64), atol=1e-3, rtol=0
    )
    assert descent.steps_taken == 1500


def test_minibatches_are_drawn_without_replacement(descent, regression):
    seen = []

    def loss(x):
        seen.append(x.v)
        return descent.model(x.v).square().mean()

    descent.run(regression, 3, loss)
    assert all(x.shape == (4, 2) and len({float(a) for a in x[:, 0]}) == 4 for x in seen)


def test_goes_on_while_the_judge_is_content_and_takes_back_what_harms(descent, regression):
    def loss(x):
        return (descent.model(x.v) - x.y).square().mean()

    verdicts = iter([5.0, 4.0, 3.0, 3.5, 1.0])
    weights = []

    def judge():
        weights.append(descent.model.weight.detach().clone())
        return torch.tensor(next(verdicts))

    descent.run_while_better(lambda: descent.run(regression, 2, loss), 10, judge)
    assert descent.steps_taken == 6
    assert torch.equal(descent.model.weight, weights[2])
    assert not torch.equal(weights[3], weights[2])


def test_judging_uses_up_no_random_numbers(descent, regression):
    """With and without a judge that draws, the same minibatches follow."""
    state = descent.generator.get_state()
    descent.run_while_better(lambda: None, 0, lambda: torch.rand((), generator=descent.generator))
    assert torch.equal(descent.generator.get_state(), state)


def test_training_that_breaks_the_model_is_not_hidden(descent, regression):
    with pytest.raises(ArithmeticError, match="training the score made its loss nan"):
        descent.run_while_better(
            lambda: descent.run(regression, 1, lambda x: descent.model(x.v).sum() * float("nan")),
            3,
            lambda: descent.model(regression.v).sum(),
        )


@pytest.mark.parametrize("factor", [-1.0, float("nan"), float("inf")])
def test_refuses_a_schedule_that_is_none(descent, factor):
    with pytest.raises(ValueError, match="'schedule' must return finite factors"):
        descent.scale_learning_rate(factor)
