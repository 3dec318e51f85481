r"""The Landau drift of Maxwell molecules (gamma = 0) from moments: exact and O(N).

For ``gamma = 0`` the kernel is a quadratic polynomial in the sender's velocity, so the sum over senders collapses.
In coordinates where the block has zero mean velocity and zero mean score, with weighted block means
:math:`M = \langle v v^\top \rangle`, :math:`P = \langle v s^\top \rangle`, :math:`q = \langle |v|^2 s \rangle`,
:math:`r = \langle v (v \cdot s) \rangle`,

.. math::
    U = -\left[ (|v|^2 + \operatorname{tr} M) s - v (v \cdot s) - M s
        + 2 P^\top v - P v - (\operatorname{tr} P) v - q + r \right].

Everything is accumulated in float64: near equilibrium the terms cancel, and O(N) work can afford it.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from graphlandau.partition import Partition
from graphlandau.vectors import matvec

__all__ = ["maxwell_drift", "maxwell_gram", "maxwell_partials"]

# Velocities and scores.
Receivers = tuple[Tensor, Tensor]


class _Block(NamedTuple):
    """Velocities and scores of the receivers about the means of their blocks, and the moments of these."""

    v: Tensor
    s: Tensor
    mass: Tensor
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
    b = _moments(v, s, weight, partition, at)
    v2 = (b.v * b.v).sum(-1, keepdim=True)
    vs = (b.v * b.s).sum(-1, keepdim=True)
    diffusion = (v2 + _trace(b.M)) * b.s - b.v * vs - matvec(b.M, b.s)
    friction = 2 * matvec(b.P.mT, b.v) - matvec(b.P, b.v) - _trace(b.P) * b.v - b.shift
    return (-b.mass * (diffusion + friction)).to(v.dtype)


def maxwell_partials(
    v: Float[Tensor, "N d"],
    s: Float[Tensor, "N d"],
    weight: Float[Tensor, " N"],
    partition: Partition,
    at: Receivers | None = None,
) -> tuple[Float[Tensor, "N d d"], Float[Tensor, "N d d"]]:
    r""":math:`\partial U / \partial v` at fixed score and :math:`\partial U / \partial s`, senders held fixed."""
    b = _moments(v, s, weight, partition, at)
    eye = torch.eye(v.size(1), dtype=torch.float64, device=v.device)
    v2 = (b.v * b.v).sum(-1)[:, None, None]
    vs = (b.v * b.s).sum(-1)[:, None, None]
    by_score = (v2 + _trace(b.M)[..., None]) * eye - b.v[:, :, None] * b.v[:, None, :] - b.M
    by_velocity = 2 * b.s[:, :, None] * b.v[:, None, :] - b.v[:, :, None] * b.s[:, None, :] - vs * eye
    by_velocity = by_velocity + 2 * b.P.mT - b.P - _trace(b.P)[..., None] * eye
    mass = b.mass[..., None]
    return (-mass * by_velocity).to(v.dtype), (-mass * by_score).to(v.dtype)


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
    w = weight.double()
    x = v.double() - (w @ v.double()) / w.sum()
    mass, spread = w.sum(), x.T @ (w[:, None] * x)
    phi = (phi.double() - (w @ phi.double()) / mass).to(phi.dtype)
    weighted = w[:, None] * phi.double()
    zeroth, first = weighted.sum(0), x.T @ weighted
    gram = torch.zeros(m, d, m, d, dtype=torch.float64, device=v.device)
    second = torch.stack([torch.stack([(x[:, a] * x[:, b]) @ weighted for b in range(d)]) for a in range(d)])
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
            local = phi.T @ ((w * diffusion).to(phi.dtype)[:, None] * phi)
            local = 0.5 * (local + local.T).double()
            gram[:, a, :, b] = gram[:, b, :, a] = local - part
    return gram


def _moments(v: Tensor, s: Tensor, weight: Tensor, partition: Partition, at: Receivers | None) -> _Block:
    v, s, weight = v.double(), s.double(), weight.double()[:, None]
    mass = partition.total(weight)
    share = weight / partition.spread(mass)
    mean_v, mean_s = (partition.spread(partition.total(share * x)) for x in (v, s))
    v, s = v - mean_v, s - mean_s
    x, u = (v, s) if at is None else (at[0].double() - mean_v, at[1].double() - mean_s)
    vs = (v * s).sum(-1, keepdim=True)
    shift = (v * v).sum(-1, keepdim=True) * s - v * vs
    moments = (
        _second(share, v, v, partition),
        _second(share, v, s, partition),
        partition.total(share * shift),
    )
    return _Block(x, u, partition.spread(mass), *(partition.spread(x) for x in moments))


def _second(share: Tensor, a: Tensor, b: Tensor, partition: Partition) -> Float[Tensor, "B d d"]:
    if partition.count == 1:
        return ((share * a).T @ b)[None]
    return partition.total((share * a)[:, :, None] * b[:, None, :])


def _trace(x: Float[Tensor, "N d d"]) -> Float[Tensor, "N 1"]:
    return x.diagonal(dim1=-2, dim2=-1).sum(-1, keepdim=True)
