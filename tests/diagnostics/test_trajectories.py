"""The error of particles followed one by one."""

from __future__ import annotations

import pytest
import torch

from graphlandau.diagnostics import relative_trajectory_error


def test_is_the_squared_ratio():
    """A relative displacement of 3 % in every particle is 9e-4; weights count."""
    v = torch.randn(50, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert float(relative_trajectory_error(1.03 * v, v)) == pytest.approx(9e-4, rel=1e-12)
    weight = torch.zeros(50, dtype=torch.float64)
    weight[7] = 1.0
    wrong = v.clone()
    wrong[8:] = 0
    assert float(relative_trajectory_error(wrong, v, weight)) == 0.0


def test_refuses_other_particles():
    """Particles are compared one by one."""
    with pytest.raises(ValueError, match=r"'v' must have the shape \(N, d\) of reference, \(4, 2\)"):
        relative_trajectory_error(torch.zeros(3, 2), torch.zeros(4, 2))
