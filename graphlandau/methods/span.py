"""JKO objectives minimised over the linear span of a closed-form score: exactly, where they are quadratic."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor, nn
from torch_geometric.data import Data

from graphlandau.base.errors import NonFinite
from graphlandau.graphs import RandomBatches
from graphlandau.nn.conv import JKOAction, LandauDrift
from graphlandau.nn.score import ClosedFormScore
from graphlandau.nn.score.gauge import score_gauge

__all__ = ["SpanSolver"]

Objective = Callable[[Callable[[Tensor], tuple[Tensor, Tensor]]], Tensor]

# Iterations of the quasi-Newton method per time step; it starts close and needs some ten.
MOST_ITERATIONS = 100
# Stands for an objective that overflows; that of no motion is 0.
OUT_OF_REACH = 1e3
# Rows at a time of sums over particles and features.
CHUNK = 4096


class SpanSolver:
    r"""Minimises over fields :math:`u = \Sigma^{-1/2} (B^\top x + W^\top \Phi(x))` in the whitened velocities ``x``.

    :math:`\Phi` are the features of a :class:`~graphlandau.nn.ClosedFormScore`. The pairwise objective of one
    explicit inner step is quadratic in the weights and is minimised by one linear solve. The linear part ``B`` is
    free; a ridge on ``W`` is the one that the model chooses by its own rule, in units of the mean diagonal of the
    form without ``B``. Any other objective is minimised by L-BFGS in the coordinates in which the quadratic one is
    the unit sphere, from the best of three starts: the minimiser of the quadratic one, the weights of the step
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
        weights = quadratic.minimiser(ridge * unit)
        if objective is not None:
            previous = self._pack(*before, count)
            starts = [weights, previous, torch.zeros_like(weights)]
            weights = self._minimise(objective, quadratic.hessian(ridge * unit), ridge * unit, starts, v.dtype)
        self._set(weights)
        # As a score: u = a + b v has B = b Sigma and the constant Sigma^(1/2) (a + b m) in whitened velocities.
        shift, slope = score_gauge(v, model(v), weight)
        root = torch.linalg.inv(model.whitening.double())
        model.affine[:-1] += (slope * root @ root).to(model.affine)
        model.affine[-1] += (root @ (shift + slope * model.mean.double())).to(model.affine)

    def _set(self, weights: Tensor) -> None:
        affine, coefficients = self._unpack(weights)
        self.model.affine.copy_(affine)
        self.model.coefficients.copy_(coefficients)

    def _pack(self, affine: Tensor, coefficients: Tensor, count: int) -> Tensor:
        """Weights ``(count + d) d`` of the features, then of the velocities."""
        return torch.cat([coefficients[:count], affine[:-1]]).flatten()

    def _unpack(self, weights: Tensor) -> tuple[Tensor, Tensor]:
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
        self, objective: Objective, hessian: Tensor, ridge: float, starts: list[Tensor], dtype: torch.dtype
    ) -> Tensor:
        """Minimise ``objective`` plus the ridge, from the best of ``starts``, to the rounding of ``dtype``."""
        field = _Field(self.model)
        features = torch.zeros_like(starts[0])
        if math.isfinite(ridge):
            features[: -(self.model.d**2)] = ridge
        lower = torch.linalg.cholesky(hessian)

        def evaluate(weights: Tensor) -> tuple[float, Tensor]:
            weights = weights.detach().requires_grad_()
            with torch.enable_grad():
                affine, coefficients = self._unpack(weights)
                try:
                    value = objective(lambda v: field.at(affine, coefficients, v)).double()
                    value = value + (features * weights.square()).sum()
                    (gradient,) = torch.autograd.grad(value, weights)
                except NonFinite:  # a flow that leaves the numbers: a layer refuses what is not finite
                    return OUT_OF_REACH, torch.zeros_like(weights)
            if not (bool(value.isfinite()) and bool(gradient.isfinite().all())):
                return OUT_OF_REACH, torch.zeros_like(weights)
            return float(value), gradient

        (best, slope), start = min(((evaluate(weights), weights) for weights in starts), key=lambda found: found[0][0])

        def at(y: np.ndarray) -> Tensor:
            move = torch.linalg.solve_triangular(lower.T, torch.from_numpy(y).to(lower)[:, None], upper=True)
            return start + move[:, 0]

        def whitened(y: np.ndarray) -> tuple[float, np.ndarray]:
            value, gradient = evaluate(at(y)) if y.any() else (best, slope)
            gradient = torch.linalg.solve_triangular(lower, gradient[:, None], upper=False)[:, 0]
            return value, gradient.cpu().numpy()

        eps = torch.finfo(dtype).eps
        found = minimize(
            whitened,
            np.zeros(len(start)),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": MOST_ITERATIONS, "ftol": 10 * eps, "gtol": 10 * eps},
        )
        return at(found.x)


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
