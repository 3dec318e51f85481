"""The sums behind the mesh backend: derivatives of what they interpolate, and what the lattice is chosen from."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

import graphlandau.nn.mesh.landau as mesh_landau
from graphlandau.graphs.partition import Partition
from graphlandau.nn.mesh import mesh_diffusion, mesh_drift, mesh_partials
from graphlandau.nn.mesh.kernels import landau_multipliers, own_value
from graphlandau.nn.mesh.landau import drift_spacing

CASES = [(2, -3.0), (2, -1.0), (3, -2.5)]
TOLERANCE = 1e-2


@pytest.fixture
def _one_lattice(monkeypatch) -> None:
    """Spacing that does not follow the particles: derivatives are those on a lattice that stays where it is."""

    def spacing(v: Tensor, partition: Partition, *_) -> Tensor:
        return torch.full((partition.count,), 0.8, dtype=torch.float64)

    monkeypatch.setattr(mesh_landau, "drift_spacing", spacing)


def sample(n: int, d: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Partition]:
    """Two blocks, uneven weights that sum to 1 in each, and in each two particles far out that hold the lattice."""
    generator = torch.Generator().manual_seed(seed)
    v = torch.randn(n, d, generator=generator, dtype=torch.float64).clamp(-2, 2)
    s = torch.randn(n, d, generator=generator, dtype=torch.float64)
    batch = torch.arange(n) % 2
    v[:2], v[2:4] = -3.0, 3.0
    weight = 0.2 + torch.rand(n, generator=generator, dtype=torch.float64)
    partition = Partition.from_batch(batch, v)
    return v, s, partition.normalised(weight, v), partition


@pytest.mark.usefixtures("_one_lattice")
@pytest.mark.parametrize(("d", "gamma"), CASES)
def test_gradients_in_velocity_score_and_weight(d, gamma):
    """Finite differences, with the work taken out of the drift; the outermost particles stay."""
    v, s, weight, partition = sample(9, d)

    def drift(moving: Tensor, s: Tensor, weight: Tensor) -> Tensor:
        return mesh_drift(torch.cat([v[:4], moving]), s, weight, partition, gamma, TOLERANCE)

    inputs = (v[4:].clone().requires_grad_(), s.clone().requires_grad_(), weight.clone().requires_grad_())
    # Cubic splines have two derivatives: central differences with steps of 1e-6 are good to 1e-9.
    assert gradcheck(drift, inputs, atol=1e-6, fast_mode=True)


@pytest.mark.usefixtures("_one_lattice")
@pytest.mark.parametrize(("d", "gamma"), CASES)
def test_gradients_in_a_test_particle(d, gamma):
    v, s, weight, partition = sample(9, d)
    x, u = 0.7 * v.roll(2, 0), s.roll(1, 0)

    def drift(x: Tensor, u: Tensor) -> Tensor:
        return mesh_drift(v, s, weight, partition, gamma, TOLERANCE, (x, u))

    assert gradcheck(drift, (x.requires_grad_(), u.requires_grad_()), atol=1e-6, fast_mode=True)


@pytest.mark.usefixtures("_one_lattice")
@pytest.mark.parametrize("elsewhere", [False, True])
@pytest.mark.parametrize(("d", "gamma"), CASES)
def test_partials_are_the_derivatives_of_the_field(d, gamma, elsewhere):
    """In the velocity and in the score of a test particle, by autograd; less what a particle would add to D itself."""
    v, s, weight, partition = sample(9, d)
    x, u = (0.7 * v.roll(2, 0), s.roll(1, 0)) if elsewhere else (v.clone(), s)

    def field(x: Tensor, u: Tensor) -> Tensor:
        return mesh_drift(v, s, weight, partition, gamma, TOLERANCE, (x, u))

    # Number i depends on its own velocity and score alone: the sum over particles has one row for each.
    by_x, by_u = (j.sum(2) for j in torch.autograd.functional.jacobian(field, (x, u)))
    at = (x, u) if elsewhere else None
    by_v, by_s = mesh_partials(v, s, weight, partition, gamma, TOLERANCE, at)
    torch.testing.assert_close(by_v, by_x, rtol=1e-10, atol=1e-10)
    mesh = mesh_landau.Mesh.over(v, partition, torch.full((2,), 0.8, dtype=torch.float64), at=x)
    multiplier = landau_multipliers(mesh.padded, gamma, v.dtype, v.device)[0]
    own = weight * 0.8 ** (gamma + 2) * own_value(multiplier, mesh.padded)
    torch.testing.assert_close(by_s, by_u + own[:, None, None] * torch.eye(d), rtol=1e-10, atol=1e-10)
    assert torch.equal(by_s, by_s.mT)


@pytest.mark.usefixtures("_one_lattice")
@pytest.mark.parametrize(("d", "gamma"), CASES)
def test_diffusion_is_the_derivative_by_the_score_and_its_divergence(d, gamma):
    v, s, weight, partition = sample(9, d)
    matrix, divergence = mesh_diffusion(v, torch.zeros_like(s), weight, partition, gamma, TOLERANCE)
    by_s = mesh_partials(v, s, weight, partition, gamma, TOLERANCE)[1]
    torch.testing.assert_close(matrix, -by_s, rtol=1e-12, atol=1e-13)
    # div D: the trace over (a, b) of d D_ab / d v_b, by partials of the drift with s = e_a for the test particles only.
    for a in range(d):
        u = torch.eye(d, dtype=v.dtype)[a].expand_as(v)

        def friction(x: Tensor, u: Tensor = u) -> Tensor:
            return mesh_drift(v, torch.zeros_like(v), weight, partition, gamma, TOLERANCE, (x, u))

        gradient = torch.autograd.functional.jacobian(friction, v.clone()).sum(2)
        torch.testing.assert_close(-gradient.diagonal(dim1=1, dim2=2).sum(1), divergence[:, a], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("d", [2, 3])
def test_the_spacing_follows_the_smallest_spread_and_the_tolerance(d):
    """Proportional to the particles, finer for a smaller tolerance and for fewer particles, to a limit."""
    v = torch.randn(4000, d, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    v = v * torch.linspace(2.0, 0.5, d, dtype=torch.float64)

    def spacing(v: Tensor, tolerance: float = 1e-2, gamma: float = -3.0) -> float:
        return float(mesh_landau.drift_spacing(v, Partition.from_batch(None, v), gamma, tolerance))

    width = spacing(v)
    turn = torch.linalg.qr(torch.randn(d, d, generator=torch.Generator().manual_seed(1), dtype=torch.float64))[0]
    assert spacing(3 * v + 7) == pytest.approx(3 * width, rel=1e-12)
    assert spacing(v @ turn) == pytest.approx(width, rel=1e-12)
    assert spacing(v, 1e-3) < width
    assert spacing(v[:1000]) < width
    smallest = float(v.var(0, correction=0).min().sqrt())
    assert spacing(v, 1e9) == pytest.approx(mesh_landau.COARSEST * smallest, rel=0.05)
    batch = torch.arange(4000) % 2
    two = mesh_landau.drift_spacing(v * (1 + 9 * batch[:, None]), Partition.from_batch(batch, v), -3.0, 1e-2)
    assert float(two[1] / two[0]) == pytest.approx(10, rel=0.2)
    assert two.shape == (2,)


@pytest.mark.parametrize("gamma", [-3.0, -1.0])
@pytest.mark.parametrize("d", [2, 3])
def test_a_gaussian_feels_the_friction_and_diffusion_of_rosenbluth(d, gamma):
    r"""D and div D inside 16,000 particles of N(0, I) against one integral over the exact density.

    :math:`A = \frac{1}{\Gamma(-\gamma/2)} \int t^{-\gamma/2 - 1} e^{-t |z|^2} (|z|^2 I - z z^\top) \, dt`, and with a
    Gaussian all but the integral over :math:`t` is known. Noise of the sample: some 1 / sqrt(N) = 0.8 per cent.
    """
    v = torch.randn(16_000, d, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    weight = torch.full((16_000,), 1 / 16_000, dtype=torch.float64)
    partition = Partition.from_batch(None, v)
    matrix, divergence = mesh_diffusion(v, torch.zeros_like(v), weight, partition, gamma, 3e-2)
    near = (v.norm(dim=1) < 1.5).nonzero()[:300, 0]
    x = v[near]
    # t = tan^2: all of (0, infinity) on a finite interval; the sums are exact to 1e-3.
    points, share = torch.linspace(0, math.pi / 2, 4002, dtype=torch.float64)[1:-1], math.pi / 2 / 4001
    t = torch.tan(points).square()
    jacobian = 2 * torch.tan(points) * (1 + t) * share * t ** (-0.5 * gamma - 1) / math.gamma(-0.5 * gamma)
    # z = x - y with y ~ N(0, I): e^{-t|z|^2} makes z normal with mean m = x / (1 + 2t), variance c = 1 / (1 + 2t).
    c = 1 / (1 + 2 * t)
    r2 = x.square().sum(1, keepdim=True)
    mass = jacobian * c ** (d / 2) * torch.exp(-t * c * r2)
    iso, along = (mass * (d - 1) * c).sum(1), (mass * c**2).sum(1)
    eye = torch.eye(d, dtype=torch.float64)
    exact = iso[:, None, None] * eye + along[:, None, None] * (r2[:, :, None] * eye - x[:, :, None] * x[:, None, :])
    assert float((matrix[near] - exact).norm() / exact.norm()) < 0.02
    # div A = -(d - 1) |z|^gamma z.
    slope = -(d - 1) * (mass * c).sum(1, keepdim=True) * x
    assert float((divergence[near] - slope).norm() / slope.norm()) < 0.1


def test_a_cell_follows_the_narrow_modes():
    """Two narrow modes far apart: the cell is that of one alone, and not of the deviation between them."""
    generator = torch.Generator().manual_seed(0)
    mode = 0.05 * torch.randn(4000, 3, generator=generator, dtype=torch.float64)
    far = torch.zeros(4000, 3, dtype=torch.float64)
    # In every direction, so that no principal axis shows the width of a mode.
    for axis in range(3):
        far[axis::6, axis], far[axis + 3 :: 6, axis] = 2.0, -2.0
    whole = Partition.from_batch(None, mode)
    alone, together = (float(drift_spacing(x, whole, -3.0, 1e-3)) for x in (mode, mode + far))
    # Six modes of a sixth of the particles each have a sixth of the close pairs: 6^(1/3) = 1.8 times the width.
    assert alone < together < 2.5 * alone
    assert together < 0.1 * float(drift_spacing(far + torch.randn(far.shape, generator=generator), whole, -3.0, 1e-3))
