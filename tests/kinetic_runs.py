"""What the tests of the kinetic methods share: Gaussian problems whose particles have the exact moments, and runs."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from graphlandau.fields import RippledWell
from graphlandau.methods import Method
from graphlandau.nn.control import AffineControl, FeatureControl, MLPControl, PhaseEmbedding
from graphlandau.problems import KineticProblem, NormalMixture, PhaseGaussian, PhaseProduct, Ripple, VFPGaussian
from graphlandau.run.simulation import Result, Simulation


def whitened(problem: KineticProblem, x: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Particles moved so that their mean and covariance are exactly those of the Gaussian initial density."""
    z = torch.cat([x, v], dim=1)
    z = z - z.mean(0)
    z = torch.linalg.solve_triangular(torch.linalg.cholesky(z.T @ z / len(z)), z.T, upper=False).T
    mean, covariance = problem.initial.mean, problem.initial.covariance
    assert mean is not None
    assert covariance is not None
    z = mean + z @ torch.linalg.cholesky(covariance).T
    return z[:, : problem.d_x], z[:, problem.d_x :]


class ExactMoments(VFPGaussian):
    """The Gaussian benchmark: affine maps of these particles have no sampling error in any second moment."""

    def sample(self, n: int, *, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        return whitened(self, *super().sample(n, generator=generator))


class WarmGaussian(KineticProblem):
    """A Gaussian in a parabola of stiffness 2 with a temperature and a collision frequency other than 1."""

    def __init__(self, covariance: list[list[float]] | None = None, d: int = 1) -> None:
        eye = torch.eye(d, dtype=torch.float64)
        start = torch.tensor(covariance or [[2.0, 0.6], [0.6, 1.5]], dtype=torch.float64)
        initial = PhaseGaussian(torch.tensor([0.3, -0.5]).repeat_interleave(d).double(), torch.kron(start, eye), d_x=d)
        well = RippledWell(stiffness=2.0)
        super().__init__(initial, epsilon=0.6, temperature=0.7, potential=well, t_end=1.0, dt=0.1, particles=100)

    def sample(self, n: int, *, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        return whitened(self, *super().sample(n, generator=generator))


class Drifting(KineticProblem):
    """Particles in a periodic box without a force."""

    def __init__(self, epsilon: float = 0.0, temperature: float = 1.0, d: int = 1) -> None:
        normal = NormalMixture([1.0], [0.0], [math.sqrt(temperature)])
        initial = PhaseProduct([Ripple(2.0, 0.5)], [normal] * d)
        super().__init__(
            initial, epsilon=epsilon, temperature=temperature, lengths=(2.0,), t_end=1.0, dt=0.1, particles=100
        )


def embedding(problem: KineticProblem) -> PhaseEmbedding:
    return PhaseEmbedding(problem.d_x, problem.d, lengths=problem.lengths, wavelengths=problem.wavelengths)


def affine(problem: KineticProblem) -> AffineControl:
    return AffineControl(embedding(problem))


def features(problem: KineticProblem, number: int | None = None, ridge: float | None = None) -> FeatureControl:
    return FeatureControl(embedding(problem), number, ridge)


def mlp(problem: KineticProblem, width: int = 8) -> MLPControl:
    torch.manual_seed(1)
    return MLPControl(embedding(problem), width=width)


def run(problem: KineticProblem, method: Method[Any, Any], **options: Any) -> Result:
    """A run in float64 unless told otherwise."""
    return Simulation(problem, method, **{"dtype": torch.float64} | options).run()


def phase(state: Data) -> Tensor:
    """Positions and velocities side by side."""
    return torch.cat([state["pos"], state.v], dim=1)


def mean_and_covariance(state: Data) -> tuple[Tensor, Tensor]:
    z = phase(state)
    return z.mean(0), torch.cov(z.T, correction=0)


def log_normal(state: Data) -> Tensor:
    """Logarithm at the particles of the normal density that has their own mean and covariance."""
    mean, covariance = mean_and_covariance(state)
    normal = torch.distributions.MultivariateNormal(mean, covariance)
    return normal.log_prob(phase(state))


class Frozen(nn.Module):
    """A control that is what it is: :math:`u = a \\tanh(v) + \\sin(2 \\pi x_1)`."""

    def __init__(self, strength: float = 1.0) -> None:
        super().__init__()
        self.strength = strength

    def forward(self, x: Tensor, v: Tensor) -> Tensor:
        return self.strength * torch.tanh(v) + torch.sin(2 * math.pi * x[:, :1])


def step_determinants(start: Data, step: Any) -> Tensor:
    """Determinant of a map of one particle at each particle, by automatic differentiation."""
    jacobian = torch.func.vmap(torch.func.jacfwd(step))(phase(start))
    return torch.linalg.det(jacobian)
