"""The score in a linear model over the Gaussian one, by one linear solve."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from graphlandau.base import distributed
from graphlandau.base.chunks import in_chunks
from graphlandau.base.errors import InvalidArgument
from graphlandau.base.validation import require_integer, require_one_of, require_positive
from graphlandau.nn.linear.features import Features, FourierFeatures, NetworkFeatures
from graphlandau.nn.linear.moments import Moments, score_moments
from graphlandau.nn.linear.ridge import FOLDS, choose_ridge, ridge_is_due
from graphlandau.nn.linear.solve import Base, features_beside
from graphlandau.nn.linear.tanh import TanhFeatures
from graphlandau.nn.score.base import given
from graphlandau.nn.score.whitened import WhitenedScore

__all__ = ["ClosedFormScore"]

RANDOM_FEATURES = {"tanh": TanhFeatures, "fourier": FourierFeatures}

# Random features: one for every PARTICLES_PER_FEATURE particles, at most MAX_FEATURES.
PARTICLES_PER_FEATURE = 10
MAX_FEATURES = 96


class ClosedFormScore(WhitenedScore):
    r"""The exact minimiser of the implicit score-matching loss in a linear model over a Gaussian base.

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
        d = self.d
        self.num_features = None if num_features is None else require_integer("num_features", num_features, minimum=1)
        self.ridge = None if ridge is None else require_positive("ridge", ridge)
        if isinstance(features, nn.Module):
            if num_features is not None:
                raise InvalidArgument("num_features", "must be None when 'features' is a network", num_features)
            self.features: Features = NetworkFeatures(d, features)
        else:
            kind = RANDOM_FEATURES[require_one_of("features", features, tuple(RANDOM_FEATURES))]
            self.features = kind(d, self.num_features or MAX_FEATURES, seed)
        # The solution s_x = (x, 1) affine + Phi coefficients, then the choice of the ridge.
        self.register_buffer("affine", torch.cat([-torch.eye(d), torch.zeros(1, d)]).double())
        self.register_buffer("coefficients", torch.zeros(self.features.max_count, d, dtype=torch.float64))
        self.register_buffer(
            "chosen", torch.tensor(math.inf if self.ridge is None else self.ridge, dtype=torch.float64)
        )
        self.register_buffer("solves", torch.tensor(0))

    @torch.no_grad()
    def solve(self, v: Float[Tensor, "N d"], weight: Float[Tensor, " N"] | None = None) -> None:
        """Fit the score to the particles: base, ridge (when it is due), coefficients.

        Raises:
            ValueError: If ``v`` is not finite, has fewer than ``d + 2`` particles, or a singular covariance.
        """
        self.condition(v, weight)
        folds = self._choose_ridge(v, weight)
        self.affine.copy_(torch.cat([-torch.eye(self.d), torch.zeros(1, self.d)]))
        self.coefficients.zero_()
        if bool(self.chosen.isfinite()):
            total = (self._moments(v, weight, 1) if folds is None else folds).mean()
            base = self._base(total)
            coefficients = features_beside(base, total).minimisers(self.chosen[None])[0]
            self.coefficients[: len(coefficients)] = coefficients
            self.affine -= base.regression @ coefficients

    @torch.no_grad()
    def choose_ridge(self, v: Float[Tensor, "N d"], weight: Float[Tensor, " N"] | None = None) -> None:
        """Choose the ridge by the rule of the class if it is due; call it once before each fit, after ``condition``."""
        self._choose_ridge(v, weight)

    def _choose_ridge(self, v: Tensor, weight: Tensor | None) -> Moments | None:
        """The moments of the folds that it was chosen by, ``None`` if it was not due."""
        solves = int(self.solves)
        self.solves += 1
        if self.ridge is not None or not ridge_is_due(solves):
            return None
        folds = self._moments(v, weight, FOLDS)
        self.chosen.fill_(choose_ridge(folds, self._base))
        return folds

    def _moments(self, v: Tensor, weight: Tensor | None, folds: int) -> Moments:
        """Moments of the features, then ``x`` and 1, over each fold."""
        return score_moments(self.features, self.whiten, v, weight, self.feature_count(v.size(0)), folds)

    def _base(self, moments: Moments) -> Base:
        r"""The Gaussian :math:`-x` of all particles, whatever part of them the moments are of."""
        count = moments.gram.size(-1) - self.d - 1
        base, features = slice(count, None), slice(0, count)
        regression = torch.linalg.solve(moments.gram[base, base], moments.gram[base, features])
        return Base(base, features, -torch.eye(self.d + 1, self.d).to(moments.gram), regression)

    def forward(self, v: Float[Tensor, "N d"], *, batch: Int[Tensor, " N"] | None = None) -> Float[Tensor, "N d"]:
        """Score at ``v``."""
        whole = super().forward

        def score(v: Tensor, batch: Tensor | None = None) -> Tensor:
            return whole(v, batch=batch)

        return distributed.by_rows(in_chunks(score), v, *given(batch=batch).values())

    def value_and_jacobian(
        self, v: Float[Tensor, "N d"], batch: Int[Tensor, " N"] | None = None
    ) -> tuple[Float[Tensor, "N d"], Float[Tensor, "N d d"]]:
        """Score and Jacobian in one pass."""
        return distributed.by_rows(in_chunks(super().value_and_jacobian), v, *given(batch=batch).values())

    def whitened_score(self, x: Tensor, batch: Tensor | None = None) -> Tensor:
        """Score in whitened velocities."""
        s = torch.addmm(self.affine[-1].to(x), x, self.affine[:-1].to(x))
        if not bool(self.chosen.isfinite()):
            return s
        return s + (self.coefficients.to(x).T @ self.features(x).T).T

    def whitened_score_and_jacobian(self, x: Tensor, batch: Tensor | None = None) -> tuple[Tensor, Tensor]:
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
            return self.features.max_count
        return min(self.features.max_count, self.features.fixed + max(1, particles // PARTICLES_PER_FEATURE))
