"""JKO objectives minimised over the weights of a closed-form score: exactly, where they are quadratic."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from graphlandau.base.errors import NonFinite
from graphlandau.graphs import RandomBatches
from graphlandau.nn.conv import JKOAction, LandauDrift
from graphlandau.nn.linear import Point, minimise
from graphlandau.nn.score import ClosedFormScore
from graphlandau.nn.score.gauge import score_gauge

__all__ = ["LinearJKO"]

Objective = Callable[[Callable[[Tensor], tuple[Tensor, Tensor]]], Tensor]

# Evaluations of an objective per time step at most; it starts close and needs some ten.
MAX_PASSES = 100
# Rounding of an objective over that of the particles: it is a difference of two sums over pairs. Neighbouring points at
# the minimum differ by up to 30 in double and by 1 in single precision (BKW in 2D, 800 and 2000 particles).
ROUNDING = 50.0
# Rows at a time of sums over particles and features.
CHUNK = 4096


class LinearJKO:
    r"""Minimises over fields :math:`u = \Sigma^{-1/2} (B^\top x + W^\top \Phi(x))` in the whitened velocities ``x``.

    :math:`\Phi` are the features of a :class:`~graphlandau.nn.ClosedFormScore`. The pairwise objective of one
    explicit inner step is quadratic in the weights and is minimised by one linear solve. The linear part ``B`` is
    free; a ridge on ``W`` is the one that the model chooses by its own rule, in units of the mean diagonal of the
    form without ``B``. Any other objective is minimised by L-BFGS in the metric of the quadratic one, from the best of
    three starts: the minimiser of the quadratic one, the weights of the step
    before, and no motion.

    Args:
        model: The closed-form score; its weights are set to the minimiser, with the moments of a score.
        action: The pairwise objective.
        drift: The drift of the same kernel.
        block: Particles per block inside which pairs are summed.
        generator: Source of the blocks.
    """

    def __init__(
        self, model: ClosedFormScore, action: JKOAction, drift: LandauDrift, block: int, generator: torch.Generator
    ) -> None:
        self.model, self.action, self.drift = model, action, drift
        self.block, self.generator = block, generator

    def blocks(self, v: Tensor) -> Tensor | None:
        """Random blocks of the pair sums; ``None`` for all pairs, where they fit in one or cost no more."""
        n = v.size(0)
        if n <= self.block or (self.action.kernel.gamma == 0 and self.action.backend in ("auto", "moments")):
            return None
        return RandomBatches(self.block, self.generator)(Data(v=v)).batch

    @torch.no_grad()
    def solve(self, state: Data, batch: Tensor | None, objective: Objective | None = None) -> None:
        """Fit the model to the particles.

        Args:
            state: Particles.
            batch: Blocks of the pair sums.
            objective: Function of a vector field (velocities to values and Jacobian) to minimise instead of the
                quadratic one, differentiable; the value for no field must be 0.

        Raises:
            ValueError: If the particles have a singular covariance.
        """
        model, v, weight = self.model, state.v, state.get("weight")
        before = (model.affine.clone().double(), model.coefficients.clone().double())
        model.condition(v, weight)
        model.choose_ridge(v, weight)
        ridge = float(model.chosen)
        count = model.feature_count(v.size(0)) if math.isfinite(ridge) else 0
        quadratic = self._quadratic(state, batch, count)
        unit = quadratic.unit()
        if objective is None:
            weights = quadratic.minimiser(ridge * unit)
        else:
            weights = self._minimise(objective, quadratic, ridge * unit, self.pack(*before, count), v.dtype)
        self.set_weights(weights)
        # As a score: u = a + b v has B = b Sigma and the constant Sigma^(1/2) (a + b m) in whitened velocities.
        shift, slope = score_gauge(v, model(v), weight)
        root = torch.linalg.inv(model.whitening.double())
        model.affine[:-1] += (slope * root @ root).to(model.affine)
        model.affine[-1] += (root @ (shift + slope * model.mean.double())).to(model.affine)

    def set_weights(self, weights: Tensor) -> None:
        """Give the model these weights."""
        affine, coefficients = self.unpack(weights)
        self.model.affine.copy_(affine)
        self.model.coefficients.copy_(coefficients)

    def pack(self, affine: Tensor, coefficients: Tensor, count: int) -> Tensor:
        """Weights ``(count + d) d`` of the features, then of the velocities."""
        return torch.cat([coefficients[:count], affine[:-1]]).flatten()

    def unpack(self, weights: Tensor) -> tuple[Tensor, Tensor]:
        """The model's affine part, without a constant, and its coefficients, zero for features that are not used."""
        d = self.model.d
        rows = weights.view(-1, d)
        affine = torch.cat([rows[-d:], rows.new_zeros(1, d)])
        spare = self.model.coefficients.size(0) - (len(rows) - d)
        return affine, torch.cat([rows[:-d], rows.new_zeros(spare, d)])

    def _quadratic(self, state: Data, batch: Tensor | None, count: int) -> _Quadratic:
        """Quadratic form and linear term of the pairwise objective in the weights."""
        model, v, weight = self.model, state.v, state.get("weight")
        weight = None if weight is None else weight / weight.sum()
        d, root = model.d, model.whitening.double()
        x = model.whiten(v)
        features = model.features(x)[:, :count] if count else x[:, :0]
        phi = torch.cat([features, x], dim=1)
        gram = self.action.gram(v, phi, batch, weight).view(count + d, d, count + d, d)
        gram = torch.einsum("ab,kblc,cd->kald", root, gram, root).reshape((count + d) * d, -1)
        # sum_ij w_i w_j h_ij = sum_i w_i [ D_i : grad u_i + 2 div D_i . u_i ], D = sum_j w_j A_ij.
        matrix, divergence = self.drift.diffusion(v, batch=batch, weight=weight)
        share = torch.full_like(v[:, 0], 1 / v.size(0)) if weight is None else weight
        white = root.to(v)
        matrix, divergence = share[:, None, None] * (white @ matrix @ white), share[:, None] * (divergence @ white)
        linear = 2 * (phi.T @ divergence).double()
        linear[count:] += matrix.sum(0).double()
        if count:
            parts = zip(x.split(CHUNK), matrix.split(CHUNK), strict=True)
            linear[:count] += sum((self._weighted_gradient(a, b, count) for a, b in parts), torch.zeros(()).to(linear))
        # No loss knows a multiple of v: u = b v has B = b Sigma.
        null = torch.zeros(count + d, d, dtype=torch.float64, device=v.device)
        null[count:] = torch.linalg.inv(root @ root)
        return _Quadratic(gram, linear.flatten(), null.flatten() / null.norm(), count * d)

    def _weighted_gradient(self, x: Tensor, matrix: Tensor, count: int) -> Tensor:
        r""":math:`\sum_i M_i \nabla\Phi_k(x_i)`, ``(count, d)``, for symmetric ``M``."""
        total = torch.zeros(count, self.model.d, dtype=torch.float64, device=x.device)
        for a in range(self.model.d):
            for b in range(a + 1):
                entries = matrix[:, a, b].contiguous()
                gradient = self.model.features.value_and_mean_gradient(x, entries, count)[1].double()
                total[:, a] += gradient[:, b]
                if a != b:
                    total[:, b] += gradient[:, a]
        return total

    def _minimise(
        self, objective: Objective, quadratic: _Quadratic, ridge: float, previous: Tensor, dtype: torch.dtype
    ) -> Tensor:
        """Minimise ``objective`` plus the ridge, from the best of three starts, to the rounding of ``dtype``."""
        problem = _Penalised(self, objective, quadratic, ridge)
        linear = quadratic.minimiser(ridge)
        starts = [problem.evaluate(weights) for weights in (linear, previous, torch.zeros_like(linear))]
        eps = torch.finfo(dtype).eps
        # The end: no step promises more than the rounding of what the quadratic loss has gained at its minimum, which
        # is half its linear part. The weights are then known to three digits in single precision, seven in double, or
        # better: the last steps of a quasi-Newton method converge faster than linearly.
        gain = float(-quadratic.linear @ linear)
        return minimise(
            problem,
            min(starts, key=lambda point: point.loss),
            tolerance=eps * gain,
            rounding=ROUNDING * eps,
            max_passes=MAX_PASSES,
            renew=False,
        ).point.weights


