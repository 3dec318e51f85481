"""What a score model is: a vector field close to the gradient of the log-density, with its derivatives."""

from __future__ import annotations

import copy
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from graphlandau.base import distributed
from graphlandau.base.chunks import in_chunks
from graphlandau.base.errors import InvalidArgument
from graphlandau.base.validation import is_concrete

__all__ = ["ScoreModel", "Solvable", "as_score_model"]

# Exact derivatives of a model that couples particles cost as many evaluations as there are coordinates.
MOST_COUPLED = 512
TANGENTS_AT_A_TIME = 8


class ScoreModel(nn.Module):
    r"""A model of the score :math:`s(v) \approx \nabla_v \log f(v)`, with Jacobian and divergence.

    Write your own as a subclass with ``d`` and ``forward``; the derivatives below are then exact, by forward-mode
    differentiation with all :math:`d` tangents in one batch, and can be trained through. Override
    :meth:`value_and_jacobian` where a formula is known. The Jacobian is :math:`J_{ab} = \partial s_a / \partial v_b`.
    All dimensionless.

    Attributes:
        d: Number of velocity dimensions.
        pointwise: Whether :math:`s_i` depends on :math:`v_i` alone. Set it to ``False`` in a model that couples
            particles (a graph network): its derivatives are then those of each particle's score in its own velocity,
            the others fixed, and are refused beyond 512 particles.
        min_particles: Fewest particles that the score is defined for (a graph of k neighbours needs k + 1).

    Shapes:
        - **v**, **score**: :math:`(N, d)`; **Jacobian**: :math:`(N, d, d)`; **divergence**: :math:`(N,)`

    Example:
        >>> class Maxwellian(ScoreModel):
        ...     d = 2
        ...     def forward(self, v):
        ...         return -v
        >>> Maxwellian().divergence(torch.zeros(3, 2))
        tensor([-2., -2., -2.])
    """

    d: int
    pointwise: bool = True
    min_particles: int = 1

    def forward(self, v: Float[Tensor, "N d"]) -> Float[Tensor, "N d"]:
        """Score at ``v``."""
        raise NotImplementedError

    def condition(self, v: Float[Tensor, "N d"], weight: Float[Tensor, " N"] | None = None) -> None:
        """Adapt what needs no gradient (a Gaussian base) to the particles; by default there is nothing to adapt."""

    def judge(self, v: Float[Tensor, "N d"], weight: Float[Tensor, " N"] | None = None) -> None:
        """Decide by particles that were not trained on how far to trust the training; by default it is trusted."""

    def value_and_jacobian(self, v: Float[Tensor, "N d"]) -> tuple[Float[Tensor, "N d"], Float[Tensor, "N d d"]]:
        r"""Score and Jacobian in one pass, a few particles at a time.

        A model that couples particles gives the diagonal blocks :math:`\partial s_i / \partial v_i` of the whole
        Jacobian, by :math:`N d` tangents, 8 at a time, which bounds the memory, in training too.

        Raises:
            ValueError: If the model couples more than 512 particles.
        """
        if not self.pointwise:
            return self.forward(v), self._diagonal_blocks(v)
        return distributed.by_rows(in_chunks(self._forward_mode), v)

    def _forward_mode(self, v: Tensor) -> tuple[Tensor, Tensor]:
        """A pointwise field moves particle i by its own tangent only: d tangents give every particle's Jacobian."""
        directions = torch.eye(v.size(-1), dtype=v.dtype, device=v.device)

        def push(direction: Tensor) -> tuple[Tensor, Tensor]:
            return torch.func.jvp(self.forward, (v,), (direction.expand_as(v),))[:2]

        values, columns = torch.func.vmap(push)(directions)
        return values[0], columns.permute(1, 2, 0)

    def _diagonal_blocks(self, v: Tensor) -> Tensor:
        """Blocks of one particle each, by tangents that move one coordinate of one particle."""
        n, d = v.shape
        if n > MOST_COUPLED:
            raise ValueError(
                f"{type(self).__name__} couples particles, so it has an exact Jacobian or divergence of at most "
                f"{MOST_COUPLED} particles (got {n}): train it with objective='hutchinson' or objective='denoising'"
            )

        def push(direction: Tensor) -> Tensor:
            return torch.func.jvp(self.forward, (v,), (direction,))[1]

        def columns(moved: Tensor) -> Tensor:
            directions = nn.functional.one_hot(moved, n * d).to(v.dtype).view(-1, n, d)
            particle = torch.div(moved, d, rounding_mode="floor")
            return torch.func.vmap(push)(directions)[torch.arange(moved.numel()), particle]

        parts = torch.arange(n * d, device=v.device).split(TANGENTS_AT_A_TIME)
        # Training computes them once more instead of keeping them all; function transforms have no checkpoints.
        if torch.is_grad_enabled() and is_concrete(v):
            blocks = [checkpoint(columns, moved, use_reentrant=False) for moved in parts]
        else:
            blocks = [columns(moved) for moved in parts]
        return torch.cat(blocks).view(n, d, d).mT

    def value_and_divergence(self, v: Float[Tensor, "N d"]) -> tuple[Float[Tensor, "N d"], Float[Tensor, " N"]]:
        """Score and divergence in one pass."""
        s, jacobian = self.value_and_jacobian(v)
        return s, jacobian.diagonal(dim1=-2, dim2=-1).sum(-1)

    def jacobian(self, v: Float[Tensor, "N d"]) -> Float[Tensor, "N d d"]:
        r"""Jacobian :math:`\partial s_a / \partial v_b`."""
        return self.value_and_jacobian(v)[1]

    def divergence(self, v: Float[Tensor, "N d"]) -> Float[Tensor, " N"]:
        r"""Divergence :math:`\nabla_v \cdot s`."""
        return self.value_and_divergence(v)[1]


