r"""Where the error of a kernel density estimate comes from: kernel, sample, or wrong particles.

With the estimate :math:`\hat f_h` from particles :math:`\hat v_i`, the one from the true particles :math:`v_i`,
:math:`f^N_h`, and the smoothed density :math:`K_h * f`,

.. math::
    \|\hat f_h - f\|^2 \le 3 \bigl( \|\hat f_h - f^N_h\|^2 + \|f^N_h - K_h * f\|^2 + \|K_h * f - f\|^2 \bigr), \qquad
    \|\hat f_h - f^N_h\|^2 \le \frac{\|\nabla K\|^2}{h^{d+2}} E, \quad
    \mathbb E \|f^N_h - K_h * f\|^2 \le \frac{\|K\|^2}{N h^d}

in :math:`L^2`. For the Gaussian kernel :math:`\|K\|^2 = (4\pi)^{-d/2}` and :math:`\|\nabla K\|^2 = \tfrac d2
(4\pi)^{-d/2}`, so that all constants but that of the first term's :math:`h^4` are explicit, and with the exact density
that term is known too. Reference: arXiv:2603.10874, Theorem 6 and Appendix A.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from graphlandau.base.errors import InvalidArgument
from graphlandau.base.validation import require_positive
from graphlandau.diagnostics.density import gaussian_kde, grid_points
from graphlandau.problems import Density

__all__ = ["DensitySplit", "sampling_bound", "split_density_error", "trajectory_bound"]


@dataclass(frozen=True)
class DensitySplit:
    r"""Squared :math:`L^2` errors of a density estimate on a grid.

    Attributes:
        total: :math:`\|\hat f_h - f\|^2`.
        trajectory: Measured part of the wrong particles.
        sampling: Measured part of the finite sample.
        smoothing: Part of the kernel's width.
        trajectory_bound: :math:`\|\nabla K\|^2 h^{-(d+2)} E`.
        sampling_bound: :math:`\|K\|^2 / (N h^d)`, for the mean over samples.
        norm: :math:`\|f\|^2`, for relative errors.
    """

    total: float
    trajectory: float
    sampling: float
    smoothing: float
    trajectory_bound: float
    sampling_bound: float
    norm: float

    @property
    def bound(self) -> float:
        """Three times the sum of the bounds and the smoothing error: what ``total`` is bounded by on average."""
        return 3 * (self.trajectory_bound + self.sampling_bound + self.smoothing)


def sampling_bound(n: int, bandwidth: float, d: int) -> float:
    r"""Bound :math:`(4\pi)^{-d/2} / (N h^d)` of the mean squared error by the finite sample."""
    return (4 * math.pi) ** (-d / 2) / (n * require_positive("bandwidth", bandwidth) ** d)


def trajectory_bound(error: float, bandwidth: float, d: int) -> float:
    r"""Bound :math:`\tfrac d2 (4\pi)^{-d/2} h^{-(d+2)} E` of the squared error by wrong particles."""
    return 0.5 * d * (4 * math.pi) ** (-d / 2) * error / require_positive("bandwidth", bandwidth) ** (d + 2)


def split_density_error(
    v: Float[Tensor, "N d"],
    exact_v: Float[Tensor, "N d"],
    exact: Density,
    axes: Sequence[Float[Tensor, " _"]],
    bandwidth: float,
) -> DensitySplit:
    r"""Split the error of the Gaussian kernel density estimate of particles whose true places are known.

    Sums over the nodes stand for the integrals: the grid must be finer than the bandwidth and reach beyond the density.

    Args:
        v: Particles :math:`\hat v_i`.
        exact_v: True places :math:`v_i` of the same particles.
        exact: Exact density :math:`f`.
        axes: Equidistant nodes of the grid.
        bandwidth: Standard deviation :math:`h` of the kernel.

    Raises:
        ValueError: If the particles do not match, or a grid step is larger than the bandwidth.
    """
    if v.shape != exact_v.shape:
        raise InvalidArgument("exact_v", f"must have the shape of v, {tuple(v.shape)}", tuple(exact_v.shape))
    d, steps = v.size(1), [float(axis[1] - axis[0]) for axis in axes]
    if max(steps) > require_positive("bandwidth", bandwidth):
        raise InvalidArgument("bandwidth", f"must be at least the grid step {max(steps):.3g}", f"{bandwidth:g}")
    cell = math.prod(steps)
    nodes = [axis.double() for axis in axes]
    f = exact.log_prob(grid_points(nodes)).exp().reshape([axis.numel() for axis in nodes])
    smooth = f
    for a, axis in enumerate(nodes):
        kernel = torch.exp(-0.5 * ((axis[:, None] - axis) / bandwidth).square())
        kernel *= steps[a] / (math.sqrt(2 * math.pi) * bandwidth)
        smooth = (kernel @ smooth.flatten(1)).reshape(smooth.shape).movedim(0, -1)  # the next axis comes first
    estimate, oracle = (gaussian_kde(x.double(), nodes, bandwidth) for x in (v, exact_v))
    error = float((v.double() - exact_v.double()).square().sum(1).mean())

    def square(x: Tensor) -> float:
        return float(x.square().sum()) * cell

    return DensitySplit(
        total=square(estimate - f),
        trajectory=square(estimate - oracle),
        sampling=square(oracle - smooth),
        smoothing=square(smooth - f),
        trajectory_bound=trajectory_bound(error, bandwidth, d),
        sampling_bound=sampling_bound(v.size(0), bandwidth, d),
        norm=square(f),
    )
