"""Densities: normalisation, scores and moments against independent answers."""

from __future__ import annotations

import math

import pytest
import torch

from graphlandau.problems import BKWDensity, Density, Gaussian, GaussianMixture, ProductDensity


def gaussian(d: int) -> Gaussian:
    """A correlated Gaussian with a non-zero mean."""
    g = torch.Generator().manual_seed(d)
    a = torch.randn(d, d, generator=g, dtype=torch.float64)
    return Gaussian(torch.arange(d, dtype=torch.float64) / 2, 0.3 * a @ a.T + 0.5 * torch.eye(d, dtype=torch.float64))


def bimodal(shift: float = 0.0) -> GaussianMixture:
    """Two 1D modes of unequal weight and width."""
    return GaussianMixture([Gaussian([shift - 2], [[0.5]]), Gaussian([shift + 1], [[0.8]])], [0.4, 0.6])


DENSITIES = {
    "gaussian_1d": gaussian(1),
    "gaussian_2d": gaussian(2),
    "gaussian_3d": gaussian(3),
    "bkw_2d_first": BKWDensity(2, 0.5),
    "bkw_2d": BKWDensity(2, 0.7),
    "bkw_3d": BKWDensity(3, 0.62),
    "maxwellian_3d": BKWDensity(3, 1.0),
    "mixture_1d": bimodal(),
    "mixture_2d": GaussianMixture([gaussian(2), Gaussian([-2.0, 1.0], [[1.0, 0.2], [0.2, 0.6]])], [3.0, 1.0]),
    "product_3d": ProductDensity([gaussian(2), bimodal(0.5)]),
}


@pytest.mark.parametrize("name", DENSITIES)
def test_mass_mean_covariance_entropy_by_quadrature(name):
    """The trapezoidal rule converges spectrally for smooth, fast decaying f; f log f has a weak point."""
    f = DENSITIES[name]
    axis = torch.linspace(-9, 9, {1: 2001, 2: 401, 3: 91}[f.d], dtype=torch.float64)
    v = torch.cartesian_prod(*[axis] * f.d).reshape(-1, f.d)
    log_f = f.log_prob(v)
    w = log_f.exp() * float(axis[1] - axis[0]) ** f.d
    assert float(w.sum()) == pytest.approx(1, abs=1e-9)
    m = w @ v
    assert torch.allclose(m, f.mean, atol=1e-8)
    sigma = (w[:, None] * (v - m)).T @ (v - m)
    assert torch.allclose(sigma, f.covariance, atol=1e-8)
    # With P = 0, f log f ~ |v|^2 log |v| at a node: the rule is of fourth order in the spacing there.
    assert float(torch.xlogy(w, log_f.exp()).sum()) == pytest.approx(f.entropy(), abs=2e-6)