@runtime_checkable
class Solvable(Protocol):
    """A score model that is fitted to particles by solving for it, not by gradient steps."""

    def solve(self, v: Tensor, weight: Tensor | None = None) -> None:
        """Minimise the implicit loss over the particles."""
        ...


class _ModuleScore(ScoreModel):
    """Any network from velocities to scores, under the convention of :class:`ScoreModel`."""

    def __init__(self, module: nn.Module, d: int, pointwise: bool) -> None:
        super().__init__()
        self.module, self.d, self.pointwise = module, d, pointwise

    def forward(self, v: Tensor) -> Tensor:
        return distributed.by_rows(in_chunks(self.module), v) if self.pointwise else self.module(v)


def as_score_model(module: nn.Module, d: int) -> ScoreModel:
    """Give any ``nn.Module`` that maps velocities to scores the convention of :class:`ScoreModel`.

    The module is tried on a few particles (a copy of it, so that nothing in it changes). If moving one particle
    changes the score of another, as in a graph network or with batch normalisation, it is marked as not pointwise.

    Raises:
        ValueError: If ``module`` is no ``nn.Module``, cannot be called on ``(N, d)``, does not return ``(N, d)``,
            or is a :class:`ScoreModel` of another ``d``.

    Example:
        >>> as_score_model(torch.nn.Linear(2, 2), d=2).jacobian(torch.zeros(5, 2)).shape
        torch.Size([5, 2, 2])
        >>> as_score_model(torch.nn.Linear(2, 3), d=2)
        Traceback (most recent call last):
        ValueError: 'score' must map (N, 2) to (N, 2) (Linear returned (8, 3) float32 for (8, 2) float32)
    """
    if not isinstance(module, nn.Module):
        raise InvalidArgument("score", "must be a torch.nn.Module", type(module).__name__)
    name = type(module).__name__
    if isinstance(module, ScoreModel) and getattr(module, "d", None) != d:
        raise InvalidArgument("score", f"must have d = {d}", f"a {name} with d = {getattr(module, 'd', None)}")
    like = next((x for x in [*module.parameters(), *module.buffers()] if x.is_floating_point()), torch.empty(0))
    generator = torch.Generator().manual_seed(0)
    n = max(8, module.min_particles) if isinstance(module, ScoreModel) else 8
    v = torch.randn(n, d, generator=generator).to(like)
    moved = v.clone()
    moved[0] = -2 * v[0] + 1
    with torch.no_grad(), torch.random.fork_rng():
        trial = copy.deepcopy(module).eval()
        try:
            s, again, s_moved = trial(v), trial(v), trial(moved)
        except Exception as error:  # a module that is no score model may fail in any way
            raise ValueError(
                f"'score' must map (N, {d}) to (N, {d}) ({name} failed on ({v.size(0)}, {d}): {error})"
            ) from error
    if not isinstance(s, Tensor) or s.shape != v.shape or s.dtype != v.dtype:
        got = _shape_and_dtype(s) if isinstance(s, Tensor) else type(s).__name__
        raise ValueError(f"'score' must map (N, {d}) to (N, {d}) ({name} returned {got} for {_shape_and_dtype(v)})")
    if not bool(torch.isfinite(s).all()):
        raise ValueError(f"'score' must return finite values ({name} did not, for standard normal velocities)")
    if not torch.equal(s, again):
        raise ValueError(f"'score' must be a function of the velocities ({name} gave two answers: is it random?)")
    if isinstance(module, ScoreModel):
        return module
    # Rounding of a matrix product may depend on nothing but its own row; leave room for kernels where it does.
    tolerance = 1e3 * torch.finfo(s.dtype).eps * (1 + s.abs().max())
    pointwise = bool(((s - s_moved)[1:].abs() <= tolerance).all())
    return _ModuleScore(module, d, pointwise)


def _shape_and_dtype(x: Tensor) -> str:
    return f"{tuple(x.shape)} {str(x.dtype).removeprefix('torch.')}"
