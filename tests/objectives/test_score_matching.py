"""Objectives against quadrature on a known density, and against each other."""

from __future__ import annotations

import pytest
import torch
from torch_geometric.data import Data

from graphlandau.base.errors import InvalidArgument
from graphlandau.base.state import particle_state
from graphlandau.nn import LandauDrift, MLPScore, ScoreModel, as_score_model
from graphlandau.objectives import collision_weighted, denoising, explicit, hutchinson, implicit
from graphlandau.problems import Gaussian


def mixture(x: torch.Tensor) -> torch.Tensor:
    """Density on the line: 0.4 N(-1.5, 0.5) + 0.6 N(1, 0.8)."""
    return sum(
        w * torch.exp(-0.5 * ((x - m) / s) ** 2) / (s * (2 * torch.pi) ** 0.5)
        for w, m, s in ((0.4, -1.5, 0.5), (0.6, 1.0, 0.8))
    )


@pytest.fixture
def quadrature():
    """The mixture as weighted particles on a fine grid: means are trapezoidal integrals, exact to rounding."""
    x = torch.linspace(-8, 8, 4001, dtype=torch.float64)
    f = mixture(x)
    score = torch.func.vmap(torch.func.grad(lambda y: mixture(y).log()))(x)
    return particle_state(x[:, None], weight=f / f.sum()), score[:, None]


@pytest.fixture
def model():
    return MLPScore(1, 8, 2, "tanh").double()


def test_implicit_is_the_distance_from_the_score_up_to_its_norm(quadrature, model):
    state, score = quadrature
    w = state.weight[:, None]
    distance = (w * (model(state.v) - score).square()).sum()
    # Integration by parts: the boundary terms are of the order of f(8) = 1e-17.
    torch.testing.assert_close(implicit(model, state), distance - (w * score.square()).sum(), atol=1e-10, rtol=1e-9)
    torch.testing.assert_close(explicit(model, state, score), distance / (w * score.square()).sum())


def test_denoising_is_matching_the_smoothed_gradient(quadrature, model):
    # E_Z[(s(v + aZ) - s(v - aZ)).Z]/a integrates to -2 <s, grad(phi_a * f)/f>: by Gauss-Hermite in Z.
    import numpy as np

    state, _ = quadrature
    alpha = 0.4
    x, w = state.v[:, 0], state.weight
    nodes, weights = (torch.from_numpy(a) for a in np.polynomial.hermite_e.hermegauss(60))
    weights = weights / weights.sum()
    smooth = sum(b * mixture(x - alpha * z) for z, b in zip(nodes, weights, strict=True))
    slope = sum(b * z / alpha * mixture(x - alpha * z) for z, b in zip(nodes, weights, strict=True)) * -1.0
    assert float((smooth - mixture(x)).abs().max()) > 1e-2  # the smoothing is not negligible
    s = model(state.v)[:, 0]
    expected = (w * s.square()).sum() - 2 * (slope * s).sum() * (w.sum() / mixture(x).sum())
    generator = torch.Generator().manual_seed(0)
    losses = torch.stack([denoising(model, state, alpha, generator=generator).detach() for _ in range(200)])
    # Monte Carlo over Z: four standard errors of the mean of 200 draws.
    assert abs(float(losses.mean() - expected)) < 4 * float(losses.std()) / 200**0.5


@pytest.mark.parametrize("d", [2, 3])
@pytest.mark.parametrize("probes", ["rademacher", "gaussian"])
def test_hutchinson_is_unbiased(probes, d):
    model = MLPScore(d, 8, 2, "tanh").double()
    state = particle_state(torch.randn(50, d, dtype=torch.float64))
    generator = torch.Generator().manual_seed(0)
    losses = torch.stack([hutchinson(model, state, probes, generator=generator).detach() for _ in range(400)])
    # Four standard errors of the mean of 400 draws.
    assert abs(float(losses.mean() - implicit(model, state))) < 4 * float(losses.std()) / 20
    assert float(losses.std()) > 0


def test_rademacher_is_exact_in_one_dimension():
    model = MLPScore(1, 8, 2, "tanh").double()
    state = particle_state(torch.randn(50, 1, dtype=torch.float64))
    torch.testing.assert_close(hutchinson(model, state, "rademacher"), implicit(model, state))


class Coupled(ScoreModel):
    d = 2
    pointwise = False

    def forward(self, v):
        return torch.tanh(v @ torch.tensor([[1.0, 0.3], [-0.2, 0.7]], dtype=v.dtype)) * v.mean(0)


def test_hutchinson_sees_the_own_block_of_a_model_that_couples_particles():
    model, v = Coupled(), torch.randn(6, 2, dtype=torch.float64)
    full = torch.func.jacrev(model)(v)  # (N, d, N, d)
    divergence = torch.einsum("iaia->i", full)
    expected = (model(v).square().sum(-1) + 2 * divergence).mean()
    generator = torch.Generator().manual_seed(0)
    losses = torch.stack([hutchinson(model, particle_state(v), generator=generator) for _ in range(4000)])
    # Four standard errors of the mean of 4,000 draws.
    assert abs(float(losses.mean() - expected)) < 4 * float(losses.std()) / 4000**0.5
    torch.testing.assert_close(implicit(model, particle_state(v)), expected)
    with pytest.raises(ValueError, match="couples particles"):
        implicit(model, particle_state(torch.randn(600, 2, dtype=torch.float64)))


