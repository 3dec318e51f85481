"""Means over the particles that a linear model is solved from, fold by fold."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from graphlandau.base import distributed
from graphlandau.base.chunks import rows_at_a_time
from graphlandau.nn.linear.features import Features

__all__ = ["Moments", "score_moments"]

# Matrix products of a size that vector registers divide are a third faster.
ALIGNED = 8


class Moments(NamedTuple):
    r"""Means over each of some folds of the particles: all that a quadratic loss in the weights depends on.

    A model :math:`W^\top \Psi` that is linear in weights :math:`W` has the loss

    .. math::
        L(W) = \operatorname{tr} W^\top (G W + 2 b), \qquad G = \langle \Psi \Psi^\top \rangle, \quad
        b = \tfrac12 \partial_W L(0)

    and so has every part of the particles: folds are weighed by their mass and added.

    Shapes:
        - **gram**: :math:`G`, :math:`(K, m, m)`; **linear**: :math:`b`, :math:`(K, m, d)`; **mass**: :math:`(K,)`;
          without the first axis for all folds together, see :meth:`mean`
    """

    gram: Tensor
    linear: Tensor
    mass: Tensor

    def mean(self, leave_out: int | None = None) -> Moments:
        """Means over all folds, or over all but one."""
        keep = [k for k in range(len(self.mass)) if k != leave_out]
        share = (self.mass[keep] / self.mass[keep].sum())[:, None, None]
        return Moments((share * self.gram[keep]).sum(0), (share * self.linear[keep]).sum(0), self.mass[keep].sum())

    def fold(self, k: int) -> Moments:
        """Means over one fold."""
        return Moments(self.gram[k], self.linear[k], self.mass[k])

    def scaled(self, factor: float) -> Moments:
        """The same with another factor in front of the linear term."""
        return self._replace(linear=factor * self.linear)


def score_moments(
    features: Features, whiten: Callable[[Tensor], Tensor], v: Tensor, weight: Tensor | None, count: int, folds: int
) -> Moments:
    r"""Moments of implicit score matching with :math:`\Psi = (\Phi, x, 1)` in whitened velocities ``x``.

    The loss :math:`\langle |s|^2 + 2 \operatorname{div} s \rangle` has :math:`b = \langle \nabla\Psi \rangle`, which
    is the identity for ``x`` and 0 for 1. Particle i belongs to fold i mod ``folds``; memory is bounded, and several
    processes sum over their own rows.

    Args:
        features: :math:`\Phi`.
        whiten: Velocities to ``x``.
        v: Velocities of all particles.
        weight: Their weights.
        count: Number of features that are used.
        folds: Number of folds; those without a particle, or of weight zero, are left out.
    """
    rows, d = distributed.shard_rows(v.size(0)), v.size(1)
    w = None if weight is None else (weight / weight.sum())[rows]
    v = v[rows]
    # A multiple of the folds at a time; what is left over at the end is one particle for some of them.
    even, step = v.size(0) - v.size(0) % folds, max(1, rows_at_a_time(v) // folds) * folds
    starts = [*range(0, even, step), *([even] if even < v.size(0) else [])]
    size = count + d + 1
    # Rows are features, velocities, 1, and some of zeros: one buffer, filled anew for every chunk.
    columns = v.new_zeros(folds, size + -size % ALIGNED, min(step, v.size(0)) // folds + 1)
    columns[:, size - 1] = 1
    gram = torch.zeros(folds, columns.size(1), columns.size(1), dtype=torch.float64, device=v.device)
    gradient = torch.zeros(folds, count, d, dtype=torch.float64, device=v.device)
    for start in starts:
        here = slice(start, min(start + step, even) if start < even else None)
        x = whiten(v[here])
        used = min(folds, x.size(0))
        x = x.unflatten(0, (-1, used)).transpose(0, 1)
        share = None if w is None else w[here].unflatten(0, (-1, used)).T
        value, slope = features.value_and_mean_gradient(x, share, count)
        part = columns[:used, :, : x.size(1)]
        part[:, :count], part[:, count : size - 1] = value.mT, x.mT
        weighted = part if share is None else part * share[:, None]
        # Products in the precision of the particles, sums over the chunks in double precision.
        gram[:used] += (part @ weighted.mT).double()
        gradient[:used] += slope.double()
    # The folds of all particles, of which the first row of this process is not in the first.
    gram, gradient = (distributed.sum_partial(x.roll(rows.start % folds, 0)) for x in (gram, gradient))
    return _normalised(gram[:, :size, :size], gradient)


def _normalised(gram: Tensor, gradient: Tensor) -> Moments:
    """Means from sums; the last of the functions is 1, its square the mass of a fold."""
    # With very few particles, or weights of zero, a fold can be empty.
    full = gram[:, -1, -1] > 0
    gram, gradient = gram[full], gradient[full]
    mass = gram[:, -1, -1]
    d = gradient.size(-1)
    identity = torch.eye(d + 1, d, dtype=gradient.dtype, device=gradient.device).expand(len(mass), -1, -1)
    linear = torch.cat([gradient / mass[:, None, None], identity], dim=1)
    return Moments(gram / mass[:, None, None], linear, mass)
