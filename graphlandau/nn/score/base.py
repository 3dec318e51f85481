"""What a score model is: a vector field close to the gradient of the log-density, with its derivatives."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from graphlandau.base import distributed
from graphlandau.base.chunks import in_chunks
from graphlandau.base.derivatives import elementary_attention, jacobian_product
from graphlandau.base.precision import Adapted
from graphlandau.base.validation import is_concrete
from graphlandau.graphs.partition import Partition
from graphlandau.nn.field import Field, Trial, adapt, moved_first

__all__ = ["ScoreModel", "Solvable", "as_score_model", "given"]

# Exact derivatives of a model that couples particles cost as many evaluations as there are coordinates.
MAX_COUPLED = 512
TANGENTS_AT_A_TIME = 8


def given(**arguments: Tensor | None) -> dict[str, Tensor]:
    """Those of the ``arguments`` that are not ``None``: what has no such argument is called without it."""
    return {name: x for name, x in arguments.items() if x is not None}


class ScoreModel(Field):
    r"""A model of the score :math:`s(v) \approx \nabla_v \log f(v)`, with Jacobian and divergence.

    Write your own as a subclass with ``d`` and ``forward``; the derivatives below are then exact, by forward-mode
    differentiation with all :math:`d` tangents in one batch, and can be trained through. Override
    :meth:`value_and_jacobian` where a formula is known. The Jacobian is :math:`J_{ab} = \partial s_a / \partial v_b`.
    All dimensionless.

    **Batches of plasmas.** ``batch`` is the block of each particle, as in a PyG ``Batch``: block ``b`` is plasma ``b``
    of those that the model was conditioned on. A model that depends on the plasma, or couples particles, has an
    argument ``batch`` in ``forward``, ``value_and_jacobian``, ``condition`` and ``judge``; if it needs edges that are
    given, ``edge_index`` in the first two. A model without these arguments serves batches too: a pointwise one treats
    all particles alike, one that couples them is called with each plasma by itself. :meth:`evaluate` and
    :meth:`value_and_divergence` of every model take both.

    Attributes:
        d: Number of velocity dimensions.
        pointwise: Whether :math:`s_i` depends on :math:`v_i` alone. Set it to ``False`` in a model that couples
            particles (a graph network): its derivatives are then those of each particle's score in its own velocity,
            the others fixed, and are refused beyond 512 particles of one plasma.
        min_particles: Fewest particles that the score is defined for (a graph of k neighbours needs k + 1).

    Shapes:
        - **v**, **score**: :math:`(N, d)`; **Jacobian**: :math:`(N, d, d)`; **divergence**: :math:`(N,)`
        - **batch**: integers :math:`(N,)` *(optional)*; **edge_index**: :math:`(2, E)` *(optional)*

    Example:
        >>> class Maxwellian(ScoreModel):
        ...     d = 2
        ...     def forward(self, v):
        ...         return -v
        >>> Maxwellian().divergence(torch.zeros(3, 2))
        tensor([-2., -2., -2.])
    """

    min_particles: int = 1

    def judge(self, *state: Any, **more: Any) -> None:
        """Decide by particles that were not trained on how far to trust the training; by default it is trusted."""

    def evaluate(
        self,
        v: Float[Tensor, "N d"],
        batch: Int[Tensor, " N"] | None = None,
        edge_index: Int[Tensor, "2 E"] | None = None,
    ) -> Float[Tensor, "N d"]:
        """Score at ``v`` in a batch of plasmas, whatever arguments ``forward`` has."""
        return self._in_plasmas(self, v, batch, edge_index)

    def value_and_jacobian(
        self,
        v: Float[Tensor, "N d"],
        batch: Int[Tensor, " N"] | None = None,
        edge_index: Int[Tensor, "2 E"] | None = None,
    ) -> tuple[Float[Tensor, "N d"], Float[Tensor, "N d d"]]:
        r"""Score and Jacobian in one pass, a few particles at a time.

        A model that couples particles gives the diagonal blocks :math:`\partial s_i / \partial v_i` of the whole
        Jacobian, by :math:`n d` tangents for the :math:`n` particles of the largest plasma, 8 at a time, which bounds
        the memory, in training too.

        Raises:
            ValueError: If the model couples more than 512 particles.
        """
        if not self.pointwise:
            return self.evaluate(v, batch, edge_index), self._diagonal_blocks(v, batch, edge_index)
        return distributed.by_rows(in_chunks(self._of_each), v, *given(batch=batch).values())

    def _of_each(self, v: Tensor, batch: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Value and Jacobian of a pointwise score."""
        directions = torch.eye(v.size(-1), dtype=v.dtype, device=v.device)
        at = self.forward if batch is None else (lambda x: self.evaluate(x, batch))
        return self.derivatives(at, (v,), (directions,))

    def _diagonal_blocks(self, v: Tensor, batch: Tensor | None, edge_index: Tensor | None) -> Tensor:
        """Blocks of one particle each, by tangents that move one coordinate of one particle of every plasma."""
        d, partition = v.size(1), Partition.from_batch(batch, v)
        n = int(partition.size.max())
        if n > MAX_COUPLED:
            raise ValueError(
                f"{type(self).__name__} couples particles, so it has an exact Jacobian or divergence of at most "
                f"{MAX_COUPLED} particles (got {n}): train it with objective='hutchinson' or objective='denoising'"
            )
        # The number of each particle in its plasma.
        number = torch.empty_like(partition.order)
        within = torch.arange(v.size(0), device=v.device) - partition.spread(partition.first)[partition.order]
        number[partition.order] = within

        function = partial(self.evaluate, batch=batch, edge_index=edge_index)
        if self.in_reverse:
            return _blocks_in_reverse_mode(function, v, number, n)

        def push(direction: Tensor) -> Tensor:
            return torch.func.jvp(function, (v,), (direction,))[1]

        def columns(tangent: Tensor, particle: Tensor, moved: Tensor) -> Tensor:
            coordinate = nn.functional.one_hot(moved % d, d).to(v.dtype)
            own = number == torch.div(moved, d, rounding_mode="floor")[:, None]
            directions = own[:, :, None] * coordinate[:, None]
            with elementary_attention():
                return torch.func.vmap(push, randomness="same")(directions)[tangent, particle]

        blocks, places = [], []
        for moved in torch.arange(n * d, device=v.device).split(TANGENTS_AT_A_TIME):
            # Every plasma that has a particle of this number.
            own = number == torch.div(moved, d, rounding_mode="floor")[:, None]
            tangent, particle = own.nonzero(as_tuple=True)
            places.append(particle * d + moved[tangent] % d)
            # Training computes them once more instead of keeping them all; function transforms have no checkpoints.
            if torch.is_grad_enabled() and is_concrete(v):
                blocks.append(checkpoint(columns, tangent, particle, moved, use_reentrant=False))
            else:
                blocks.append(columns(tangent, particle, moved))
        order = torch.argsort(torch.cat(places))
        return torch.cat(blocks)[order].view(*v.shape, d).mT

    def value_and_divergence(
        self,
        v: Float[Tensor, "N d"],
        batch: Int[Tensor, " N"] | None = None,
        edge_index: Int[Tensor, "2 E"] | None = None,
    ) -> tuple[Float[Tensor, "N d"], Float[Tensor, " N"]]:
        """Score and divergence in one pass, in a batch of plasmas, whatever arguments the model has."""
        s, jacobian = self.evaluate_with_jacobian(v, batch, edge_index)
        return s, jacobian.diagonal(dim1=-2, dim2=-1).sum(-1)

    def evaluate_with_jacobian(
        self,
        v: Float[Tensor, "N d"],
        batch: Int[Tensor, " N"] | None = None,
        edge_index: Int[Tensor, "2 E"] | None = None,
    ) -> tuple[Float[Tensor, "N d"], Float[Tensor, "N d d"]]:
        """Score and Jacobian in a batch of plasmas, whatever arguments ``value_and_jacobian`` has."""
        return self._in_plasmas(self.value_and_jacobian, v, batch, edge_index)

    def _in_plasmas(
        self, function: Callable[..., Any], v: Tensor, batch: Tensor | None, edge_index: Tensor | None
    ) -> Any:
        """A ``function`` of this model with those arguments that it takes, or of one plasma after the other."""
        more = given(edge_index=edge_index) if self.takes("edge_index") else {}
        if batch is None or self.takes("batch"):
            return function(v, **given(batch=batch), **more)
        if self.pointwise:
            return function(v)
        partition = Partition.from_batch(batch, v)
        parts = [function(v[rows]) for rows in partition.order.split(partition.size.tolist())]
        back = torch.argsort(partition.order)
        if isinstance(parts[0], Tensor):
            return torch.cat(parts)[back]
        return tuple(torch.cat(columns)[back] for columns in zip(*parts, strict=True))


