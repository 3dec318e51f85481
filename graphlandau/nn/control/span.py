"""Controls in a linear span, minimised over all particles at once."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from graphlandau.base.errors import InvalidArgument
from graphlandau.nn.control.base import ControlModel
from graphlandau.nn.control.embedding import PhaseEmbedding
from graphlandau.objectives.control import ControlObjective, determinant_excess

__all__ = ["Moments", "Solution", "SpanControl", "Tangents"]

# Rows handled at a time: bounds the memory to a few times CHUNK x functions and fits the second-level cache.
CHUNK = 1024

# Multiplications that the curvature of the determinant may cost: beyond, a regular subset of the particles gives it.
# Only the number of passes depends on it.
CURVATURE_BUDGET = 1e9

# Passes over the particles at most. Some 5 in one dimension and 10 in three suffice where eps dt / sigma^2 < 1.
MOST_PASSES = 60
# The solve ends when the next step would lower the loss by less than this part of what all steps do: eight digits of
# the weights.
TOLERANCE = 1e-16
# Steps that the quasi-Newton method remembers.
MEMORY = 10
# The metric is made anew where a step promises more than this part of what the step before did.
SLOW = 0.3
SUFFICIENT_DECREASE = 1e-4
MOST_HALVINGS = 30
# Of a mean over many particles, relative to the mean absolute value.
ROUNDING = 1e-14


class Solution(NamedTuple):
    """How a solve ended: the mean loss with its penalty, passes over the particles, and whether it is the minimum."""

    loss: float
    passes: int
    converged: bool


class Moments(NamedTuple):
    r"""Means over folds: :math:`\langle \Phi \Phi^\top \rangle`, the slope of the quadratic loss at rest, and sizes.

    The quadratic loss of weights ``W`` is :math:`\operatorname{tr} W^\top (\frac{c}{2} G W + b)`.
    """

    gram: Tensor
    linear: Tensor
    size: Tensor

    def mean(self, leave_out: int | None = None) -> Moments:
        """Means over all folds, or all but one, as one fold."""
        keep = [k for k in range(len(self.size)) if k != leave_out]
        share = (self.size[keep] / self.size[keep].sum())[:, None, None]
        gram, linear = ((share * x[keep]).sum(0, keepdim=True) for x in (self.gram, self.linear))
        return Moments(gram, linear, self.size[keep].sum(0, keepdim=True))


class Tangents(NamedTuple):
    r"""Derivatives of functions, :math:`\partial_b \Phi_k = \sum_j S_{jk} \, n_{jbk}`, by slopes and directions.

    One term suffices where each function moves along a direction that is the same for all particles.

    Shapes:
        - **slopes**: :math:`S`, :math:`(J, N, m)`; **directions**: :math:`n`, :math:`(J, d, m)`
    """

    slopes: Tensor
    directions: Tensor

    @staticmethod
    def dense(derivatives: Tensor) -> Tangents:
        """Tangents by the derivatives ``(d, N, m)`` themselves."""
        eye = torch.eye(derivatives.size(0), dtype=derivatives.dtype, device=derivatives.device)
        return Tangents(derivatives, eye[:, :, None].expand(-1, -1, derivatives.size(2)))

    def jacobian(self, weights: Tensor) -> Tensor:
        r"""Jacobian of :math:`W^\top \Phi`, ``(N, d, d)``."""
        (_, n, m), d = self.slopes.shape, self.directions.size(1)
        columns = (self.directions[:, :, :, None] * weights).permute(0, 2, 3, 1).reshape(-1, m, weights.size(1) * d)
        return (self.slopes @ columns).sum(0).view(n, weights.size(1), d)

    def adjoint(self, matrices: Tensor) -> Tensor:
        r"""Sum over particles and ``b`` of :math:`\partial_b \Phi_k M_{ba}`, ``(m, d)``."""
        products = (self.slopes.mT @ matrices.flatten(1)).unflatten(2, matrices.shape[1:])
        return torch.einsum("jbk,jkba->ka", self.directions, products)

    def total(self) -> Tensor:
        """Sum over the particles, ``(m, d)``."""
        return torch.einsum("jbk,jk->kb", self.directions, self.slopes.sum(1))

    def along(self, vectors: Tensor) -> Tensor:
        """Derivatives along one vector per particle, ``(N, m)``."""
        return (self.slopes * (vectors @ self.directions)).sum(0)


class SpanControl(ControlModel):
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
            phi, tangents = self.functions_and_tangents(*part, shear, len(weights))
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
        problem = _Problem(self, objective, x, v, shear)
        moments = problem.moments(self.folds())
        total = moments.mean()
        ridge = self.choose(moments, objective.c)
        weights, used = torch.zeros_like(self.coefficients), len(self.coefficients)
        if math.isinf(ridge):
            used, ridge = self.affine, 0.0
        gram, linear = total.gram[0, :used, :used], total.linear[0, :used]
        penalty = torch.zeros_like(linear[:, :1])
        penalty[self.affine :] = ridge
        curvature = objective.c * gram + penalty.diagflat()
        quadratic = -torch.cholesky_solve(linear, _factor(curvature))
        if objective.tau is None and objective.extra is None:
            solution = Solution(0.5 * float((quadratic * linear).sum()), 1, True)
            weights[:used] = quadratic
        else:
            descent = _Descent(problem, penalty, curvature, -0.5 * float((quadratic * linear).sum()))
            weights[:used], solution = descent.run([quadratic + self.correction[:used], quadratic])
        self.correction.copy_(weights)
        self.correction[:used] -= quadratic
        self.coefficients.copy_(weights)
        return solution

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
        z = (self.embedding(x, v) - self.centre.to(v)) @ self.frame.to(v)
        columns = [z, torch.ones_like(z[:, :1])]
        return torch.cat([*columns, self.more(z)] if count > self.affine else columns, dim=1)

    def functions_and_tangents(self, x: Tensor, v: Tensor, shear: float, count: int) -> tuple[Tensor, Tangents]:
        """Functions ``(N, count)`` with their tangents; ``count`` is the number of all or of the affine ones."""
        z, tangents = self.embedding.value_and_tangents(x, v, shear)
        z, tangents = (z - self.centre.to(v)) @ self.frame.to(v), tangents @ self.frame.to(v)
        phi, moves = torch.cat([z, torch.ones_like(z[:, :1])], dim=1), torch.nn.functional.pad(tangents, (0, 1))
        # Without shear all particles move the affine functions alike.
        own = Tangents.dense(moves) if shear != 0 else Tangents(torch.ones_like(phi)[None], moves.squeeze(1)[None])
        if count == self.affine:
            return phi, own
        more, others = self.more_and_tangents(z, tangents, shear != 0)
        joined = (torch.cat(pair, dim=2) for pair in zip(own, others, strict=True))
        return torch.cat([phi, more], dim=1), Tangents(*joined)


class _Problem:
    """An objective on particles: its moments, and the loss and slope of weights, by passes over chunks."""

    def __init__(self, model: SpanControl, objective: ControlObjective, x: Tensor, v: Tensor, shear: float) -> None:
        self.model, self.objective, self.x, self.v, self.shear = model, objective, x, v, shear
        self.n = x.size(0)

    def chunks(self, count: int, start: int = 0, every: int = 1) -> Iterator[tuple[ControlObjective, Tensor, Tangents]]:
        """Objective, functions and tangents of every so many particles from ``start`` on."""
        for first in range(start, self.n, CHUNK * every):
            rows = slice(first, first + CHUNK * every, every)
            x, v = self.x[rows].double(), self.v[rows].double()
            phi, tangents = self.model.functions_and_tangents(x, v, self.shear, count)
            yield self.objective.subset(rows), phi, tangents

    def moments(self, folds: int) -> Moments:
        """Moments per fold: particle i belongs to fold i mod ``folds``."""
        old, kappa = self.model.coefficients, self.objective.kappa
        grams, linears = [], []
        folds = min(folds, self.n)
        for k in range(folds):
            gram, linear = old.new_zeros(len(old), len(old)), torch.zeros_like(old)
            for objective, phi, tangents in self.chunks(len(old), k, folds):
                gram += phi.T @ phi
                # A further term counts with its slope at the control of the solve before.
                at = phi @ old if objective.extra is not None else torch.zeros_like(objective.g, dtype=old.dtype)
                linear += phi.T @ (objective.slope(at) - objective.c * at) - kappa * tangents.total()
            grams.append(gram)
            linears.append(linear)
        size = torch.tensor([len(range(k, self.n, folds)) for k in range(folds)]).to(old)
        return Moments(torch.stack(grams) / size[:, None, None], torch.stack(linears) / size[:, None, None], size)

    def at_rest(self) -> float:
        """Mean loss of no motion."""
        extra = self.objective.extra
        if extra is None:
            return 0.0
        parts = torch.arange(self.n, device=self.v.device).split(CHUNK)
        return sum(float(extra.subset(i)(torch.zeros_like(self.v[i]).double()).sum()) for i in parts) / self.n

    def square_at_rest(self) -> float:
        """Mean square of the linear term, over the curvature of the quadratic one."""
        return float(self.objective.g.double().square().sum()) / (self.n * self.objective.c)

    def loss_and_slope(self, weights: Tensor) -> tuple[float, float, Tensor]:
        """Mean loss, mean of its absolute value and slope in the weights; infinite if a determinant is not positive."""
        total, size, slope = 0.0, 0.0, torch.zeros_like(weights)
        for objective, phi, tangents in self.chunks(len(weights)):
            u, jacobian = phi @ weights, tangents.jacobian(weights)
            slope += phi.T @ objective.slope(u)
            if objective.tau is None:
                slope -= objective.kappa * tangents.total()
            elif bool((determinant_excess(jacobian, objective.tau) <= -1).any()):
                return math.inf, math.inf, slope
            else:
                slope -= objective.kappa * tangents.adjoint(_inverse(jacobian, objective.tau))
            loss = objective(u, jacobian)
            total, size = total + float(loss.sum()), size + float(loss.abs().sum())
        return total / self.n, size / self.n, slope / self.n

    def determinant_curvature(self, weights: Tensor) -> Tensor:
        r"""The determinant's second derivatives in the weights, ``(d, m, d, m)``.

        They are :math:`\kappa \tau \langle X_{ck} X_{al} \rangle` in :math:`W_{ka}` and :math:`W_{lc}` with
        :math:`X_{ak} = \sum_b (M^{-1})_{ba} \partial_b \Phi_k`.
        """
        d, count, tau = self.model.d, len(weights), self.objective.tau
        assert tau is not None
        total, rows = weights.new_zeros(d * count, d * count), 0
        every = math.ceil(self.n * total.numel() / CURVATURE_BUDGET)
        for objective, phi, tangents in self.chunks(count, every=every):
            inverse = _inverse(tangents.jacobian(weights), tau)
            pushed = torch.cat([tangents.along(inverse[:, :, a]) for a in range(d)], dim=1)
            total.addmm_(pushed.T, pushed, alpha=objective.kappa * tau)
            rows += phi.size(0)
        return (total / rows).view(d, count, d, count).permute(2, 1, 0, 3)


class _Point(NamedTuple):
    """Weights with their loss, the mean of its absolute values, and its slope."""

    weights: Tensor
    loss: float
    size: float
    slope: Tensor


class _Descent:
    """Quasi-Newton steps on a problem with a penalty, from the best of some starts and rest."""

    def __init__(self, problem: _Problem, penalty: Tensor, curvature: Tensor, scale: float) -> None:
        self.problem, self.penalty, self.curvature = problem, penalty, curvature
        # What steps are worth taking: none below the rounding of the slope.
        self.enough = TOLERANCE * scale + ROUNDING**2 * problem.square_at_rest()
        self.passes = 1

    def run(self, starts: list[Tensor]) -> tuple[Tensor, Solution]:
        """Minimiser, or the best point that was reached, and how it ended."""
        at, converged = self._start(starts), False
        factor, pairs, last = self._metric(at), [], math.inf
        while self.passes < MOST_PASSES:
            step = -_quasi_newton(factor, pairs, at.slope)
            decrease = -float((step * at.slope).sum())
            converged = decrease <= self.enough
            if converged:
                break
            if decrease > SLOW * last and pairs:
                # The determinants have moved away from those that the metric was made of.
                factor, pairs, last = self._metric(at), [], math.inf
                continue
            new, length = self._along(at, step, decrease)
            if new is None:
                break
            pairs = [*pairs[1 - MEMORY :], (new.weights - at.weights, new.slope - at.slope)]
            at, last = new, decrease if length == 1 else 0.0
        return at.weights, Solution(at.loss, self.passes, converged)

    def _along(self, at: _Point, step: Tensor, decrease: float) -> tuple[_Point | None, float]:
        """The first point of sufficient decrease on halved steps, if there is one, and the part of the step."""
        for halvings in range(MOST_HALVINGS):
            length = 0.5**halvings
            new = self._evaluate(at.weights + length * step)
            # A loss that differs by rounding alone has not grown.
            if new.loss <= at.loss - SUFFICIENT_DECREASE * length * decrease + ROUNDING * at.size:
                return new, length
        return None, 0.0

    def _metric(self, at: _Point) -> Tensor:
        """Cholesky factor of the curvature, ``(d m, d m)``."""
        d, count = at.weights.size(1), len(at.weights)
        alike = torch.eye(d, dtype=at.weights.dtype, device=at.weights.device)[:, None, :, None]
        curvature = alike * self.curvature[:, None, :]
        if self.problem.objective.tau is not None:
            self.passes += 1
            determinants = self.problem.determinant_curvature(at.weights)
            whole = (curvature + determinants).reshape(d * count, -1)
            if not int(torch.linalg.cholesky_ex(whole).info):
                return _factor(whole)
            # In more than one dimension the coupling of the components may make it indefinite; its blocks never are.
            curvature = curvature + alike * determinants
        return _factor(curvature.reshape(d * count, -1))

    def _start(self, starts: list[Tensor]) -> _Point:
        rest = self.problem.at_rest()
        if not math.isfinite(rest):
            raise ArithmeticError(f"the loss of the control is {rest} at rest: the potential may have overflowed")
        for weights in starts:
            point = self._evaluate(weights)
            if point.loss <= rest:
                return point
        return self._evaluate(torch.zeros_like(starts[-1]))

    def _evaluate(self, weights: Tensor) -> _Point:
        self.passes += 1
        loss, size, slope = self.problem.loss_and_slope(weights)
        penalty = 0.5 * float((self.penalty * weights * weights).sum())
        return _Point(weights, loss + penalty, size + penalty, slope + self.penalty * weights)


def _quasi_newton(factor: Tensor, pairs: list[tuple[Tensor, Tensor]], slope: Tensor) -> Tensor:
    """L-BFGS: the slope by the inverse of the metric, corrected by pairs of steps and changes of slope."""
    pairs = [(s, y) for s, y in pairs if (s * y).sum() > 0]
    shares = []
    for s, y in reversed(pairs):
        shares.append((s * slope).sum() / (s * y).sum())
        slope = slope - shares[-1] * y
    step = torch.cholesky_solve(slope.T.reshape(-1, 1), factor).view(slope.T.shape).T
    for (s, y), share in zip(pairs, reversed(shares), strict=True):
        step = step + (share - (y * step).sum() / (s * y).sum()) * s
    return step


def _factor(matrix: Tensor) -> Tensor:
    """Cholesky factor; functions that vanish get a unit diagonal, and those that depend on others a little more."""
    diagonal = matrix.diagonal()
    for lift in (0.0, 1e-14, 1e-12, 1e-10):
        factor, failed = torch.linalg.cholesky_ex(matrix + torch.where(diagonal > 0, lift * diagonal, 1).diagflat())
        if not int(failed):
            return factor
    raise ArithmeticError("the functions of the control have no finite positive Gram matrix over the particles")


def _inverse(jacobian: Tensor, tau: float) -> Tensor:
    d = jacobian.size(-1)
    return torch.linalg.inv(torch.eye(d, dtype=jacobian.dtype, device=jacobian.device) + tau * jacobian)
