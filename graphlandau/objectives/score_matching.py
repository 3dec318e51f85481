r"""Objectives that a score model is fitted by: functions of a model and a state of particles.

All are weighted particle means (uniform unless the state has ``weight``), differentiable in the model's
parameters, and dimensionless. Up to a constant that does not depend on the model, the implicit ones are
:math:`\langle |s - \nabla \log f|^2 \rangle`.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch_geometric.data import Data

from graphlandau.nn.score import ScoreModel
from graphlandau.validation import require_one_of, require_positive

__all__ = ["collision_weighted", "denoising", "explicit", "hutchinson", "implicit"]


def explicit(model: ScoreModel, state: Data, target: Float[Tensor, "N d"]) -> Float[Tensor, ""]:
    r"""Relative squared distance from a known score, :math:`\langle |s - s^*|^2 \rangle / \langle |s^*|^2 \rangle`.

    Raises:
        ValueError: If ``target`` does not have the shape of the velocities.

    Reference: Huang and Wang, arXiv:2409.12296, Eq. (24).
    """
    if target.shape != state.v.shape:
        raise ValueError(f"'target' must have shape {tuple(state.v.shape)} (got {tuple(target.shape)})")
    error = (model(state.v) - target).square().sum(-1)
    return _mean(error, state) / _mean(target.square().sum(-1), state)


def implicit(model: ScoreModel, state: Data) -> Float[Tensor, ""]:
    r"""Implicit (Hyvärinen) score matching, :math:`\langle |s|^2 + 2 \nabla \cdot s \rangle`, exact divergence.

    Raises:
        ValueError: If the model couples more than 512 particles.

    Reference: Ilin, Hu and Wang 2025, Eq. (3.4).
    """
    s, divergence = model.value_and_divergence(state.v)
    return _mean(s.square().sum(-1) + 2 * divergence, state)


def hutchinson(
    model: ScoreModel, state: Data, probes: str = "rademacher", *, generator: torch.Generator | None = None
) -> Float[Tensor, ""]:
    r"""Implicit score matching with a random divergence, :math:`\langle |s|^2 + 2 z \cdot (\nabla s) z \rangle`.

    Every particle has its own probe ``z`` with :math:`E z z^\top = I`, so the estimate is unbiased, also for a
    model that couples particles: its cross terms have mean zero. One forward-mode derivative.

    Args:
        model: Score model.
        state: Particles.
        probes: ``"rademacher"`` (least variance) or ``"gaussian"``.
        generator: Source of the probes, on the device of the particles.

    Raises:
        ValueError: If ``probes`` is unknown.
    """
    require_one_of("probes", probes, ("rademacher", "gaussian"))
    v = state.v
    if probes == "gaussian":
        z = torch.randn(v.shape, generator=generator, dtype=v.dtype, device=v.device)
    else:
        z = 2.0 * torch.randint(0, 2, v.shape, generator=generator, device=v.device).to(v.dtype) - 1.0
    s, tangent = torch.func.jvp(model, (v,), (z,))[:2]
    return _mean(s.square().sum(-1) + 2 * (z * tangent).sum(-1), state)


def denoising(
    model: ScoreModel, state: Data, alpha: float, *, generator: torch.Generator | None = None
) -> Float[Tensor, ""]:
    r"""Denoising form, :math:`\langle |s|^2 + (s(v + \alpha Z) - s(v - \alpha Z)) \cdot Z / \alpha \rangle`.

    ``Z`` is standard normal; only values of the model are needed. The minimiser is
    :math:`\nabla(\phi_\alpha * f) / f`, a bias of :math:`O(\alpha^2)` that grows in the tails: take ``alpha`` in
    units of the smallest standard deviation.

    Args:
        model: Score model.
        state: Particles.
        alpha: Standard deviation of the noise.
        generator: Source of the noise, on the device of the particles.

    Raises:
        ValueError: If ``alpha`` is not positive.

    Reference: Ilin, Hu and Wang 2025, Eq. (3.5).
    """
    require_positive("alpha", alpha)
    v = state.v
    z = torch.randn(v.shape, generator=generator, dtype=v.dtype, device=v.device)
    s = model(v)
    # Two calls, not one on both sets of particles: a model that couples particles must see one set at a time.
    difference = model(v + alpha * z) - model(v - alpha * z)
    return _mean(s.square().sum(-1) + (difference * z).sum(-1) / alpha, state)


def collision_weighted(
    model: ScoreModel, state: Data, diffusion: Float[Tensor, "N d d"], divergence: Float[Tensor, "N d"]
) -> Float[Tensor, ""]:
    r"""Implicit matching in the metric of the collisions, :math:`\langle s^\top D s + 2 \nabla \cdot (D s) \rangle`.

    With :math:`D = A * f` it is :math:`\langle |s - \nabla \log f|_D^2 \rangle` up to a constant: the distance in the
    stability bounds. Its minimiser is the score, as that of :func:`implicit`.

    Args:
        model: Score model.
        state: Particles.
        diffusion: :math:`D_i = \sum_j w_j A(v_i - v_j)` at the particles, symmetric.
        divergence: Its divergence :math:`\sum_b \partial_b D_{ab}`; both from
            :meth:`~graphlandau.nn.LandauDrift.diffusion`.

    Raises:
        ValueError: If a tensor does not fit the velocities, or the model couples too many particles.

    Reference: Ilin, Hu and Wang 2025, Eqs. (3.2)-(3.3).
    """
    v = state.v
    for name, x, shape in (("diffusion", diffusion, (*v.shape, v.size(1))), ("divergence", divergence, v.shape)):
        if x.shape != torch.Size(shape):
            raise ValueError(f"'{name}' must have shape {tuple(shape)} (got {tuple(x.shape)})")
    s, jacobian = model.value_and_jacobian(v)
    square = torch.einsum("na,nab,nb->n", s, diffusion, s)
    # div(D s) = (div D) . s + D : grad s
    return _mean(square + 2 * ((divergence * s).sum(-1) + (diffusion * jacobian).sum((-2, -1))), state)


def _mean(x: Float[Tensor, " N"], state: Data) -> Float[Tensor, ""]:
    weight = state.get("weight")
    return x.mean() if weight is None else (weight * x).sum() / weight.sum()
