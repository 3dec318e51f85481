"""The score in a linear span, by one linear solve."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from graphlandau.base import distributed
from graphlandau.base.chunks import in_chunks, rows_at_a_time
from graphlandau.base.errors import InvalidArgument
from graphlandau.base.validation import require_integer, require_one_of, require_positive
from graphlandau.nn.score.features import FourierFeatures, NetworkFeatures, TanhFeatures
from graphlandau.nn.score.whitened import WhitenedScore

__all__ = ["ClosedFormScore"]

RANDOM_FEATURES = {"tanh": TanhFeatures, "fourier": FourierFeatures}

# Random features: one for every PARTICLES_PER_FEATURE particles, at most MOST_FEATURES.
PARTICLES_PER_FEATURE = 10
MOST_FEATURES = 96

# Ridges tried, in units of the mean diagonal of the Gram matrix. Its rounding in float32 is of the order of
# 1e-7 times 100 features in these units: a weaker ridge would be drowned by it.
RIDGES = torch.logspace(-4, 1, 11, dtype=torch.float64)
FOLDS = 10

# Choosing the ridge costs as much as several solves, and it drifts slowly; but a plasma changes most at its start.
SELECT_EVERY = 25
SELECT_EARLY = (1, 2, 4, 8, 16)

# Matrix products of a size that vector registers divide are a third faster.
ALIGNED = 8


class ClosedFormScore(WhitenedScore):
    r"""The exact minimiser of the implicit score-matching loss in a linear span over a Gaussian base.

    In the whitened velocities :math:`x = \Sigma^{-1/2}(v - m)` of the particles,

    .. math::
        s_x(x) = -x + W^\top \tilde\Phi(x), \qquad
        W = -(G + \lambda \bar g I)^{-1} \langle \nabla\tilde\Phi \rangle, \qquad
        G = \langle \tilde\Phi \tilde\Phi^\top \rangle, \quad \bar g = \operatorname{tr} G / m

    minimises :math:`\langle |s|^2 + 2 \operatorname{div} s \rangle + \lambda \bar g |W|^2`: one linear solve, no
    learning rate. The features :math:`\tilde\Phi` are :math:`\Phi` made orthogonal to 1 and :math:`x` over the
    particles, so that for every :math:`\lambda` the identities :math:`\langle s \rangle = 0` and
    :math:`\langle v s^\top \rangle = -I` hold exactly, as for the true score. Dimensionless.

    **Rule for the ridge.** Of 11 values between 1e-4 and 10 the one with the least implicit loss on held-out
    particles, in ten folds; but the Gaussian base alone unless that loss lies below the base's by three
    standard errors (over the folds), so that sampling noise does not buy features. Chosen at the first call,
    after 1, 2, 4, 8 and 16 calls, and then at every 25th. **Rule for the features.** One per 10 particles, at most 96
    (and the central ones).

    Args:
        d: Velocity dimensions.
        features: ``"tanh"`` (two random layers) or ``"fourier"`` (random cosines); in Python also a network
            :math:`(N, d) \to (N, m)` of whitened velocities, such as the last hidden layer of a trained model.
        num_features: Number of random features, instead of the rule.
        ridge: :math:`\lambda`, instead of the rule.
        seed: Seed of the random features.

    Raises:
        ValueError: If an argument is out of range.

    Example:
        >>> v = torch.randn(500, 2, generator=torch.Generator().manual_seed(0))
        >>> score = ClosedFormScore(2)
        >>> score.solve(v)
        >>> torch.allclose(score(v).T @ v / 500, -torch.eye(2), atol=1e-5)
        True

    The closed form and its rules are ours; the loss is Eq. (3.4) of Ilin, Hu and Wang 2025.
    """

    affine: Tensor
    coefficients: Tensor
    chosen: Tensor
    solves: Tensor

    def __init__(
        self,
        d: int,
        features: str | nn.Module = "tanh",
        num_features: int | None = None,
        ridge: float | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(d)
        self.num_features = None if num_features is None else require_integer("num_features", num_features, minimum=1)
        self.ridge = None if ridge is None else require_positive("ridge", ridge)
        if isinstance(features, nn.Module):
            if num_features is not None:
                raise InvalidArgument("num_features", "must be None when 'features' is a network", num_features)
            self.features: TanhFeatures | FourierFeatures | NetworkFeatures = NetworkFeatures(d, features)
        else:
            kind = RANDOM_FEATURES[require_one_of("features", features, tuple(RANDOM_FEATURES))]
            self.features = kind(d, num_features or MOST_FEATURES, seed)
        # The solution s_x = (x, 1) affine + Phi coefficients, then the choice of the ridge.
        self.register_buffer("affine", torch.cat([-torch.eye(d), torch.zeros(1, d)]).double())
        self.register_buffer("coefficients", torch.zeros(self.features.most, d, dtype=torch.float64))
        self.register_buffer("chosen", torch.tensor(math.inf if ridge is None else ridge, dtype=torch.float64))
        self.register_buffer("solves", torch.tensor(0))

    @torch.no_grad()
    def solve(self, v: Float[Tensor, "N d"], weight: Float[Tensor, " N"] | None = None) -> None:
        """Fit the score to the particles: base, ridge (when it is due), coefficients.

        Raises:
            ValueError: If ``v`` is not finite, has fewer than ``d + 2`` particles, or a singular covariance.
        """
        self.condition(v, weight)
        means = self._choose_ridge(v, weight)
        self.affine.copy_(torch.cat([-torch.eye(self.d), torch.zeros(1, self.d)]))
        self.coefficients.zero_()
        if bool(self.chosen.isfinite()):
            total = (self._means(v, weight, 1) if means is None else means).mean()
            projection = total.projection()
            coefficients = _minimisers(total.orthogonal(projection), self.chosen[None])[0]
            self.coefficients[: len(coefficients)] = coefficients
            self.affine -= projection @ coefficients

    @torch.no_grad()
    def choose_ridge(self, v: Float[Tensor, "N d"], weight: Float[Tensor, " N"] | None = None) -> None:
        """Choose the ridge by the rule of the class if it is due; call it once before each fit, after ``condition``."""
        self._choose_ridge(v, weight)

    def _choose_ridge(self, v: Tensor, weight: Tensor | None) -> _Means | None:
        """The means over folds that it was chosen by, ``None`` if it was not due."""
        solves = int(self.solves)
        self.solves += 1
        if self.ridge is not None or not (solves % SELECT_EVERY == 0 or solves in SELECT_EARLY):
            return None
        folds = self._means(v, weight, FOLDS)
        self.chosen.fill_(_select(folds, folds.mean()))
        return folds

    def forward(self, v: Float[Tensor, "N d"]) -> Float[Tensor, "N d"]:
        """Score at ``v``."""
        return distributed.by_rows(in_chunks(super().forward), v)

    def value_and_jacobian(self, v: Float[Tensor, "N d"]) -> tuple[Float[Tensor, "N d"], Float[Tensor, "N d d"]]:
        """Score and Jacobian in one pass."""
        return distributed.by_rows(in_chunks(super().value_and_jacobian), v)

    def whitened_score(self, x: Tensor) -> Tensor:
        """Score in whitened velocities."""
        s = torch.addmm(self.affine[-1].to(x), x, self.affine[:-1].to(x))
        if not bool(self.chosen.isfinite()):
            return s
        return s + (self.coefficients.to(x).T @ self.features(x).T).T

    def whitened_score_and_jacobian(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Score and Jacobian in whitened velocities."""
        s = torch.addmm(self.affine[-1].to(x), x, self.affine[:-1].to(x))
        jacobian = self.affine[:-1].T.to(x).expand(x.size(0), -1, -1)
        if not bool(self.chosen.isfinite()):
            return s, jacobian
        value, slope = self.features.value_and_jacobian(x, self.coefficients.to(x))
        return s + value, jacobian + slope

    def feature_count(self, particles: int) -> int:
        """Number of features that are used for so many particles."""
        if self.num_features is not None:
            return self.features.most
        return min(self.features.most, self.features.fixed + max(1, particles // PARTICLES_PER_FEATURE))

    def _means(self, v: Tensor, weight: Tensor | None, folds: int) -> _Means:
        """Particle means per fold (particle i belongs to fold i mod ``folds``), in bounded memory."""
        count, rows = self.feature_count(v.size(0)), distributed.shard_rows(v.size(0))
        w = None if weight is None else (weight / weight.sum())[rows]
        v = v[rows]
        # A multiple of the folds at a time; what is left over at the end is one particle for some of them.
        whole, step = v.size(0) - v.size(0) % folds, max(1, rows_at_a_time(v) // folds) * folds
        starts = [*range(0, whole, step), *([whole] if whole < v.size(0) else [])]
        size = count + self.d + 1
        # Rows are features, velocities, 1, and some of zeros.
        columns = v.new_zeros(folds, size + -size % ALIGNED, min(step, v.size(0)) // folds + 1)
        columns[:, size - 1] = 1
        gram = torch.zeros(folds, columns.size(1), columns.size(1), dtype=torch.float64, device=v.device)
        gradient = torch.zeros(folds, count, self.d, dtype=torch.float64, device=v.device)
        for start in starts:
            here = slice(start, min(start + step, whole) if start < whole else None)
            x = self.whiten(v[here])
            used = min(folds, x.size(0))
            x = x.unflatten(0, (-1, used)).transpose(0, 1)
            share = None if w is None else w[here].unflatten(0, (-1, used)).T
            value, slope = self.features.value_and_mean_gradient(x, share, count)
            part = columns[:used, :, : x.size(1)]
            part[:, :count], part[:, count : size - 1] = value.mT, x.mT
            weighted = part if share is None else part * share[:, None]
            gram[:used] += (part @ weighted.mT).double()
            gradient[:used] += slope.double()
        # The folds of all particles, of which these are not the first.
        gram, gradient = (distributed.sum_partial(x.roll(rows.start % folds, 0)) for x in (gram, gradient))
        # With very few particles, or weights of zero, a fold can be empty.
        gram = gram[:, :size, :size]
        full = gram[:, -1, -1] > 0
        gram, gradient = gram[full], gradient[full]
        mass = gram[:, -1, -1, None, None]
        return _Means(gram / mass, gradient / mass, mass)


class _Quadratic(NamedTuple):
    r"""The loss :math:`\operatorname{tr} W^\top G W + 2 \operatorname{tr} W^\top b` of the features over the base."""

    gram: Tensor
    linear: Tensor

    def loss(self, coefficients: Tensor) -> Tensor:
        """Loss of each of ``coefficients``, ``(L, m, d)``."""
        return (coefficients * (self.gram @ coefficients + 2 * self.linear)).sum((-2, -1))


class _Means(NamedTuple):
    r"""Means over folds of :math:`(\Phi, x, 1)(\Phi, x, 1)^\top` and of :math:`\nabla\Phi`, and the folds' mass."""

    gram: Tensor
    gradient: Tensor
    mass: Tensor

    def mean(self, leave_out: int | None = None) -> _Means:
        """Means over all folds, or all but one."""
        keep = [k for k in range(len(self.mass)) if k != leave_out]
        share = self.mass[keep] / self.mass[keep].sum()
        return _Means((share * self.gram[keep]).sum(0), (share * self.gradient[keep]).sum(0), self.mass[keep].sum())

    def projection(self) -> Tensor:
        r"""Regression of :math:`\Phi` on :math:`(x, 1)`, ``(d + 1, m)``."""
        m = self.gradient.size(-2)
        return torch.linalg.solve(self.gram[m:, m:], self.gram[m:, :m])

    def orthogonal(self, projection: Tensor) -> _Quadratic:
        r"""Loss of :math:`\tilde\Phi = \Phi - P^\top (x, 1)` over the base :math:`s_0 = -x`, whose linear term is
        :math:`\langle \nabla\tilde\Phi \rangle + \langle \tilde\Phi s_0^\top \rangle`.
        """
        m, d = self.gradient.shape[-2:]
        gram, cross, affine = self.gram[:m, :m], self.gram[m:, :m], self.gram[m:, m:]
        mixed = projection.T @ cross
        gram = gram - mixed - mixed.T + projection.T @ affine @ projection
        base = cross[:d].T - projection.T @ affine[:, :d]
        return _Quadratic(gram, self.gradient - projection[:d].T - base)


def _minimisers(quadratic: _Quadratic, ridges: Tensor) -> Tensor:
    """Minimiser for each ridge, ``(L, m, d)``: one eigendecomposition serves them all."""
    values, vectors = torch.linalg.eigh(quadratic.gram)
    # If no feature varies at all (a network of dead units), nothing is added to the base.
    unit = values.mean().clamp_min(torch.finfo(values.dtype).tiny)
    shifted = values.clamp_min(0) + ridges.to(values)[:, None] * unit
    return -vectors @ ((vectors.T @ quadratic.linear) / shifted[:, :, None])


def _select(folds: _Means, total: _Means) -> float:
    """The ridge by the rule of the class, infinite for the base alone."""
    count = len(folds.mass)
    if count < FOLDS:
        return math.inf
    gains = []
    for k in range(count):
        train = folds.mean(leave_out=k)
        projection = train.projection()
        held_out = _Means(folds.gram[k], folds.gradient[k], folds.mass[k]).orthogonal(projection)
        gains.append(held_out.loss(_minimisers(train.orthogonal(projection), RIDGES)))
    loss = torch.stack(gains)
    mean, error = loss.mean(0), loss.std(0) / math.sqrt(count)
    best = int(mean.argmin())
    if mean[best] + 3 * error[best] >= 0:
        return math.inf
    return float(RIDGES[best])