class _Penalised:
    """An objective with a ridge on the features, in the metric of the quadratic one, for the quasi-Newton method."""

    def __init__(self, solver: LinearJKO, objective: Objective, quadratic: _Quadratic, ridge: float) -> None:
        self.solver, self.objective, self.field = solver, objective, _Field(solver.model)
        self.penalty = torch.zeros_like(quadratic.linear)
        if quadratic.cut:
            self.penalty[: quadratic.cut] = ridge
        self.factor = torch.linalg.cholesky(quadratic.hessian(ridge))
        self.passes = 0

    def metric(self, at: Point) -> Callable[[Tensor], Tensor]:
        """The inverse of the second derivatives of the quadratic loss, the same at every point."""
        return lambda slope: torch.cholesky_solve(slope[:, None], self.factor)[:, 0]

    def evaluate(self, weights: Tensor) -> Point:
        """Loss and slope by automatic differentiation; infinite where the flow leaves the numbers."""
        self.passes += 1
        weights = weights.detach().requires_grad_()
        try:
            with torch.enable_grad():
                affine, coefficients = self.solver.unpack(weights)
                value = self.objective(lambda v: self.field.at(affine, coefficients, v)).double()
                value = value + (self.penalty * weights.square()).sum()
                (slope,) = torch.autograd.grad(value, weights)
        except NonFinite:  # a layer refuses what is not finite
            return Point(weights.detach(), math.inf, math.inf, torch.zeros_like(weights))
        inside = bool(value.isfinite()) and bool(slope.isfinite().all())
        loss = float(value.detach()) if inside else math.inf
        return Point(weights.detach(), loss, abs(loss), slope)


