r"""Objectives that a score model is fitted by: functions of a model and a state of particles, or of velocities alone.

All are weighted particle means (uniform unless the state has ``weight``), differentiable in the model's
parameters, and dimensionless. Of a PyG ``Batch`` of states they are the mean over the plasmas of what each has alone:
all plasmas count alike, however many particles they have. Up to a constant that does not depend on the model, the
implicit ones are :math:`\langle |s - \nabla \log f|^2 \rangle`. Of a pointwise model many particles are taken a few at
a time, also for its gradient; what is random is drawn for all of them first.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch_geometric.data import Data

from graphlandau.base import distributed
from graphlandau.base.chunks import over_chunks
from graphlandau.base.derivatives import jacobian_product
from graphlandau.base.errors import InvalidArgument
from graphlandau.base.validation import require_one_of, require_positive
from graphlandau.graphs.partition import Partition
from graphlandau.nn.score import ScoreModel
from graphlandau.nn.score.base import given

__all__ = ["collision_weighted", "denoising", "explicit", "hutchinson", "implicit"]


def explicit(model: ScoreModel, state: Data | Tensor, target: Float[Tensor, "N d"]) -> Float[Tensor, ""]:
    r"""Relative squared distance from a known score, :math:`\langle |s - s^*|^2 \rangle / \langle |s^*|^2 \rangle`.

    Raises:
        ValueError: If ``target`` does not have the shape of the velocities.

    Reference: Huang and Wang, arXiv:2409.12296, Eq. (24).
    """
    state = _state(state)
    if target.shape != state.v.shape:
        raise InvalidArgument("target", f"must have shape {tuple(state.v.shape)}", tuple(target.shape))

    def square(v: Tensor, target: Tensor, **graph: Tensor) -> Tensor:
        return (_score(model, v, graph) - target).square().sum(-1)

    def size(v: Tensor, target: Tensor, **graph: Tensor) -> Tensor:
        return target.square().sum(-1)

    return _mean_of_plasmas(_means(square, model, state, target) / _means(size, model, state, target))


def implicit(model: ScoreModel, state: Data | Tensor) -> Float[Tensor, ""]:
    r"""Implicit (Hyvärinen) score matching, :math:`\langle |s|^2 + 2 \nabla \cdot s \rangle`, exact divergence.

    Raises:
        ValueError: If the model couples more than 512 particles.

    Reference: Ilin, Hu and Wang 2025, Eq. (3.4).
    """

    state = _state(state)

    def loss(v: Tensor, **graph: Tensor) -> Tensor:
        s, divergence = model.value_and_divergence(v, **graph)
        return s.square().sum(-1) + 2 * divergence

    return _mean_of_plasmas(_means(loss, model, state))


def hutchinson(
    model: ScoreModel, state: Data | Tensor, probes: str = "rademacher", *, generator: torch.Generator | None = None
) -> Float[Tensor, ""]:
    r"""Implicit score matching with a random divergence, :math:`\langle |s|^2 + 2 z \cdot (\nabla s) z \rangle`.

    Every particle has its own probe ``z`` with :math:`E z z^\top = I`, so the estimate is unbiased, also for a
    model that couples particles: its cross terms have mean zero. One forward-mode derivative.

    Args:
        model: Score model.
        state: Particles, or their velocities.
        probes: ``"rademacher"`` (least variance) or ``"gaussian"``.
        generator: Source of the probes, on the device of the particles.

    Raises:
        ValueError: If ``probes`` is unknown.
    """
    require_one_of("probes", probes, ("rademacher", "gaussian"))
    state = _state(state)

    def draw(n: int) -> Tensor:
        shape, device = (n, state.v.size(1)), state.v.device
        if probes == "gaussian":
            return torch.randn(shape, generator=generator, dtype=state.v.dtype, device=device)
        return 2.0 * torch.randint(0, 2, shape, generator=generator, device=device).to(state.v.dtype) - 1.0

    def loss(v: Tensor, z: Tensor, **graph: Tensor) -> Tensor:
        s, tangent = jacobian_product(lambda x: _score(model, x, graph), v, z, model.in_reverse)
        return s.square().sum(-1) + 2 * (z * tangent).sum(-1)

    return _mean_of_plasmas(_means(loss, model, state, distributed.drawn(draw, state.v.size(0))))


def denoising(
    model: ScoreModel, state: Data | Tensor, alpha: float, *, generator: torch.Generator | None = None
) -> Float[Tensor, ""]:
    r"""Denoising form, :math:`\langle |s|^2 + (s(v + \alpha Z) - s(v - \alpha Z)) \cdot Z / \alpha \rangle`.

    ``Z`` is standard normal; only values of the model are needed. The minimiser is
    :math:`\nabla(\phi_\alpha * f) / f`, a bias of :math:`O(\alpha^2)` that grows in the tails: take ``alpha`` in
    units of the smallest standard deviation.

    Args:
        model: Score model.
        state: Particles, or their velocities.
        alpha: Standard deviation of the noise.
        generator: Source of the noise, on the device of the particles.

    Raises:
        ValueError: If ``alpha`` is not positive.

    Reference: Ilin, Hu and Wang 2025, Eq. (3.5).
    """
    alpha = require_positive("alpha", alpha)
    state = _state(state)

    def draw(n: int) -> Tensor:
        return torch.randn(n, state.v.size(1), generator=generator, dtype=state.v.dtype, device=state.v.device)

    def loss(v: Tensor, z: Tensor, **graph: Tensor) -> Tensor:
        s = _score(model, v, graph)
        # Two calls, not one on both sets of particles: a model that couples particles must see one set at a time.
        difference = _score(model, v + alpha * z, graph) - _score(model, v - alpha * z, graph)
        return s.square().sum(-1) + (difference * z).sum(-1) / alpha

    return _mean_of_plasmas(_means(loss, model, state, distributed.drawn(draw, state.v.size(0))))


def collision_weighted(
    model: ScoreModel, state: Data | Tensor, diffusion: Float[Tensor, "N d d"], divergence: Float[Tensor, "N d"]
) -> Float[Tensor, ""]:
    r"""Implicit matching in the metric of the collisions, :math:`\langle s^\top D s + 2 \nabla \cdot (D s) \rangle`.

    With :math:`D = A * f` it is :math:`\langle |s - \nabla \log f|_D^2 \rangle` up to a constant: the distance in the
    stability bounds. Its minimiser is the score, as that of :func:`implicit`.

    Args:
        model: Score model.
        state: Particles, or their velocities.
        diffusion: :math:`D_i = \sum_j w_j A(v_i - v_j)` at the particles, symmetric.
        divergence: Its divergence :math:`\sum_b \partial_b D_{ab}`; both from
            :meth:`~graphlandau.nn.LandauDrift.diffusion`.

    Raises:
        ValueError: If a tensor does not fit the velocities, or the model couples too many particles.

    Reference: Ilin, Hu and Wang 2025, Eqs. (3.2)-(3.3).
    """
    state = _state(state)
    v = state.v
    for name, x, shape in (("diffusion", diffusion, (*v.shape, v.size(1))), ("divergence", divergence, v.shape)):
        if x.shape != torch.Size(shape):
            raise InvalidArgument(name, f"must have shape {tuple(shape)}", tuple(x.shape))

    def loss(v: Tensor, diffusion: Tensor, divergence: Tensor, **graph: Tensor) -> Tensor:
        s, jacobian = model.evaluate_with_jacobian(v, **graph)
        square = torch.einsum("na,nab,nb->n", s, diffusion, s)
        # div(D s) = (div D) . s + D : grad s
        return square + 2 * ((divergence * s).sum(-1) + (diffusion * jacobian).sum((-2, -1)))

    return _mean_of_plasmas(_means(loss, model, state, diffusion, divergence))


def _score(model: ScoreModel, v: Tensor, graph: dict[str, Tensor]) -> Tensor:
    """Score at ``v``, in a batch of plasmas if that is what ``graph`` says."""
    return model.evaluate(v, **graph) if graph else model(v)


def _state(state: Data | Tensor) -> Data:
    """The particles; velocities alone are as many particles of equal weight.

    Raises:
        InvalidArgument: If it is neither a state nor a tensor of shape ``(N, d)``.
    """
    if isinstance(state, Data) and isinstance(state.get("v"), Tensor):
        return state
    if isinstance(state, Tensor) and state.dim() == 2:
        return Data(v=state)
    got = f"shape {tuple(state.shape)}" if isinstance(state, Tensor) else repr(state)
    raise InvalidArgument("state", "must be a state with velocities 'v', or velocities (N, d)", got)


def _means(
    function: Callable[..., Tensor], model: ScoreModel, state: Data, *rows: Tensor
) -> Float[Tensor, ""] | Float[Tensor, " B"]:
    """Weighted mean over the particles, of each plasma in a batch, of a ``function`` which calls ``model``.

    The ``function`` gets velocities and ``rows``, and by name the ``batch`` and ``edge_index`` of the state.
    """
    weight, batch = state.get("weight"), state.get("batch")
    edge_index = None if model.pointwise else state.get("edge_index")
    partition = None if batch is None else Partition.from_batch(batch, state.v)
    block = None if partition is None else partition.block
    columns = (state.v, *rows, *given(weight=weight, block=block, batch=batch).values())
    if partition is not None:
        whole = partition.size.to(state.v.dtype) if weight is None else partition.total(weight)
    else:
        whole = state.v.new_tensor(state.v.size(0)) if weight is None else weight.sum()

    def total(*own: Tensor) -> Tensor:
        graph, place = given(edge_index=edge_index), None
        if batch is not None:
            own, place, graph["batch"] = own[:-2], own[-2], own[-1]
        value = function(*own, **graph) if weight is None else own[-1] * function(*own[:-1], **graph)
        return value.sum() if place is None else torch.zeros_like(whole).index_add(0, place, value)

    # A model that couples particles has to see all of them.
    parts = over_chunks(total, *columns) if model.pointwise else [total(*columns)]
    return distributed.across(torch.stack(parts).sum(0)) / distributed.across(whole)


def _mean_of_plasmas(means: Tensor) -> Float[Tensor, ""]:
    """Mean over the plasmas of a batch."""
    return means.mean() if means.dim() else means
