"""Affine functions and random features of the phase space as control."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from graphlandau.base.validation import as_number, require_integer, require_positive
from graphlandau.nn.control.embedding import PhaseEmbedding
from graphlandau.nn.control.linear import LinearControl
from graphlandau.nn.linear.moments import Moments
from graphlandau.nn.linear.ridge import FOLDS, choose_ridge, ridge_is_due
from graphlandau.nn.linear.solve import Base, features_beside
from graphlandau.nn.linear.tangents import Tangents

__all__ = ["FeatureControl"]

# Steepness of the steps, in whitened velocities.
GENTLEST, STEEPEST = 1.0, 6.0
# Standard deviation of their centres.
SPREAD = 1.2
# Of so many steps, one is oblique and the others are along axes.
OBLIQUE_EVERY = 4
# Standard errors by which the held-out loss of a stronger ridge may exceed the least.
SLACK = 1.0


class FeatureControl(LinearControl):
    r"""Affine functions and random steps in the velocity times ``1`` and the embedded positions.

    .. math:: \Phi = (r, y, 1) \cup \{ \tanh(a_j (n_j \cdot r - b_j)) \} \times \{1, y\}

    in the whitened coordinates of :class:`LinearControl`; in one direction of position its embedding has products. The
    directions :math:`n_j` are the axes in turn; every fourth
    is random instead if :math:`d > 1`. Steepness :math:`a_j` is between 1 and 6, centres :math:`b_j` are normal with
    deviation 1.2, both evenly spread over the steps of an axis in random order. Dimensionless.

    **Rule for the ridge.** Of 11 values between 1e-4 and 10 the strongest whose quadratic loss on held-out particles,
    in ten folds, lies within one standard error of the least; but the affine functions alone unless that loss lies
    below theirs by three standard errors, so that sampling noise does not buy features. Chosen at the first solve,
    after 1, 2, 4, 8 and 16 solves, and then at every 25th. The penalty is :math:`\frac{c}{2} \lambda \bar g |W|^2`,
    with the mean square :math:`\bar g` of a feature beside its regression on the affine functions.

    Args:
        embedding: What the control sees.
        num_features: Number of steps; ``None`` for 8 + 16 d.
        ridge: :math:`\lambda`, instead of the rule.
        seed: Seed of the features.
        harmonics: Harmonics of the positions, instead of those of the embedding. One follows a density wave, a vortex
        that winds
            up has more.

    Raises:
        ValueError: If an argument is out of range.

    Example:
        >>> FeatureControl(PhaseEmbedding(1, 1, lengths=6.0)).coefficients.shape  # 24 x (1, cos, sin) and 4 affine
        torch.Size([76, 1])

    Reference: the features and the rule are ours; for the objective see arXiv:2603.23901, Eq. (18).
    """

    slope: Tensor
    offset: Tensor
    chosen: Tensor
    solves: Tensor

    def __init__(
        self,
        embedding: PhaseEmbedding,
        num_features: int | None = None,
        ridge: float | None = None,
        seed: int = 0,
        harmonics: int | None = None,
    ) -> None:
        embedding = embedding if harmonics is None else embedding.with_harmonics(harmonics)
        # In more directions there would be too many functions.
        embedding = embedding.with_products() if embedding.d_x == 1 else embedding
        d = embedding.d
        q = 8 + 16 * d if num_features is None else require_integer("num_features", num_features, minimum=1)
        super().__init__(embedding, q * (1 + embedding.position_width))
        self.ridge = None if ridge is None else require_positive("ridge", ridge)
        directions, steepness, centre = _steps(d, q, torch.Generator().manual_seed(as_number(seed)))
        # The step is tanh(r . slope - offset).
        self.register_buffer("slope", steepness[:, None] * directions)
        self.register_buffer("offset", steepness * centre)
        self.register_buffer("chosen", torch.tensor(math.inf, dtype=torch.float64))
        self.register_buffer("solves", torch.tensor(0))

    def more(self, z: Tensor) -> Tensor:
        """Steps times ``1`` and the embedded positions."""
        step = torch.tanh(z[:, : self.d] @ self.slope.T.to(z) - self.offset.to(z))
        return _products(_with_one(z[:, self.d :]), step)

    def more_and_tangents(self, z: Tensor, tangents: Tensor, sheared: bool) -> tuple[Tensor, Tangents]:
        """The same with their derivatives."""
        step = torch.tanh(z[:, : self.d] @ self.slope.T.to(z) - self.offset.to(z))
        factor, moves = _with_one(z[:, self.d :]), tangents[:, :, : self.d] @ self.slope.T.to(z)
        value = _products(factor, step)
        if not sheared:
            return value, Tangents(
                _products(factor, 1 - step * step)[None], moves.tile(factor.size(1)).squeeze(1)[None]
            )
        by_factor = torch.nn.functional.pad(tangents[:, :, self.d :], (1, 0))
        derivatives = [
            _products(factor, (1 - step * step) * move) + _products(along, step)
            for move, along in zip(moves, by_factor, strict=True)
        ]
        return value, Tangents.dense(torch.stack(derivatives))

    def folds(self) -> int:
        """Ten where the ridge is due to be chosen, else one."""
        return FOLDS if self.ridge is None and ridge_is_due(int(self.solves)) else 1

    def choose(self, moments: Moments, c: float) -> float:
        """The ridge by the rule of the class if it is due, else the one chosen last."""
        self.solves += 1
        if self.ridge is not None:
            self.chosen.fill_(self.ridge)
        elif len(moments.mass) == FOLDS:
            # c / 2 times the loss of the moments is that of the control.
            self.chosen.fill_(choose_ridge(moments.scaled(1 / c), self._base, slack=SLACK))
        total = moments.mean()
        return float(c * self.chosen * features_beside(self._base(total), total).unit())

    def _base(self, moments: Moments) -> Base:
        """The affine functions, by themselves and beside the features."""
        base, features = slice(0, self.affine), slice(self.affine, None)
        # Positions that do not vary are functions that vanish.
        inverse = torch.linalg.pinv(moments.gram[base, base], hermitian=True)
        return Base(base, features, -inverse @ moments.linear[base], inverse @ moments.gram[base, features])


def _with_one(y: Tensor) -> Tensor:
    return torch.nn.functional.pad(y, (1, 0), value=1.0)


def _products(factor: Tensor, step: Tensor) -> Tensor:
    """Each factor times all steps."""
    return (factor[:, :, None] * step[:, None]).flatten(1)


def _steps(d: int, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Directions ``(count, d)``, steepness and centres of the steps, grouped by axis and then the oblique ones."""
    oblique = count // OBLIQUE_EVERY if d > 1 else 0
    sizes = [len(range(a, count - oblique, d)) for a in range(d)] + [oblique]
    directions, steepness, centres = [], [], []
    for axis, size in enumerate(sizes):
        along = torch.eye(d, dtype=torch.float64)[axis].expand(size, d) if axis < d else _sphere(size, d, generator)
        even = (torch.arange(size, dtype=torch.float64) + 0.5) / size
        mixed = even[torch.randperm(size, generator=generator)]
        directions.append(along)
        steepness.append(GENTLEST * (STEEPEST / GENTLEST) ** mixed)
        centres.append(SPREAD * torch.special.ndtri(even))
    return torch.cat(directions), torch.cat(steepness), torch.cat(centres)


def _sphere(count: int, d: int, generator: torch.Generator) -> Tensor:
    return torch.nn.functional.normalize(torch.randn(count, d, generator=generator, dtype=torch.float64), dim=1)
