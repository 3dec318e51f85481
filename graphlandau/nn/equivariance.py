"""Whether a score turns, moves and is permuted with the particles."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from graphlandau.base.copies import copied
from graphlandau.base.errors import InvalidArgument
from graphlandau.base.validation import require_finite, require_integer, require_positive, require_velocities
from graphlandau.base.vectors import less
from graphlandau.nn.score import ScoreModel, Solvable

__all__ = ["equivariance_error", "require_equivariant"]

Score = Callable[[Tensor], Tensor]


@torch.no_grad()
def equivariance_error(
    score: Score, v: Float[Tensor, "N d"], *, generator: torch.Generator | None = None, trials: int = 4
) -> dict[str, float]:
    r"""How far a score is from following the particles, under each symmetry of the Landau equation.

    For rotations and reflections :math:`Q`, translations :math:`c` and permutations :math:`P` of the particles,

    .. math::
        s(v Q^\top) = s(v) Q^\top, \qquad s(v + c) = s(v), \qquad s(P v) = P s(v).

    Draws ``trials`` of each at random, translations of the size of the particles' spread. A score model is first
    adapted to the particles that it is evaluated on, by ``solve`` or ``condition``, for its mean and covariance move
    with them; it is a copy, in evaluation mode, that is adapted.

    Args:
        score: Score model, module or function from :math:`(N, d)` to :math:`(N, d)`.
        v: Velocities to try it on, best not symmetric themselves.
        generator: Where the transformations are drawn from, on the CPU; torch's global one if absent.
        trials: Transformations of each kind.

    Returns:
        For ``"rotation"``, ``"reflection"``, ``"translation"``, ``"permutation"`` the largest
        :math:`\max_i |\delta s_i| / \sqrt{\langle |s|^2 \rangle}`: some 1e-6 for an equivariant score in float32. A
        score that is solved for on parts of the particles by number (``ClosedFormScore``) breaks the permutation.

    Raises:
        ValueError: If ``v`` is no finite :math:`(N, d)` tensor, ``trials`` is below 1, or the score is not finite or
            of another shape.

    Example:
        >>> v = torch.randn(20, 2, generator=torch.Generator().manual_seed(0))
        >>> errors = equivariance_error(lambda v: v.mean(0) - v, v)
        >>> max(errors.values()) < 1e-5
        True
        >>> equivariance_error(lambda v: -v, v)["translation"] > 0.1
        True
    """
    require_velocities("v", v)
    trials = require_integer("trials", trials, minimum=1)
    s = _adapted(score, v)
    scale = s.square().sum(1).mean().sqrt().clamp_min(torch.finfo(v.dtype).tiny)
    spread = less(v, v.double().mean(0)).square().mean().sqrt()
    errors: dict[str, float] = {}

    def compare(symmetry: str, actual: Tensor, expected: Tensor) -> None:
        error = float((actual - expected).norm(dim=1).max() / scale)
        errors[symmetry] = max(errors.get(symmetry, 0.0), error)

    for _ in range(trials):
        turn = _rotation(v, generator)
        mirror = turn.clone()
        mirror[0] = -mirror[0]
        for symmetry, q in (("rotation", turn), ("reflection", mirror)):
            compare(symmetry, _adapted(score, v @ q.T), s @ q.T)
        shift = spread * torch.randn(v.size(1), generator=generator, dtype=torch.float64).to(v)
        compare("translation", _adapted(score, v + shift), s)
        order = torch.randperm(v.size(0), generator=generator).to(v.device)
        compare("permutation", _adapted(score, v[order]), s[order])
    return errors


def require_equivariant(
    score: Score,
    v: Float[Tensor, "N d"],
    *,
    tolerance: float | None = None,
    generator: torch.Generator | None = None,
    trials: int = 4,
) -> None:
    """Raise unless a score follows the particles, see :func:`equivariance_error`.

    Args:
        score: Score model, module or function from :math:`(N, d)` to :math:`(N, d)`.
        v: Velocities to try it on.
        tolerance: Largest error allowed; 1e4 times the rounding unit of ``v`` (1e-3 in float32) unless given.
        generator: Where the transformations are drawn from, on the CPU.
        trials: Transformations of each kind.

    Raises:
        ValueError: If it does not; the error names the symmetry that is violated most.

    Example:
        >>> v = torch.randn(20, 2, generator=torch.Generator().manual_seed(0))
        >>> require_equivariant(lambda v: v.mean(0) - v, v)
        >>> constant = lambda v: 0 * v + 1
        >>> require_equivariant(constant, v, generator=torch.Generator().manual_seed(0))  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        graphlandau.base.errors.InvalidArgument: 'score' must be equivariant (got a relative error of 1.9 ...
    """
    require_velocities("v", v)
    tolerance = 1e4 * torch.finfo(v.dtype).eps if tolerance is None else require_positive("tolerance", tolerance)
    errors = equivariance_error(score, v, generator=generator, trials=trials)
    worst = max(errors, key=lambda symmetry: errors[symmetry])
    if errors[worst] > tolerance:
        raise InvalidArgument(
            "score",
            "must be equivariant",
            f"a relative error of {errors[worst]:.2g} under {worst}s, tolerance {tolerance:.2g}",
        )


def _adapted(score: Score, v: Tensor) -> Tensor:
    """The score of a copy that has been adapted to ``v``."""
    if isinstance(score, nn.Module):
        score = model = copied(score).eval()
        if isinstance(model, Solvable):
            model.solve(v)
        elif isinstance(model, ScoreModel):
            model.condition(v)
    s = score(v)
    if not isinstance(s, Tensor) or s.shape != v.shape:
        got = tuple(s.shape) if isinstance(s, Tensor) else type(s).__name__
        raise InvalidArgument("score", f"must map {tuple(v.shape)} to {tuple(v.shape)}", got)
    return require_finite("score", s)


def _rotation(v: Tensor, generator: torch.Generator | None) -> Tensor:
    """A uniformly distributed rotation, determinant 1."""
    d = v.size(1)
    q, r = torch.linalg.qr(torch.randn(d, d, generator=generator, dtype=torch.float64))
    q = q * torch.sign(r.diagonal())
    q[0] = q[0] * torch.sign(torch.linalg.det(q))
    return q.to(v)
