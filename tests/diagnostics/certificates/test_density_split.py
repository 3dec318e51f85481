"""The parts of the error of a density estimate, and their bounds."""

from __future__ import annotations

import math

import pytest
import torch

from graphlandau.diagnostics import grid_axes
from graphlandau.diagnostics.certificates import sampling_bound, split_density_error, trajectory_bound
from graphlandau.problems import BKW, Gaussian

H = 0.3


def split(n, shift, d=2, seed=0, h=H):
    exact = Gaussian([0.0] * d, torch.eye(d).tolist())
    v = exact.sample(n, generator=torch.Generator().manual_seed(seed))
    return split_density_error(v + shift, v, exact, grid_axes(6.0, 61, d), h)


def test_smoothing_is_that_of_a_gaussian():
    r"""For N(0, I) all norms are those of Gaussians, <N(0, a), N(0, b)> = (2 pi (a + b))^(-d/2)."""
    for d in (2, 3):
        a, b = 1.0, 1 + H**2
        want = (4 * math.pi * a) ** (-d / 2) + (4 * math.pi * b) ** (-d / 2) - 2 * (2 * math.pi * (a + b)) ** (-d / 2)
        # The trapezoidal rule with steps of 0.2 < h is exact to exp(-2 (pi h / step)^2) = 1e-19; the box cuts 1e-9.
        found = split(50, 0.0, d)
        assert found.smoothing == pytest.approx(want, rel=1e-6)
        assert found.norm == pytest.approx((4 * math.pi) ** (-d / 2), rel=1e-6)
        assert found.trajectory == 0.0
        assert found.trajectory_bound == 0.0


def test_sampling_error_has_its_mean():
    r"""The mean of |f^N_h - K_h f|^2 is (|K_h|^2 - |K_h f|^2) / N: below the bound by the second term alone."""
    n, d = 400, 2
    found = torch.tensor([split(n, 0.0, seed=seed).sampling for seed in range(40)], dtype=torch.float64)
    want = sampling_bound(n, H, d) - (4 * math.pi * (1 + H**2)) ** (-d / 2) / n
    # Four standard errors of a mean of 40.
    assert abs(float(found.mean()) - want) < 4 * float(found.std()) / math.sqrt(40)
    assert want < sampling_bound(n, H, d)


def test_small_displacements_reach_a_part_of_the_bound():
    r"""One particle moved by e: |K_h(.) - K_h(. - e)|^2 = |e . grad K_h|^2 to leading order, 1/d of the bound."""
    exact = Gaussian([0.0, 0.0], torch.eye(2).tolist())
    v = torch.zeros(1, 2, dtype=torch.float64)
    e = torch.tensor([[1e-3, 0.0]], dtype=torch.float64)
    found = split_density_error(v + e, v, exact, grid_axes(6.0, 121, 2), H)
    assert found.trajectory_bound == trajectory_bound(1e-6, H, 2)
    # The next order is (e / h)^2 = 1e-5 smaller.
    assert found.trajectory == pytest.approx(found.trajectory_bound / 2, rel=1e-4)


@pytest.mark.parametrize("d", [2, 3])
def test_the_bound_holds_where_all_three_errors_are_there(d):
    """On BKW particles with a displacement each; independent displacements average out, the bound does not know it."""
    problem = BKW(d=d)
    generator = torch.Generator().manual_seed(3)
    v = problem.sample(2000, generator=generator, t=problem.t_end)
    wrong = v + 0.05 * torch.randn(v.shape, generator=generator, dtype=torch.float64)
    found = split_density_error(wrong, v, problem.density(problem.t_end), grid_axes(5.0, {2: 100, 3: 60}[d], d), H)
    assert found.total <= 3 * (found.trajectory + found.sampling + found.smoothing)
    assert found.trajectory <= found.trajectory_bound
    # Its mean is below the bound; one sample of 2,000 scatters by a few per cent.
    assert found.sampling <= 1.2 * found.sampling_bound
    assert found.total <= found.bound


def test_refuses_a_coarse_grid():
    """Sums over a grid coarser than the kernel are no integrals."""
    exact = Gaussian([0.0, 0.0], torch.eye(2).tolist())
    v = torch.zeros(3, 2, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"'bandwidth' must be at least the grid step 0.5 \(got 0.3\)"):
        split_density_error(v, v, exact, grid_axes(5.0, 21, 2), H)
    with pytest.raises(ValueError, match=r"'exact_v' must have the shape of v, \(3, 2\) \(got \(2, 2\)\)"):
        split_density_error(v, v[:2], exact, grid_axes(5.0, 101, 2), H)
