r"""The Landau drift of Maxwell molecules (gamma = 0) from moments: exact and O(N).

For ``gamma = 0`` the kernel is a quadratic polynomial in the sender's velocity, so the sum over senders collapses.
In coordinates where the block has zero mean velocity and zero mean score, with weighted block means
:math:`M = \langle v v^\top \rangle`, :math:`P = \langle v s^\top \rangle`, :math:`q = \langle |v|^2 s \rangle`,
:math:`r = \langle v (v \cdot s) \rangle`,

.. math::
    U = -\left[ (|v|^2 + \operatorname{tr} M) s - v (v \cdot s) - M s
        + 2 P^\top v - P v - (\operatorname{tr} P) v - q + r \right].

Everything is accumulated in float64: near equilibrium the terms cancel, and O(N) work can afford it. A chunk of the
particles at a time; of several processes each sums the moments of its own particles, takes those of all, and evaluates
its own receivers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from graphlandau.base import distributed
from graphlandau.base.chunks import in_chunks, over_chunks
from graphlandau.graphs.partition import Partition

__all__ = ["maxwell_drift", "maxwell_gram", "maxwell_partials"]

# Velocities and scores.
Receivers = tuple[Tensor, Tensor]


class _Moments(NamedTuple):
    """Weighted sums over each block, the last axis: mass, means, and the moments about these."""

    mass: Tensor
    mean_v: Tensor
    mean_s: Tensor
    M: Tensor
    P: Tensor
    shift: Tensor


def maxwell_drift(
    v: Float[Tensor, "N d"],
    s: Float[Tensor, "N d"],
    weight: Float[Tensor, " N"],
    partition: Partition,
    at: Receivers | None = None,
) -> Float[Tensor, "N d"]:
    r""":math:`-\sum_j w_j A(v_i - v_j)(s_i - s_j)` over each block, for ``gamma = 0`` and strength 1.

    ``at`` gives other velocities and scores to the receivers, one for each particle and in its block.
    """

    def drift(b: _Moments, v: Tensor, s: Tensor) -> tuple[Tensor, ...]:
        v2, vs = (v * v).sum(0), (v * s).sum(0)
        diffusion = (v2 + _trace(b.M)) * s - v * vs - _times(b.M, s)
        friction = _times(2 * b.P.transpose(0, 1) - b.P, v) - _trace(b.P) * v - b.shift
        return (-b.mass * (diffusion + friction),)

    return _at_receivers(drift, v, s, weight, partition, at)[0]


def maxwell_partials(
    v: Float[Tensor, "N d"],
    s: Float[Tensor, "N d"],
    weight: Float[Tensor, " N"],
    partition: Partition,
    at: Receivers | None = None,
) -> tuple[Float[Tensor, "N d d"], Float[Tensor, "N d d"]]:
    r""":math:`\partial U / \partial v` at fixed score and :math:`\partial U / \partial s`, senders held fixed."""
    eye = torch.eye(v.size(1), dtype=torch.float64, device=v.device)[:, :, None]

    def partials(b: _Moments, v: Tensor, s: Tensor) -> tuple[Tensor, ...]:
        v2, vs = (v * v).sum(0), (v * s).sum(0)
        by_score = (v2 + _trace(b.M)) * eye - v[:, None] * v[None] - b.M
        sv = s[:, None] * v[None]
        fixed = 2 * b.P.transpose(0, 1) - b.P - _trace(b.P) * eye
        by_velocity = 2 * sv - sv.transpose(0, 1) - vs * eye + fixed
        return -b.mass * by_velocity, -b.mass * by_score

    by_velocity, by_score = _at_receivers(partials, v, s, weight, partition, at)
    return by_velocity, by_score


def maxwell_gram(
    v: Float[Tensor, "N d"], phi: Float[Tensor, "N m"], weight: Float[Tensor, " N"]
) -> Float[Tensor, "m d m d"]:
    r""":math:`\frac12 \sum_{ij} w_i w_j (\phi_k(v_i) - \phi_k(v_j)) A_{ab} (\phi_l(v_i) - \phi_l(v_j))`, all pairs.

    For ``gamma = 0`` and strength 1. With :math:`D_{ab}(v_i) = \sum_j w_j A_{ab}(v_i - v_j)` it is
    :math:`\langle \phi_k D_{ab} \phi_l \rangle` less :math:`\sum_{ij} w_i w_j \phi_k(v_i) A_{ab} \phi_l(v_j)`, a
    polynomial in the moments :math:`\langle \phi \rangle, \langle v \phi \rangle, \langle v v \phi \rangle`:
    :math:`O(N m^2)`. These are summed in float64; the matrix products of the first part, by far the most work, in the
    precision of ``phi``, which is centred first: constants have no action.
    """
    d, m = v.size(1), phi.size(1)
    v, phi, w = distributed.shard(v), distributed.shard(phi), distributed.shard(weight).double()
    mass = _whole(w.sum())
    x = v.double() - _whole(w @ v.double()) / mass
    spread = _whole(x.T @ (w[:, None] * x))
    phi = (phi.double() - _whole(w @ phi.double()) / mass).to(phi.dtype)
    weighted = w[:, None] * phi.double()
    zeroth, first = distributed.sum_partial(weighted.sum(0)), distributed.sum_partial(x.T @ weighted)
    gram = torch.zeros(m, d, m, d, dtype=torch.float64, device=v.device)
    second = torch.stack([torch.stack([(x[:, a] * x[:, b]) @ weighted for b in range(d)]) for a in range(d)])
    second = distributed.sum_partial(second)
    radial = second.diagonal(dim1=0, dim2=1).sum(-1)
    square = x.square().sum(1)
    for a in range(d):
        for b in range(a + 1):
            diffusion = -mass * x[:, a] * x[:, b] - spread[a, b]
            part = -torch.outer(second[a, b], zeroth) - torch.outer(zeroth, second[a, b])
            part = part + torch.outer(first[a], first[b]) + torch.outer(first[b], first[a])
            if a == b:
                diffusion = diffusion + mass * square + spread.trace()
                part = part + torch.outer(radial, zeroth) + torch.outer(zeroth, radial) - 2 * first.T @ first
            local = distributed.sum_partial(phi.T @ ((w * diffusion).to(phi.dtype)[:, None] * phi))
            local = 0.5 * (local + local.T).double()
            gram[:, a, :, b] = gram[:, b, :, a] = local - part
    return gram


def _at_receivers(
    function: Callable[[_Moments, Tensor, Tensor], tuple[Tensor, ...]],
    v: Tensor,
    s: Tensor,
    weight: Tensor,
    partition: Partition,
    at: Receivers | None,
) -> tuple[Tensor, ...]:
    """``function`` of the moments of the block of each receiver, and of its velocity and score about their means."""
    n = v.size(0)
    moments = _moments(v, s, weight, partition)

    def values(x: Tensor, u: Tensor, block: Tensor) -> tuple[Tensor, ...]:
        b = _Moments(*(_spread(moment, block) for moment in moments))
        found = function(b, _components(x) - b.mean_v, _components(u) - b.mean_s)
        return tuple(y.movedim(-1, 0).to(v.dtype, memory_format=torch.contiguous_format) for y in found)

    x, u = (v, s) if at is None else at
    own = in_chunks(values)(distributed.shard(x), distributed.shard(u), partition.block[distributed.shard_rows(n)])
    return tuple(distributed.replicate(y, n) for y in own)


def _moments(v: Tensor, s: Tensor, weight: Tensor, partition: Partition) -> _Moments:
    """The moments of all particles: chunk by chunk of the own ones, then over all processes."""
    own = (*(distributed.shard(x) for x in (v, s, weight[:, None])), partition.block[distributed.shard_rows(v.size(0))])

    def sums(function: Callable[..., tuple[Tensor, ...]]) -> list[Tensor]:
        def of_chunk(v: Tensor, s: Tensor, w: Tensor, block: Tensor) -> tuple[Tensor, ...]:
            terms = function(*(_components(x) for x in (v, s, w)), block)
            return tuple(_sums(x, block, partition.count) for x in terms)

        return [_whole(torch.stack(parts).sum(0)) for parts in zip(*over_chunks(of_chunk, *own), strict=True)]

    mass, *first = sums(lambda v, s, w, block: (w, w * v, w * s))
    mean_v, mean_s = (x / mass for x in first)

    def about_means(v: Tensor, s: Tensor, w: Tensor, block: Tensor) -> tuple[Tensor, ...]:
        v, s, share = v - _spread(mean_v, block), s - _spread(mean_s, block), w / _spread(mass, block)
        shift = (v * v).sum(0) * s - v * (v * s).sum(0)
        shared = (share * v)[:, None]
        return shared * v[None], shared * s[None], share * shift

    return _Moments(mass, mean_v, mean_s, *sums(about_means))


def _whole(part: Tensor) -> Tensor:
    """The sum of the parts of all processes, for use at the own receivers of each."""
    return distributed.partial_gradient(distributed.sum_partial(part))


def _components(x: Float[Tensor, "n k"]) -> Float[Tensor, "k n"]:
    # Components first: sums over few components are slow where these lie side by side.
    return x.T.to(torch.float64, memory_format=torch.contiguous_format)


def _sums(x: Float[Tensor, "*k n"], block: Tensor, count: int) -> Float[Tensor, "*k B"]:
    """The sum over each block."""
    if count == 1:
        return x.sum(-1, keepdim=True)
    return x.new_zeros(*x.shape[:-1], count).index_add(-1, block, x)


def _spread(x: Float[Tensor, "*k B"], block: Tensor) -> Tensor:
    """The value of the block of each particle; that of a single block once, for all of them."""
    return x if x.size(-1) == 1 else x[..., block]


def _times(matrix: Float[Tensor, "d d n"], x: Float[Tensor, "d n"]) -> Float[Tensor, "d n"]:
    return (matrix * x[None]).sum(1)


def _trace(x: Float[Tensor, "d d n"]) -> Float[Tensor, " n"]:
    return x.diagonal(dim1=0, dim2=1).sum(-1)
