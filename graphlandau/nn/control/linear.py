"""Controls in a linear model, minimised over all particles at once."""

from __future__ import annotations

import math
from functools import partial
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from graphlandau.base.errors import InvalidArgument
from graphlandau.base.vectors import less
from graphlandau.nn.control.base import ControlModel
from graphlandau.nn.control.embedding import PhaseEmbedding
from graphlandau.nn.control.objective import ControlObjective
from graphlandau.nn.control.weight_loss import CHUNK, PenalisedLoss, WeightLoss
from graphlandau.nn.linear.moments import Moments
from graphlandau.nn.linear.quasi_newton import minimise
from graphlandau.nn.linear.solve import cholesky
from graphlandau.nn.linear.tangents import Tangents

__all__ = ["LinearControl", "Solution"]

# Passes over the particles at most. Some 5 in one dimension and 10 in three suffice where eps dt / sigma^2 < 1.
MAX_PASSES = 60
# The solve ends when the next step would lower the loss by less than this part of what all steps do: eight digits of
# the weights.
TOLERANCE = 1e-16
# Of a mean over many particles in double precision, relative to the mean absolute value.
ROUNDING = 1e-14


class Solution(NamedTuple):
    """How a solve ended: the mean loss with its penalty, passes over the particles, and whether it is the minimum."""

    loss: float
    passes: int
    converged: bool