class _Field(nn.Module):
    """The model as a function of its weights, which may carry gradients."""

    def __init__(self, model: ClosedFormScore) -> None:
        super().__init__()
        self.model = model

    def forward(self, v: Tensor) -> tuple[Tensor, Tensor]:
        return self.model.value_and_jacobian(v)

    def at(self, affine: Tensor, coefficients: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Value and Jacobian at ``v`` for these weights."""
        return torch.func.functional_call(self, {"model.affine": affine, "model.coefficients": coefficients}, (v,))


class _Quadratic(NamedTuple):
    r"""The loss :math:`w^\top G w + 2 \ell \cdot w`; ``null`` is the direction it does not know, ``cut`` where the
    weights of the features end."""

    gram: Tensor
    linear: Tensor
    null: Tensor
    cut: int

    def unit(self) -> float:
        """Mean diagonal of the features' part, with the velocities taken out of it: the unit of the ridge."""
        if not self.cut:
            return 1.0
        form, cut = self._definite(), self.cut
        shared = (form[:cut, cut:] * torch.linalg.solve(form[cut:, cut:], form[cut:, :cut]).T).sum(1)
        return max(float((form.diagonal()[:cut] - shared).mean()), torch.finfo(form.dtype).tiny)

    def _definite(self) -> Tensor:
        """The form with a weight on the direction it does not know: definite, and the minimiser is orthogonal to it."""
        scale = self.gram.diagonal()[self.cut :].mean()
        return self.gram + scale * torch.outer(self.null, self.null)

    def hessian(self, ridge: float) -> Tensor:
        """Second derivative, ridge included."""
        hessian = 2 * self._definite()
        hessian.diagonal()[: self.cut] += 2 * ridge
        # Features that hardly vary leave it singular to rounding.
        hessian.diagonal().add_(1e-10 * hessian.diagonal().mean())
        return hessian

    def minimiser(self, ridge: float) -> Tensor:
        """Minimiser for a ridge on the features."""
        form = self._definite()
        if self.cut:
            form.diagonal()[: self.cut] += ridge
        return -torch.linalg.solve(form, self.linear)
