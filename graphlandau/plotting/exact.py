"""Exact curves to draw, from a density's formula alone, by the trapezoid rule on a tensor grid.

For smooth densities that vanish at the border the rule converges faster than any power of the spacing, so the
curves are exact to the width of a line as long as the spacing is below the smallest standard deviation.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from graphlandau.diagnostics import gaussian_kde, grid_axes, grid_points
from graphlandau.problems import Density, Problem

__all__ = ["entropy_dissipation", "marginal", "slice_along", "smoothed_curve", "smoothed_slice"]

# Nodes and reach beyond the drawn cube of the integral over the other components: 81 per axis in 3D, good to 1e-5
# for the narrowest mode of the benchmarks (mixture_3d), and 6,561 in 2D, where a density may jump (truncated_2d).
_NODES = 81**2
_REACH = 1.5


def slice_along(density: Density, x: Float[Tensor, " n"], component: int) -> Float[Tensor, " n"]:
    r"""Return :math:`f(x e_a)`, the density along one axis through the origin, shape :math:`(n,)`."""
    v = x.new_zeros(x.numel(), density.d)
    v[:, component] = x
    return density.log_prob(v).exp()


def marginal(density: Density, x: Float[Tensor, " n"], component: int, half_width: float) -> Float[Tensor, " n"]:
    r"""Return :math:`f_a(x) = \int f(v) \, \prod_{b \ne a} dv_b` at :math:`v_a = x`, shape :math:`(n,)`."""
    others = grid_axes(_REACH * half_width, round(_NODES ** (1 / (density.d - 1))), density.d - 1)
    rest = grid_points(others).to(x)
    cell = float(others[0][1] - others[0][0]) ** (density.d - 1)
    values = []
    for value in x:
        column = value.expand(rest.size(0), 1)
        v = torch.cat([rest[:, :component], column, rest[:, component:]], dim=1)
        values.append(density.log_prob(v).exp().sum() * cell)
    return torch.stack(values)


def smoothed_curve(f: Float[Tensor, " n"], x: Float[Tensor, " n"], bandwidth: float) -> Float[Tensor, " n"]:
    r"""Return :math:`(\phi_h * f)(x)` of a curve tabulated on the equidistant grid ``x``.

    This is what a kernel density estimate of infinitely many particles would show: the bias of the picture,
    not an error of the run. The points of the grid, weighted by :math:`f`, stand in for the particles.
    """
    return gaussian_kde(x[:, None], [x], bandwidth, f / f.sum()) * f.sum() * (x[1] - x[0])


def smoothed_slice(density: Density, x: Float[Tensor, " n"], component: int, bandwidth: float) -> Float[Tensor, " n"]:
    r"""Return :math:`(\phi_h * f)(x e_a)`, smoothed in all components, on the equidistant grid ``x``."""
    near = torch.arange(-12, 13, dtype=x.dtype) * (0.5 * bandwidth)
    grid = [x if a == component else near for a in range(density.d)]
    f = density.log_prob(grid_points(grid)).exp().reshape([axis.numel() for axis in grid])
    kernel = (-0.5 * (grid_points([near] * (density.d - 1)) / bandwidth).square().sum(dim=1)).exp()
    curve = f.movedim(component, 0).flatten(1) @ (kernel / kernel.sum())
    return smoothed_curve(curve, x, bandwidth)


def entropy_dissipation(problem: Problem, t: float, step: float) -> float | None:
    r"""Return the exact :math:`dH/dt` by a central difference of width ``2 step``, one-sided at ``t_start``.

    None where the problem knows no density or its density no entropy.
    """
    times = max(t - step, problem.t_start), t + step
    densities = [problem.density(time) for time in times]
    values = [None if density is None else density.entropy() for density in densities]
    if values[0] is None or values[1] is None:
        return None
    return (values[1] - values[0]) / (times[1] - times[0])