class LinearControl(ControlModel):
    r"""A control :math:`u = W^\top \Phi(x, v)` whose weights minimise an objective over the particles.

    The first functions are affine, ``(r, y, 1)``: the embedded positions whitened to :math:`y`, and the velocities,
    less their regression on :math:`(y, 1)`, whitened to :math:`r`, so that they are orthonormal over the particles.
    Subclasses add functions of ``(r, y)``, on which a ridge :math:`R` acts.

    ``solve`` finds the minimiser. An objective with the trace is quadratic: one linear solve. With the exact
    determinant it starts from the minimiser of the quadratic one plus the difference of the two in the solve before
    (the warm start), or from rest if the loss is less there, and takes quasi-Newton steps (L-BFGS) in the metric of the
    second derivatives,

    .. math::
        c \langle \Phi \Phi^\top \rangle \otimes I + R
        + \kappa \tau \langle \operatorname{tr} (M^{-1} \delta J \, M^{-1} \delta J) \rangle, \qquad M = I + \tau J,

    taken anew where they have changed. Steps are halved until every determinant is positive and the loss has fallen,
    so it ends below that of ``u = 0``: the free energy falls for every number of particles. Double precision and
    bounded memory throughout; weights and warm start are in the ``state_dict``. Dimensionless.

    Args:
        embedding: What the control sees.
        more: Number of functions beside the affine ones.

    Shapes:
        - **x**: :math:`(N, d_x)`; **v**, **u**: :math:`(N, d)`; **J**: :math:`(N, d, d)`

    Reference: arXiv:2603.23901, Eq. (18) and Proposition 6; the solver is ours.
    """

    centre: Tensor
    frame: Tensor
    coefficients: Tensor
    correction: Tensor

    def __init__(self, embedding: PhaseEmbedding, more: int = 0) -> None:
        super().__init__()
        self.embedding, self.d_x, self.d = embedding, embedding.d_x, embedding.d
        self.affine = embedding.width + 1
        self.register_buffer("centre", torch.zeros(embedding.width, dtype=torch.float64))
        # The columns of the frame give r and then y; before the first solve they are v and the embedded x.
        frame = torch.eye(embedding.width, dtype=torch.float64).roll(embedding.position_width, dims=0)
        self.register_buffer("frame", frame)
        self.register_buffer("coefficients", torch.zeros(self.affine + more, self.d, dtype=torch.float64))
        self.register_buffer("correction", torch.zeros_like(self.coefficients))

    def more(self, z: Tensor) -> Tensor:
        """Functions of ``z = (r, y)`` beside the affine ones, ``(N, m)``."""
        return z[:, :0]

    def more_and_tangents(self, z: Tensor, tangents: Tensor, sheared: bool) -> tuple[Tensor, Tangents]:
        """The same with their derivatives by those of ``z``, ``(d, N, width)``, or ``(d, 1, width)`` unless sheared."""
        raise NotImplementedError

    def folds(self) -> int:
        """Number of folds of the particles that ``choose`` is given at this solve."""
        return 1

    def choose(self, moments: Moments, c: float) -> float:
        """Ridge on the functions beside the affine ones, infinite to leave them out."""
        return 0.0

    def forward(self, x: Float[Tensor, "N dx"], v: Float[Tensor, "N d"]) -> Float[Tensor, "N d"]:
        """Control at ``(x, v)``."""
        weights = self._in_use().to(v)
        parts = zip(x.split(CHUNK), v.split(CHUNK), strict=True)
        return torch.cat([self._functions(*part, len(weights)) @ weights for part in parts])

    def value_and_jacobian(
        self, x: Float[Tensor, "N dx"], v: Float[Tensor, "N d"], shear: float = 0.0
    ) -> tuple[Float[Tensor, "N d"], Float[Tensor, "N d d"]]:
        r"""Control and Jacobian in one pass, with :math:`s` = ``shear``."""
        weights = self._in_use().to(v)
        values, jacobians = [], []
        for part in zip(x.split(CHUNK), v.split(CHUNK), strict=True):
            phi, tangents = self.functions_and_tangents(*part, len(weights), shear)
            values.append(phi @ weights)
            jacobians.append(tangents.jacobian(weights))
        return torch.cat(values), torch.cat(jacobians)

    @torch.no_grad()
    def solve(
        self,
        objective: ControlObjective,
        x: Float[Tensor, "N dx"],
        v: Float[Tensor, "N d"],
        shear: float = 0.0,
    ) -> Solution:
        """Set the weights to the minimiser of the mean of ``objective`` over the particles.

        Raises:
            ValueError: If the particles are not finite or do not fit, or their velocities, less the regression on the
                positions, have a singular covariance.
            ArithmeticError: If the loss is not finite at rest.
        """
        self.embedding.require_phase(x, v)
        if objective.g.shape != v.shape:
            raise InvalidArgument("objective", f"must have g of shape {tuple(v.shape)}", tuple(objective.g.shape))
        self.condition(x, v)
        loss = WeightLoss(partial(self.functions_and_tangents, shear=shear), objective, x, v)
        moments = loss.moments(self.folds(), self.coefficients)
        total = moments.mean()
        ridge = self.choose(moments, objective.c)
        used = len(self.coefficients)
        if math.isinf(ridge):
            used, ridge = self.affine, 0.0
        gram, linear = total.gram[:used, :used], total.linear[:used]
        penalty = torch.zeros_like(linear[:, :1])
        penalty[self.affine :] = ridge
        curvature = objective.c * gram + penalty.diagflat()
        quadratic = -torch.cholesky_solve(linear, cholesky(curvature))
        decrease = -0.5 * float((quadratic * linear).sum())
        if objective.tau is None and objective.extra is None:
            self._remember(quadratic, quadratic)
            return Solution(-decrease, 1, True)
        problem = PenalisedLoss(loss, penalty, curvature)
        start = problem.best_start([quadratic + self.correction[:used], quadratic])
        # No step is worth taking below the rounding of the slope.
        tolerance = TOLERANCE * decrease + ROUNDING**2 * loss.square_at_rest()
        found = minimise(problem, start, tolerance=tolerance, rounding=ROUNDING, max_passes=MAX_PASSES)
        self._remember(found.point.weights, quadratic)
        return Solution(found.point.loss, problem.passes, found.converged)

    def _remember(self, weights: Tensor, quadratic: Tensor) -> None:
        """Take the minimiser, and for the next start its difference from that of the quadratic loss."""
        unused = (0, 0, 0, len(self.coefficients) - len(weights))
        self.coefficients.copy_(torch.nn.functional.pad(weights, unused))
        self.correction.copy_(torch.nn.functional.pad(weights - quadratic, unused))

    @torch.no_grad()
    def condition(self, x: Float[Tensor, "N dx"], v: Float[Tensor, "N d"]) -> None:
        """Whiten the affine functions over the particles.

        Raises:
            ValueError: If the velocities, less the regression on the positions, have a singular covariance.
        """
        w, n = self.embedding.position_width, x.size(0)
        centre, gram = torch.zeros_like(self.centre), torch.zeros_like(self.frame)
        for a, b in zip(x.split(CHUNK), v.split(CHUNK), strict=True):
            centre += self.embedding(a.double(), b.double()).sum(0) / n
        for a, b in zip(x.split(CHUNK), v.split(CHUNK), strict=True):
            z = self.embedding(a.double(), b.double()) - centre
            gram += z.T @ z / n
        # Below this a variance is rounding: of the stored particles, or of their covariance in double precision.
        rounding = max((10 * torch.finfo(v.dtype).eps) ** 2, 1e-14)
        variance = gram.diagonal()
        scale = torch.where(variance > rounding * (variance + centre**2), variance.rsqrt(), 0)[:w]
        variance, axes = torch.linalg.eigh(scale[:, None] * gram[:w, :w] * scale)
        # Positions that do not vary, or not independently, give functions that are zero.
        root = torch.where(variance > 1e-12, variance.clamp_min(1e-12).rsqrt(), 0)
        whiten_x = scale[:, None] * axes * root
        regression = whiten_x @ (whiten_x.T @ gram[:w, w:])
        variance, axes = torch.linalg.eigh(gram[w:, w:] - regression.T @ gram[:w, w:])
        if not bool(variance[0] > rounding * (gram[w:, w:].trace() + centre[w:].square().sum())):
            raise InvalidArgument(
                "v",
                "must have a non-singular covariance beside its regression on the positions",
                f"principal variances {float(variance[0]):.3g} to {float(variance[-1]):.3g}",
            )
        whiten_v = (axes * variance.rsqrt()) @ axes.T
        self.centre.copy_(centre)
        self.frame[:w, : self.d] = -regression @ whiten_v
        self.frame[w:, : self.d] = whiten_v
        self.frame[:w, self.d :] = whiten_x
        self.frame[w:, self.d :] = 0

    def _in_use(self) -> Tensor:
        """The weights, without those beside the affine ones where all of these are zero."""
        return self.coefficients if bool(self.coefficients[self.affine :].any()) else self.coefficients[: self.affine]

    def _functions(self, x: Tensor, v: Tensor, count: int) -> Tensor:
        z = less(self.embedding(x, v), self.centre) @ self.frame.to(v)
        columns = [z, torch.ones_like(z[:, :1])]
        return torch.cat([*columns, self.more(z)] if count > self.affine else columns, dim=1)

    def functions_and_tangents(self, x: Tensor, v: Tensor, count: int, shear: float) -> tuple[Tensor, Tangents]:
        """Functions ``(N, count)`` with their tangents; ``count`` is the number of all or of the affine ones."""
        z, tangents = self.embedding.value_and_tangents(x, v, shear)
        z, tangents = less(z, self.centre) @ self.frame.to(v), tangents @ self.frame.to(v)
        phi, moves = torch.cat([z, torch.ones_like(z[:, :1])], dim=1), torch.nn.functional.pad(tangents, (0, 1))
        # Without shear all particles move the affine functions alike.
        own = Tangents.dense(moves) if shear != 0 else Tangents(torch.ones_like(phi)[None], moves.squeeze(1)[None])
        if count == self.affine:
            return phi, own
        more, others = self.more_and_tangents(z, tangents, shear != 0)
        joined = (torch.cat(pair, dim=2) for pair in zip(own, others, strict=True))
        return torch.cat([phi, more], dim=1), Tangents(*joined)
