"""Entropy, dissipation and relative entropy against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from graphlandau.diagnostics import entropy, entropy_dissipation, kl_divergence
from graphlandau.problems import BKW, Gaussian

FROM = Gaussian([0.5, -1.0, 0.0], [[1.0, 0.3, 0.0], [0.3, 0.6, 0.1], [0.0, 0.1, 2.0]])
TO = Gaussian([0.0, 0.0, 0.2], [[1.5, 0.0, 0.2], [0.0, 0.9, 0.0], [0.2, 0.0, 1.1]])


def gauss_hermite(f: Gaussian) -> tuple[torch.Tensor, torch.Tensor]:
    """Weighted nodes that are exact for the quadratic log-densities of Gaussians."""
    x, w = np.polynomial.hermite_e.hermegauss(3)
    x, w = torch.from_numpy(x), torch.from_numpy(w)
    nodes = torch.cartesian_prod(*[x] * f.d) @ torch.linalg.cholesky(f.covariance).T + f.mean
    return nodes, torch.cartesian_prod(*[w] * f.d).prod(1)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_gaussian_entropy_and_relative_entropy(dtype, tolerance):
    v, w = (x.to(dtype) for x in gauss_hermite(FROM))
    sigma, target = FROM.covariance, TO.covariance
    shift = TO.mean - FROM.mean
    log_det = torch.logdet(target) - torch.logdet(sigma)
    kl = 0.5 * (
        torch.trace(torch.linalg.solve(target, sigma)) + shift @ torch.linalg.solve(target, shift) - 3 + log_det
    )
    assert float(entropy(FROM.log_prob(v), w)) == pytest.approx(FROM.entropy(), rel=tolerance)
    assert float(kl_divergence(FROM.log_prob(v), TO.log_prob(v), w)) == pytest.approx(float(kl), rel=10 * tolerance)
    assert float(kl_divergence(FROM.log_prob(v), FROM.log_prob(v), w)) == 0
    assert entropy(FROM.log_prob(v), w).dtype == dtype


@pytest.mark.parametrize(("d", "t"), [(2, 0.5), (2, 3.0), (3, 5.7)])
def test_dissipation_is_the_slope_of_the_entropy(d, t):
    """dH/dt = <s . U>, U the exact drift of the BKW solution."""
    problem = BKW(d=d)
    x, w = np.polynomial.legendre.leggauss(200)
    r = 4.5 * (1 + torch.from_numpy(x))
    # Isotropic, so that nodes on one axis with the weight of their sphere are enough.
    v = torch.zeros(200, d, dtype=torch.float64)
    v[:, 0] = r
    w, s = torch.from_numpy(w) * r ** (d - 1) * problem.log_prob(v, t).exp(), problem.score(v, t)
    # <v v^T> = I, <v s^T> = -I, every odd moment 0: D(v) s - B(v) of the moment form of the Landau drift.
    square, along = v.square().sum(1, keepdim=True), (v * s).sum(1, keepdim=True)
    U = -problem.strength * ((square + d) * s - v * along - s + (d - 1) * v)
    h = 1e-3
    stencil = {-2: 1 / 12, -1: -2 / 3, 1: 2 / 3, 2: -1 / 12}
    slope = sum(c * problem.density(t + k * h).entropy() for k, c in stencil.items()) / h
    dissipation = float(entropy_dissipation(s, U, w))
    assert dissipation < 0
    # The differences divide an entropy accurate to 1e-13 by 1e-3; measured agreement 1e-9.
    assert dissipation == pytest.approx(slope, rel=1e-7)


def test_shapes_are_checked():
    s = torch.ones(4, 2)
    with pytest.raises(ValueError, match=r"'U' must have the shape \(N, d\) of s, \(4, 2\) \(got \(4, 3\)\)"):
        entropy_dissipation(s, torch.ones(4, 3))
    with pytest.raises(ValueError, match=r"'log_p' must have the shape \(N,\) of log_f, \(4,\) \(got \(5,\)\)"):
        kl_divergence(torch.ones(4), torch.ones(5))