def test_gradients_of_all_objectives_point_to_the_score_of_a_gaussian():
    class Linear(ScoreModel):
        d = 2

        def __init__(self):
            super().__init__()
            self.slope = torch.nn.Parameter(torch.tensor(-0.2, dtype=torch.float64))

        def forward(self, v):
            return self.slope * v

    # For s = a v on N(0, I) samples, the implicit loss is a^2 m + 4 a (m = <|v|^2>, d = 2), least at a = -2/m.
    v = torch.randn(4000, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    state, model = particle_state(v), Linear()
    m = v.square().sum(-1).mean()
    (gradient,) = torch.autograd.grad(implicit(model, state), model.slope)
    torch.testing.assert_close(gradient, (2 * model.slope * m + 4).detach())
    (gradient,) = torch.autograd.grad(explicit(model, state, -v), model.slope)
    torch.testing.assert_close(gradient, (2 * (model.slope + 1)).detach())


@pytest.mark.bad_input
def test_bad_arguments_are_named():
    model, state = MLPScore(2), particle_state(torch.randn(5, 2))
    with pytest.raises(ValueError, match="'alpha' must be positive"):
        denoising(model, state, 0.0)
    with pytest.raises(ValueError, match="'probes' must be one of rademacher, gaussian"):
        hutchinson(model, state, "uniform")
    with pytest.raises(ValueError, match="'target' must have shape"):
        explicit(model, state, torch.zeros(5, 3))


def test_collision_weighted_is_the_distance_in_the_metric_of_the_collisions():
    """On a grid that resolves a 2D density, the objective is <|s - grad log f|_D^2> up to a constant of the model."""
    f = Gaussian([0.0, 0.0], [[0.8, 0.2], [0.2, 0.5]])
    axis = torch.linspace(-6, 6, 61, dtype=torch.float64)
    v = torch.cartesian_prod(axis, axis)
    weight = f.log_prob(v).exp()
    state = particle_state(v, weight=weight / weight.sum())
    for gamma in (0.0, -1.0):
        diffusion, divergence = LandauDrift(gamma).diffusion(v, weight=state.weight)
        constants = []
        for seed in range(3):
            torch.manual_seed(seed)
            model = MLPScore(2, 8, 2, "tanh").double()
            error = model(v) - f.score(v)
            distance = (state.weight * torch.einsum("na,nab,nb->n", error, diffusion, error)).sum()
            constants.append(float(distance - collision_weighted(model, state, diffusion, divergence)))
            assert float(distance) > 0.1
        # Trapezoidal sums of smooth functions that vanish at the border; gamma = -1 is smooth but for |z| at z = 0.
        assert max(constants) - min(constants) < (1e-9 if gamma == 0 else 2e-3) * abs(constants[0])


def test_collision_weighted_has_the_score_as_its_minimiser():
    """Slope zero at the score, along any direction; by quadrature as above."""
    f = Gaussian([0.0, 0.0], [[0.8, 0.2], [0.2, 0.5]])
    axis = torch.linspace(-6, 6, 61, dtype=torch.float64)
    v = torch.cartesian_prod(axis, axis)
    weight = f.log_prob(v).exp()
    state = particle_state(v, weight=weight / weight.sum())
    diffusion, divergence = LandauDrift(0.0).diffusion(v, weight=state.weight)
    torch.manual_seed(0)
    direction = MLPScore(2, 8, 2, "tanh").double()

    class Shifted(ScoreModel):
        d = 2

        def __init__(self, size):
            super().__init__()
            self.size = size

        def forward(self, v):
            return f.score(v) + self.size * direction(v)

    def loss(size):
        return float(collision_weighted(Shifted(size), state, diffusion, divergence))

    slope, curvature = (loss(1e-3) - loss(-1e-3)) / 2e-3, (loss(1.0) + loss(-1.0) - 2 * loss(0.0)) / 2
    assert abs(slope) < 1e-7 * curvature
    assert curvature > 0.01


def test_collision_weighted_refuses_what_does_not_fit():
    state = particle_state(torch.randn(5, 2, dtype=torch.float64))
    model = MLPScore(2, 4, 1).double()
    matrix, divergence = LandauDrift(0.0).diffusion(state.v)
    with pytest.raises(ValueError, match=r"'diffusion' must have shape \(5, 2, 2\)"):
        collision_weighted(model, state, matrix[:4], divergence)
    with pytest.raises(ValueError, match=r"'divergence' must have shape \(5, 2\)"):
        collision_weighted(model, state, matrix, matrix)


@pytest.mark.parametrize("coupled", [False, True])
def test_velocities_alone_are_particles_of_equal_weight(coupled):
    v = torch.randn(40, 2, dtype=torch.float64)
    score = as_score_model(Attracted() if coupled else MLPScore(2, 8, 2).double(), 2)
    target, matrix = -v, torch.eye(2, dtype=v.dtype).expand(40, 2, 2)

    def same():
        return {"generator": torch.Generator().manual_seed(1)}

    for objective in (
        lambda of: explicit(score, of, target),
        lambda of: implicit(score, of),
        lambda of: hutchinson(score, of, **same()),
        lambda of: denoising(score, of, 0.3, **same()),
        lambda of: collision_weighted(score, of, matrix, v),
    ):
        assert torch.equal(objective(v), objective(particle_state(v)))


class Attracted(torch.nn.Module):
    def forward(self, v):
        return v.mean(0) - 2 * v


@pytest.mark.parametrize("state", [torch.zeros(3), Data(pos=torch.zeros(3, 2)), [1.0], None])
def test_what_is_no_state_is_refused(model, state):
    for objective in (implicit, hutchinson, lambda m, s: denoising(m, s, 0.1)):
        with pytest.raises(InvalidArgument, match="'state' must be a state with velocities 'v', or velocities"):
            objective(model, state)