@pytest.mark.parametrize("name", DENSITIES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_score_is_gradient_of_log_prob(name, dtype, tolerance):
    f = DENSITIES[name]
    v = 2 * torch.randn(200, f.d, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(dtype)
    x = v.clone().requires_grad_(True)
    (expected,) = torch.autograd.grad(f.log_prob(x).sum(), x)
    score = f.score(v)
    assert score.dtype == f.log_prob(v).dtype == dtype
    assert torch.allclose(score, expected, rtol=tolerance, atol=tolerance * float(expected.abs().max()))
    # The base class gets the same from automatic differentiation, inside no_grad too.
    with torch.no_grad():
        assert torch.allclose(Density.score(f, v), expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", DENSITIES)
def test_samples_have_the_exact_first_two_moments(name):
    f = DENSITIES[name]
    n = 40_000
    v = f.sample(n, generator=torch.Generator().manual_seed(2))
    assert v.shape == (n, f.d)
    assert v.dtype == torch.float64
    x = v - f.mean
    # Five standard errors, the error of each entry estimated from the sample itself.
    assert bool((x.mean(0).abs() < 5 * x.std(0) / math.sqrt(n)).all())
    second = x[:, :, None] * x[:, None, :]
    assert bool(((second.mean(0) - f.covariance).abs() < 5 * second.std(0) / math.sqrt(n)).all())


def test_mean_log_density_of_samples_is_the_entropy():
    """<log f> over exact samples ties sampler, log_prob and entropy together, within five standard errors."""
    for f in DENSITIES.values():
        log_f = f.log_prob(f.sample(20_000, generator=torch.Generator().manual_seed(3)))
        assert abs(float(log_f.mean()) - f.entropy()) < 5 * float(log_f.std()) / math.sqrt(20_000)


def test_sampling_repeats_with_the_seed():
    for f in DENSITIES.values():
        a, b = (f.sample(10, generator=torch.Generator().manual_seed(4)) for _ in range(2))
        assert torch.equal(a, b)


def test_gaussian_score_is_differentiable():
    f = gaussian(3)
    jacobian = torch.func.vmap(torch.func.jacfwd(lambda x: f.score(x[None])[0]))(torch.randn(4, 3).double())
    assert torch.allclose(jacobian, -torch.linalg.inv(f.covariance).expand(4, 3, 3), atol=1e-12)


@pytest.mark.parametrize(
    ("mean", "covariance", "message"),
    [
        ([[0.0]], [[1.0]], r"'mean' must have shape \(d,\)"),
        ([0.0, math.nan], [[1.0, 0.0], [0.0, 1.0]], "'mean' must be finite"),
        ([0.0, 0.0], [[1.0]], r"'covariance' must have shape \(2, 2\)"),
        ([0.0, 0.0], [[1.0, 0.0], [0.0, -1.0]], "'covariance' must be symmetric positive definite"),
        ([0.0, 0.0], [[1.0, 0.5], [0.0, 1.0]], "'covariance' must be symmetric positive definite"),
    ],
)
def test_bad_gaussians_are_refused(mean, covariance, message):
    with pytest.raises(ValueError, match=message):
        Gaussian(torch.tensor(mean), torch.tensor(covariance))


def test_mixture_in_the_far_tail_is_its_nearest_component():
    """No underflow: at 60 standard deviations the densities themselves are zero in float64."""
    f = GaussianMixture([Gaussian([-2.0], [[1.0]]), Gaussian([2.0], [[1.0]])])
    v = torch.tensor([[60.0]], dtype=torch.float64)
    near = Gaussian([2.0], [[1.0]])
    assert float(f.log_prob(v)) == pytest.approx(float(near.log_prob(v)) - math.log(2), rel=1e-14)
    assert torch.allclose(f.score(v), near.score(v), rtol=1e-14)


def test_entropy_is_none_where_no_quadrature_is_offered():
    eye = torch.eye(3).tolist()
    assert GaussianMixture([Gaussian([0.0, 0.0, 0.0], eye), Gaussian([1.0, 0.0, 0.0], eye)]).entropy() is None
    needle = Gaussian([0.0, 0.0], [[1e-4, 0.0], [0.0, 1.0]])
    assert GaussianMixture([needle, Gaussian([0.0, 0.0], [[1.0, 0.0], [0.0, 1.0]])]).entropy() is None


def test_bad_mixtures_are_refused():
    one, two = Gaussian([0.0], [[1.0]]), gaussian(2)
    with pytest.raises(ValueError, match=r"'components' must be Gaussians .* \(got dimensions \[1, 2\]\)"):
        GaussianMixture([one, two])
    with pytest.raises(ValueError, match=r"'components' must be .* \(got dimensions \[\]\)"):
        GaussianMixture([])
    for p in ([1.0], [0.5, -0.5], [0.0, 1.0]):
        with pytest.raises(ValueError, match="'probabilities' must be 2 positive numbers"):
            GaussianMixture([one, one], p)
    with pytest.raises(ValueError, match=r"'factors' must be at least one density \(got none\)"):
        ProductDensity([])


def test_velocities_of_another_dimension_are_refused():
    for f in (gaussian(2), BKWDensity(2, 0.7), DENSITIES["mixture_2d"], ProductDensity([bimodal(), bimodal()])):
        for evaluate in (f.log_prob, f.score):
            with pytest.raises(ValueError, match=r"'v' must have shape \(N, 2\) \(got \(5, 3\)\)"):
                evaluate(torch.zeros(5, 3))
