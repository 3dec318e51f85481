from __future__ import annotations

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from graphlandau import objectives
from graphlandau.base import chunks
from graphlandau.base.chunks import in_chunks, over_chunks
from graphlandau.base.state import particle_state
from graphlandau.diagnostics import density, gaussian_kde, grid_axes
from graphlandau.nn import ClosedFormScore, MLPScore, ResidualScore, ScoreModel, as_score_model

N = 101


class Plain(ScoreModel):
    """No derivative of its own."""

    d = 2

    def __init__(self) -> None:
        super().__init__()
        self.network = torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2))

    def forward(self, v):
        return self.network(v) - v


class Coupled(Plain):
    """Every score depends on the mean of all velocities."""

    pointwise = False

    def forward(self, v):
        return super().forward(v) + v.mean(0)


def particles(n: int = N, d: int = 2) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def make(kind: str) -> ScoreModel:
    torch.manual_seed(0)
    v = particles() ** 3
    if kind.startswith("closed"):
        features = torch.nn.Sequential(torch.nn.Linear(2, 6), torch.nn.Tanh()).double()
        model = ClosedFormScore(2, {"tanh": "tanh", "fourier": "fourier"}.get(kind[7:], features), ridge=1e-2)
        model.solve(v)
        return model
    if kind == "module":
        return as_score_model(
            torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2)), 2
        ).double()
    model = {"mlp": lambda: MLPScore(2, 8, 2), "residual": lambda: ResidualScore(2, 8, 2), "plain": Plain}[
        kind
    ]().double()
    if kind == "residual":
        torch.nn.init.normal_(model.network.last.weight)
    model.condition(v)
    return model


MODELS = ["mlp", "residual", "plain", "module", "closed_tanh", "closed_fourier", "closed_network"]


@pytest.fixture
def few_rows(monkeypatch):
    """Chunks of 16 rows, or of the number given: 101 rows make six and a rest."""

    def cut(rows: int = 16) -> None:
        monkeypatch.setattr(chunks, "rows_at_a_time", lambda x: rows)
        monkeypatch.setattr("graphlandau.nn.linear.moments.rows_at_a_time", lambda x: rows)
        monkeypatch.setattr(chunks, "TRAINING_ROWS", rows)

    return cut


@pytest.mark.parametrize("recorded", [False, True])
@pytest.mark.parametrize("kind", MODELS)
def test_scores_do_not_depend_on_the_chunks(kind, recorded, few_rows):
    model, v = make(kind), particles()

    def evaluate() -> list[torch.Tensor]:
        with torch.set_grad_enabled(recorded):
            return [model(v), *model.value_and_jacobian(v), model.divergence(v)]

    whole = evaluate()
    few_rows()
    # Matrix products of other sizes, rounded once or twice differently in float64.
    for a, b in zip(evaluate(), whole, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-13)


def losses(model: ScoreModel, v: torch.Tensor, weighted: bool) -> dict[str, torch.Tensor]:
    state = particle_state(
        v, weight=torch.rand(len(v), generator=torch.Generator().manual_seed(1)).double() if weighted else None
    )
    diffusion = v.square().sum(1)[:, None, None] * torch.eye(2, dtype=v.dtype)

    def seeded() -> torch.Generator:
        return torch.Generator().manual_seed(2)

    return {
        "explicit": objectives.explicit(model, state, -v),
        "implicit": objectives.implicit(model, state),
        "rademacher": objectives.hutchinson(model, state, generator=seeded()),
        "gaussian": objectives.hutchinson(model, state, "gaussian", generator=seeded()),
        "denoising": objectives.denoising(model, state, 0.3, generator=seeded()),
        "collision_weighted": objectives.collision_weighted(model, state, diffusion, v),
    }


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kind", ["mlp", "residual", "plain"])
def test_objectives_and_their_gradients_do_not_depend_on_the_chunks(kind, weighted, few_rows):
    model, v = make(kind), particles()

    def evaluate() -> dict[str, torch.Tensor]:
        found = {}
        for name, loss in losses(model, v, weighted).items():
            gradients = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)
            found[name] = torch.cat([loss.detach().view(1), *(g.flatten() for g in gradients if g is not None)])
        return found

    whole = evaluate()
    few_rows()
    for name, found in evaluate().items():
        torch.testing.assert_close(found, whole[name], rtol=1e-11, atol=1e-12, msg=name)


