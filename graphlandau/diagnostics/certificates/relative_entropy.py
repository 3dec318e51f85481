r"""Bounds on the relative entropy :math:`KL(u_t | u^*_t)` of a run from the score error along the way.

:math:`u_t` is the density that the run really has, :math:`u^*_t` the exact solution from the same initial data,
:math:`s_t` the score that moves the particles and :math:`\sigma_t = \nabla \log u_t` the one they should be moved by
(:mod:`tracked_score <graphlandau.diagnostics.certificates.tracked_score>`). All that is proven is proven for continuous
time and infinitely many particles: a run adds an error :math:`O(\Delta t)` of its time step and of the time integral,
and :math:`O(N^{-1/2})` of its particle means. Dimensionless.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from graphlandau.base.errors import InvalidArgument
from graphlandau.base.vectors import matvec
from graphlandau.nn.conv import LandauDrift
from graphlandau.physics.moments import average, covariance
from graphlandau.problems import Density, Problem

__all__ = [
    "KLBound",
    "bound_for",
    "covariance_gap",
    "covariance_term",
    "is_radial",
    "pair_loss",
    "score_matching_loss",
]


@dataclass(frozen=True)
class KLBound:
    """What is proven about the relative entropy of a run.

    Attributes:
        name: Number of the theorem and its paper.
        statement: The bound and what it assumes, in one line.
        explicit: Whether it is a number once the score loss is known, without a constant of unknown size.
    """

    name: str
    statement: str
    explicit: bool


RADIAL_MAXWELL = KLBound(
    "Corollary 4.2 of Ilin, Hu and Wang 2025",
    "KL(t) <= kl_bound = 2 score_loss_integral, if the score is radial (Maxwell molecules, radial initial density)",
    explicit=True,
)
GENERAL_MAXWELL = KLBound(
    "Theorem 4.2 of Ilin, Hu and Wang 2025",
    "KL(t) <= 2 exp(M t) score_loss_integral while KL <= 4 (Maxwell molecules, smooth sub-Gaussian initial density); "
    "M falls with covariance_gap and is not explicit",
    explicit=False,
)
COULOMB = KLBound(
    "Theorem 4.2 of Ilin 2025 (stability in relative entropy)",
    "KL(t) <= K(t) score_loss_integral (Coulomb in 3D, regular solution); K is not explicit",
    explicit=False,
)
NONE = KLBound("no theorem", "score_loss_integral bounds nothing that is proven for this kernel", explicit=False)


def bound_for(problem: Problem) -> KLBound:
    r"""What is proven for ``problem``: by its kernel, and by whether its initial density is radial.

    - Maxwell molecules, radial :math:`f_0` and radial :math:`s` (Corollary 4.2):
      :math:`KL(t) \le 2 \int_0^t L \, d\tau` with the loss :math:`L` of :func:`score_matching_loss`; sharper with
      :func:`pair_loss`. Whether the score of a run is radial, :math:`s = (v - m) \hat s(|v - m|)`, it cannot say: no
      model is made so. Proposition 4.1 does without, see :func:`covariance_term`.
    - Maxwell molecules (Theorem 4.2), :math:`f_0 \in W^{2,1} \cap W^{2,\infty}` sub-Gaussian with a score of linear
      growth: :math:`KL(t) \le 2 e^{M t} \int_0^t L \, d\tau` as long as :math:`KL \le 4`. ``M`` is proportional to
      :math:`1 / \min_t` :func:`covariance_gap`, with constants that are not explicit.
    - Coulomb in 3D: the same form with another constant that is not explicit.

    Example:
        >>> from graphlandau.problems import BKW, Anisotropic
        >>> bound_for(BKW(d=2)).explicit, bound_for(Anisotropic(d=3)).explicit
        (True, False)

    Reference: Ilin, Hu and Wang 2025, Section 4; Ilin 2025, Theorem 4.2, for Coulomb.
    """
    if problem.gamma == 0:
        return RADIAL_MAXWELL if is_radial(problem.initial) else GENERAL_MAXWELL
    return COULOMB if problem.gamma == -3 and problem.d == 3 else NONE


def is_radial(density: Density, tolerance: float = 1e-9) -> bool:
    """Whether a density looks the same from all directions about its mean: tried with rotations at 64 samples.

    Example:
        >>> from graphlandau.problems import Gaussian
        >>> is_radial(Gaussian([1.0, 0.0], [[2.0, 0.0], [0.0, 2.0]]))
        True
    """
    generator = torch.Generator().manual_seed(0)
    mean = torch.zeros(density.d, dtype=torch.float64) if density.mean is None else density.mean
    v = density.sample(64, generator=generator)
    log_f = density.log_prob(v)
    for _ in range(4):
        rotation = torch.linalg.qr(torch.randn(density.d, density.d, generator=generator, dtype=torch.float64)).Q
        turned = density.log_prob(mean + (v - mean) @ rotation.T)
        if not torch.allclose(turned, log_f, rtol=tolerance, atol=tolerance):
            return False
    return True


def score_matching_loss(
    v: Float[Tensor, "N d"],
    s: Float[Tensor, "N d"],
    sigma: Float[Tensor, "N d"],
    drift: LandauDrift,
    weight: Float[Tensor, " N"] | None = None,
) -> Float[Tensor, ""]:
    r"""Score error in the metric of collisions, the loss of all bounds.

    .. math::
        L = \langle |\sigma - s|^2_{A * u} \rangle = \sum_i w_i (\sigma_i - s_i)^\top D_i (\sigma_i - s_i), \qquad
        D_i = \sum_j w_j A(v_i - v_j)

    Args:
        v: Velocities.
        s: Score that moves the particles.
        sigma: Score of their density.
        drift: Collisions, whose kernel is :math:`A`.
        weight: Weights of sum 1.

    Raises:
        ValueError: If ``s`` or ``sigma`` does not have the shape of ``v``.

    Example:
        >>> v = torch.randn(100, 2, dtype=torch.float64)
        >>> score_matching_loss(v, -v, -v, LandauDrift(gamma=0.0))
        tensor(0., dtype=torch.float64)

    Reference: Ilin, Hu and Wang 2025, Section 4.2.
    """
    error = _error(v, s, sigma)
    matrix, _ = drift.diffusion(v, weight=weight)
    return average((error * matvec(matrix, error)).sum(1), weight)


def pair_loss(
    v: Float[Tensor, "N d"],
    s: Float[Tensor, "N d"],
    sigma: Float[Tensor, "N d"],
    drift: LandauDrift,
    weight: Float[Tensor, " N"] | None = None,
) -> Float[Tensor, ""]:
    r"""Score error as it moves pairs, a sharper loss for Maxwell molecules.

    .. math::
        P = \tfrac12 \sum_{ij} w_i w_j \, |e_i - e_j|^2_{A(v_i - v_j)} = -\sum_i w_i \, e_i \cdot U_i[e], \qquad
        e = \sigma - s

    does not change with ``s -> s + a + b v``, which moves no particle, and :math:`P \le 2 L`. The proof of Proposition
    4.1 with the pairs kept together, :math:`r = \nabla \log (u / u^*)`:

    .. math::
        \frac{d}{dt} KL(u | u^*) = \tfrac12 \iint (e - e') \cdot A \, (r - r') - \langle |r|^2_{A * u} \rangle
        \le \sqrt{P} \, \sqrt{2 \langle |r|^2_{A * u} \rangle} - \langle |r|^2_{A * u} \rangle \le \tfrac12 P

    under the assumptions of Corollary 4.2 (without them :func:`covariance_term` is added), so
    :math:`KL(t) \le \frac12 \int_0^t P \, d\tau`: at most half of :math:`2 \int_0^t L \, d\tau`. Ours, not in the
    papers.

    Raises:
        ValueError: If ``s`` or ``sigma`` does not have the shape of ``v``.
    """
    error = _error(v, s, sigma)
    return -average((error * drift(v, error, weight=weight)).sum(1), weight)


def covariance_term(
    v: Float[Tensor, "N d"],
    sigma: Float[Tensor, "N d"],
    exact: Density,
    strength: float,
    weight: Float[Tensor, " N"] | None = None,
) -> Float[Tensor, ""]:
    r"""What Proposition 4.1 adds to twice the loss where score or density are not radial.

    .. math::
        \frac{d}{dt} KL(u | u^*) \le 2 L
        + C \langle (\nabla \log u^*)^\top (\Sigma - \Sigma^*) (\sigma - \nabla \log u^*) \rangle

    for Maxwell molecules, any initial density and any :math:`s`. Needs the exact solution; :math:`\Sigma` is the
    covariance of the particles.

    Args:
        v: Velocities.
        sigma: Score of their density.
        exact: Exact solution :math:`u^*` at the same time, of known covariance.
        strength: :math:`C`.
        weight: Weights of sum 1.

    Raises:
        ValueError: If the covariance of ``exact`` is not known.

    Reference: Ilin, Hu and Wang 2025, Proposition 4.1, with C = 1.
    """
    if exact.covariance is None:
        raise InvalidArgument("exact", "must have a known covariance", f"{type(exact).__name__}, which has none")
    truth = exact.score(v)
    excess = covariance(v, weight) - exact.covariance.to(v)
    return strength * average(((truth @ excess) * (sigma - truth)).sum(1), weight)


def covariance_gap(v: Float[Tensor, "N d"], weight: Float[Tensor, " N"] | None = None) -> Float[Tensor, ""]:
    r""":math:`\operatorname{tr} \Sigma - \|\Sigma\|_2`, a lower bound of :math:`A * u / C` for Maxwell molecules.

    Its minimum over time is the :math:`\varepsilon` of Theorem 4.2.

    Reference: Ilin, Hu and Wang 2025, Lemma 2.1.
    """
    eigenvalues = torch.linalg.eigvalsh(covariance(v, weight))
    return eigenvalues.sum() - eigenvalues[-1]


def _error(v: Tensor, s: Tensor, sigma: Tensor) -> Tensor:
    for name, x in (("s", s), ("sigma", sigma)):
        if x.shape != v.shape:
            raise InvalidArgument(name, f"must have the shape of 'v', {tuple(v.shape)}", tuple(x.shape))
    return sigma - s