def _blocks_in_reverse_mode(function: Callable[[Tensor], Tensor], v: Tensor, number: Tensor, n: int) -> Tensor:
    """Blocks of one particle each, by a gradient of one component of one particle of every plasma."""
    blocks, places = [], []
    for own in (number == moved for moved in range(n)):
        rows = [
            jacobian_product(function, v, own[:, None] * axis, reverse=True)[1][own]
            for axis in torch.eye(v.size(1), dtype=v.dtype, device=v.device)
        ]
        places.append(own.nonzero()[:, 0])
        blocks.append(torch.stack(rows, dim=1))
    return torch.cat(blocks)[torch.argsort(torch.cat(places))]


@runtime_checkable
class Solvable(Protocol):
    """A score model that is fitted to particles by solving for it, not by gradient steps."""

    def solve(self, v: Tensor, weight: Tensor | None = None) -> None:
        """Minimise the implicit loss over the particles."""
        ...


class _ModuleScore(Adapted, ScoreModel):
    """Any network from velocities to scores, under the convention of :class:`ScoreModel`."""

    def __init__(self, module: nn.Module, d: int) -> None:
        super().__init__(module)
        # Until it has been tried.
        self.d, self.pointwise = d, False

    def forward(self, v: Tensor) -> Tensor:
        return distributed.by_rows(in_chunks(self.call), v) if self.pointwise else self.call(v)