def test_an_objective_is_the_weighted_mean_of_its_formula(few_rows):
    model, v = make("mlp"), particles()
    weight = torch.rand(N, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    s, jacobian = model.value_and_jacobian(v)
    expected = (weight * (s.square().sum(1) + 2 * jacobian.diagonal(dim1=1, dim2=2).sum(1))).sum() / weight.sum()
    few_rows()
    torch.testing.assert_close(objectives.implicit(model, particle_state(v, weight=weight)), expected)


def test_a_model_that_couples_particles_is_never_cut(few_rows):
    torch.manual_seed(0)
    model, v = Coupled().double(), particles()
    whole = losses(model, v, False)
    few_rows()
    for name, loss in losses(model, v, False).items():
        assert torch.equal(loss, whole[name])


def test_inside_a_transform_rows_are_not_cut(few_rows):
    seen = []

    def square(x: torch.Tensor) -> torch.Tensor:
        seen.append(x.size(0))
        return x.square()

    few_rows()
    v = particles()
    value, tangent = torch.func.jvp(in_chunks(square), (v,), (torch.ones_like(v),))
    assert seen == [N]
    assert torch.equal(tangent, 2 * v)
    assert torch.equal(torch.cat(over_chunks(square, v)), value)
    assert seen[1:] == [16] * 6 + [5]


class Largest(TorchDispatchMode):
    """Most entries of a tensor that any operation returns."""

    def __init__(self) -> None:
        super().__init__()
        self.entries = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        # Not views such as an expanded number, which have no memory of their own.
        sizes = [
            x.untyped_storage().nbytes() // x.element_size() for x in tree_leaves(result) if isinstance(x, torch.Tensor)
        ]
        self.entries = max([self.entries, *sizes])
        return result


@pytest.mark.parametrize("d", [2, 3])
@pytest.mark.parametrize("kind", ["tanh", "fourier"])
def test_closed_form_scores_hold_no_features_of_all_particles(kind, d, few_rows):
    n, rows = 40_000, 256
    few_rows(rows)
    v = particles(n, d).float()
    model = ClosedFormScore(d, kind)
    with torch.no_grad(), Largest() as largest:
        model.solve(v)
        model(v)
        model.value_and_jacobian(v)
    # The result itself, some 150 numbers for each row of a chunk, or the Gram matrices of the ten folds.
    assert largest.entries <= max(n * d * d, 150 * d * rows, 10 * 128**2)
    assert n * model.feature_count(n) > 10 * largest.entries


@pytest.mark.parametrize("name", ["implicit", "rademacher", "denoising"])
def test_training_holds_no_hidden_layer_of_all_particles(name, few_rows):
    n, rows = 5000, 64
    few_rows(rows)
    model, v = MLPScore(2, width=32), particles(n).float()
    with Largest() as largest:
        state = particle_state(v)
        loss = {
            "implicit": lambda: objectives.implicit(model, state),
            "rademacher": lambda: objectives.hutchinson(model, state),
            "denoising": lambda: objectives.denoising(model, state, 0.3),
        }[name]()
        loss.backward()
    # Velocities, or the tangents of a chunk.
    assert largest.entries <= max(2 * n, 2 * 32 * rows)


def test_density_estimates_hold_no_grid_of_all_particles(monkeypatch):
    n, points = 4000, 50
    monkeypatch.setattr(density, "_TILE", points**2)
    with Largest() as largest:
        gaussian_kde(particles(n), grid_axes(4.0, points, 2), 0.2)
    assert largest.entries <= max(2 * n, points**2)
