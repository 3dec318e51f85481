"""The equivariance checker accepts what follows the particles and rejects what breaks one symmetry."""

from __future__ import annotations

import pytest
import torch

from graphlandau.nn import BlobScore, ClosedFormScore, GaussianScore, GNNScore, MLPScore
from graphlandau.nn.equivariance import equivariance_error, require_equivariant

V = torch.randn(60, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64) @ torch.tensor(
    [[1.5, 0.4], [0.0, 0.5]], dtype=torch.float64
)
SYMMETRIES = ["rotation", "reflection", "translation", "permutation"]


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(1)


def graph_network() -> GNNScore:
    model = GNNScore(2, k=6).double()
    for p in model.parameters():
        p.data += 0.3 * torch.randn(p.shape, generator=seeded(), dtype=p.dtype)
    return model


class AbsoluteVelocity(GNNScore):
    """A graph network with one term that knows an absolute velocity."""

    def forward(self, v):
        return super().forward(v) + 0.01 * v


class FixedAxis(GNNScore):
    """A graph network with one term along a fixed axis."""

    def correction(self, x):
        return super().correction(x) + 0.01 * x * torch.tensor([1.0, 0.0], dtype=x.dtype)


class Handed(GNNScore):
    """A graph network with one term that turns to the left."""

    def correction(self, x):
        return super().correction(x) + 0.01 * torch.stack([-x[:, 1], x[:, 0]], dim=1)


class Ordered(GNNScore):
    """A graph network with one term that sees who comes next in memory."""

    def correction(self, x):
        return super().correction(x) + 0.01 * (x - x.roll(1, dims=0))


@pytest.mark.parametrize(
    "score",
    [graph_network(), GNNScore(2, radius=1.0).double(), GaussianScore(2), BlobScore(), BlobScore(0.3, cutoff=5.0)],
)
def test_accepts_what_follows_the_particles(score):
    before = {name: x.clone() for name, x in score.state_dict().items()}
    require_equivariant(score, V, generator=seeded())
    assert all(torch.equal(x, before[name]) for name, x in score.state_dict().items())
    require_equivariant(score.float(), V.float(), generator=seeded())


@pytest.mark.parametrize(
    ("kind", "broken", "kept"),
    [
        (AbsoluteVelocity, ["translation"], ["rotation", "reflection", "permutation"]),
        (FixedAxis, ["rotation", "reflection"], ["translation", "permutation"]),
        (Handed, ["reflection"], ["rotation", "translation", "permutation"]),
        (Ordered, ["permutation"], ["rotation", "reflection", "translation"]),
    ],
)
def test_rejects_one_broken_symmetry(kind, broken, kept):
    model = kind(2, k=6).double()
    errors = equivariance_error(model, V, generator=seeded())
    assert list(errors) == SYMMETRIES
    # The term is 1e-2 of the score, and rounding 1e-13 of it.
    assert all(errors[symmetry] > 1e-3 for symmetry in broken)
    assert all(errors[symmetry] < 1e-11 for symmetry in kept)
    with pytest.raises(ValueError, match=f"'score' must be equivariant .* under ({'|'.join(broken)})s"):
        require_equivariant(model, V, generator=seeded())


def test_rejects_a_network_of_raw_velocities():
    errors = equivariance_error(MLPScore(2).double(), V, generator=seeded())
    assert min(errors["rotation"], errors["reflection"], errors["translation"]) > 0.1
    assert errors["permutation"] < 1e-11
    with pytest.raises(ValueError, match="'score' must be equivariant"):
        require_equivariant(MLPScore(2).double(), V, generator=seeded())


def test_solves_what_is_fitted_by_solving():
    # Random features favour directions, but the fit moves with the particles.
    score = ClosedFormScore(2, ridge=1e-3).double()
    errors = equivariance_error(score, V, generator=seeded())
    assert errors["translation"] < 1e-8
    assert errors["rotation"] > 1e-3


def test_a_score_of_zero_is_equivariant():
    assert max(equivariance_error(torch.zeros_like, V).values()) == 0


@pytest.mark.parametrize(
    ("score", "message"),
    [(torch.nn.Linear(2, 3).double(), r"must map \(60, 2\) to \(60, 2\)"), (lambda v: v / 0, "'score' must be finite")],
)
def test_refuses_what_is_no_score(score, message):
    with pytest.raises(ValueError, match=message):
        equivariance_error(score, V)