def as_score_model(module: nn.Module, d: int) -> ScoreModel:
    """Give any ``nn.Module`` that maps velocities to scores the convention of :class:`ScoreModel`.

    The module is tried on a few particles (a copy of it, so that nothing in it changes). If moving one particle
    changes the score of another, as in a graph network or with batch normalisation, it is marked as not pointwise.
    The module keeps its precision, or those of its layers: velocities are brought to it, scores back to theirs.

    Raises:
        InvalidArgument: If ``module`` is no ``nn.Module``, cannot be called on ``(N, d)``, does not return finite real
            ``(N, d)``, is random, or is a :class:`ScoreModel` of another ``d``.

    Example:
        >>> as_score_model(torch.nn.Linear(2, 2), d=2).jacobian(torch.zeros(5, 2)).shape
        torch.Size([5, 2, 2])
        >>> as_score_model(torch.nn.Linear(2, 3), d=2)
        Traceback (most recent call last):
        graphlandau.base.errors.InvalidArgument: 'score' must map (N, 2) to (N, 2) \
(got a Linear that returned (8, 3) float32 for (8, 2) float32)
    """

    def trial(draw: Callable[[int], Tensor]) -> Trial:
        v = draw(d)
        return Trial((v,), (moved_first(v),), (v.size(0), d))

    return adapt(
        module,
        ScoreModel,
        lambda stranger: _ModuleScore(stranger, d),
        name="score",
        dimensions={"d": d},
        signature=f"(N, {d}) to (N, {d})",
        trial=trial,
        may_couple=True,
    )
