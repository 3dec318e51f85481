"""The ridge of a linear model: which values are tried, when, and by which rule one is taken."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from graphlandau.nn.linear.moments import Moments
from graphlandau.nn.linear.solve import Base, features_beside

__all__ = ["FOLDS", "RIDGES", "choose_ridge", "choose_ridge_by", "ridge_is_due"]

# Ridges tried, in units of the mean square of a feature beside the base (the mean diagonal of its Gram matrix).
# Rounding of that matrix in float32 is of the order of 1e-7 times 100 features in these units: a weaker ridge would be
# drowned by it. A stronger one than 10 leaves less than a tenth of a feature: the base alone is the better answer.
RIDGES = torch.logspace(-4, 1, 11, dtype=torch.float64)

# Ten folds cost ten eigendecompositions and train on nine tenths of the particles: the loss at N is nearly that at
# 0.9 N, and ten numbers say how uncertain their mean is (a little less than ten
# independent ones would, for their training sets overlap).
FOLDS = 10

# Choosing costs as much as several solves, and the ridge drifts slowly: every 25th solve is often enough. But a plasma
# changes most at its start, when a choice made for the initial particles (all Gaussian, or a ring) would hold for
# 25 steps of a run of 50: hence after 1, 2, 4, 8 and 16 solves too.
SELECT_EVERY = 25
SELECT_EARLY = (1, 2, 4, 8, 16)

# The features must lower the held-out loss by so many standard errors (over the folds), else the base alone is taken.
# Of 400 Gaussian samples (200 particles in 2D, 1000 in 3D) 22 and 14 would buy features by noise with one, 2 and 1
# with two, none and 1 with three.
SIGNIFICANT = 3.0


def ridge_is_due(solves: int) -> bool:
    """Whether the ridge is chosen anew after so many solves.

    Example:
        >>> [solves for solves in range(60) if ridge_is_due(solves)]
        [0, 1, 2, 4, 8, 16, 25, 50]
    """
    return solves % SELECT_EVERY == 0 or solves in SELECT_EARLY


def choose_ridge(folds: Moments, base: Callable[[Moments], Base], *, slack: float = 0.0) -> float:
    """The ridge by cross-validation over the folds, infinite for the base alone.

    Args:
        folds: Moments of each fold.
        base: The base as fitted to some moments: those of all folds but the one that is held out.
        slack: See :func:`choose_ridge_by`.
    """
    # With fewer particles than folds there is no telling.
    if len(folds.mass) < FOLDS:
        return math.inf
    gains = []
    for k in range(FOLDS):
        train = folds.mean(leave_out=k)
        fitted = base(train)
        weights = features_beside(fitted, train).minimisers(RIDGES)
        gains.append(features_beside(fitted, folds.fold(k)).loss(weights))
    return choose_ridge_by(torch.stack(gains), slack=slack)


def choose_ridge_by(gains: Tensor, *, slack: float = 0.0) -> float:
    r"""The ridge by the held-out loss over that of the base, one row for each fold and one column for each ridge.

    Of the ridges whose mean loss exceeds the least by at most ``slack`` standard errors of the excess the strongest;
    but none (infinite) unless the mean loss of that one lies below the base's by three standard errors.

    Args:
        gains: :math:`L_{k\\lambda} - L_k(\\text{base})`, negative where features help, ``(K, L)``.
        slack: 0 takes the least itself, as scores do; 1 is the one-standard-error rule, as controls do, whose many
            products with functions of the position overfit more easily.
    """
    excess = gains - gains[:, int(gains.mean(0).argmin()), None]
    # The least is taken itself: its excess is zero in every fold.
    within = excess.mean(0) <= slack * _standard_error(excess)
    # A loss that is not finite, of a potential that has overflowed, chooses nothing.
    if not bool(within.any()):
        return math.inf
    choice = int(within.nonzero().max())
    worth = gains[:, choice].mean() + SIGNIFICANT * _standard_error(gains)[choice] < 0
    return float(RIDGES[choice]) if bool(worth) else math.inf


def _standard_error(gains: Tensor) -> Tensor:
    return gains.std(0) / math.sqrt(len(gains))
