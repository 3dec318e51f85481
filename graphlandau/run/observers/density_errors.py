"""The density error of a run beside two baselines: what exact scores, and exact samples, leave of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor
from torch_geometric.data import Data

from graphlandau.base.state import particle_state, start_of
from graphlandau.diagnostics import gaussian_kde, grid_axes, grid_points, relative_l2_error
from graphlandau.methods import LandauTransport, Method, Step
from graphlandau.problems import Problem
from graphlandau.run.observers.observer import Observer, Run

__all__ = ["DensityErrors", "ExactTransport"]


class ExactTransport(LandauTransport):
    """Particles that follow the drift of the exact score of ``problem``: the baseline of every learned score.

    Same integrator, random batches, backend and tolerance as ``like``, where it is a method with these.
    """

    def __init__(self, problem: Problem, like: Method) -> None:
        if isinstance(like, LandauTransport):
            super().__init__(replace(like.step, log_det="none"), like.collisions, like.seed)
        else:
            super().__init__(Step(log_det="none"))
        self.problem = problem

    def score(self, state: Data) -> tuple[Tensor, None]:
        """Exact score at the time of the state."""
        return self.problem.score(state.v, state.t), None


class DensityErrors(Observer):
    r"""Relative L2 error of the kernel density estimate on the problem's grid, at the snapshots.

    The estimate has errors that no method is to blame for: the width of its kernel and the finite sample.
    They are measured beside it: ``rel_l2_density_exact_score`` is the error of the same initial particles
    moved by the exact score, ``rel_l2_density_fresh`` that of as many fresh exact samples. Dimensionless.

    Args:
        problem: A problem with a known density and a grid.
        method: The method of the run; its integrator moves the particles of the baseline as well.
        baselines: Whether to measure the two baselines.
        seed: Seed of the fresh samples.
    """

    def __init__(self, problem: Problem, method: Method, baselines: bool, seed: int) -> None:
        assert problem.grid is not None
        self.problem, self.baselines, self.seed = problem, baselines, seed
        self.axes = grid_axes(*problem.grid, problem.d)
        self.exact = ExactTransport(problem, method)
        self.shadow: Data | None = None
        self.saved: dict[str, Tensor] = {}

    @classmethod
    def where_known(cls, problem: Problem, method: Method, baselines: bool, seed: int) -> list[DensityErrors]:
        """Return one for a problem with a grid whose density is known at all times, else none."""
        known = problem.grid is not None and problem.density(problem.t_end) is not None
        return [cls(problem, method, baselines, seed)] if known else []

    def begin(self, run: Run) -> None:
        """Start the particles of the baseline with those of the run, or where the checkpoint left them."""
        if self.baselines:
            v = self.saved["v"].to(run.state.v) if self.saved else start_of(run.state).clone()
            if not v.numel():
                return  # given up before the checkpoint
            self.shadow = particle_state(v, t=run.t, checked=False)
            self.exact.prepare(self.shadow, self.problem)
            if self.saved:
                self.exact.load_state_dict({"generator": self.saved["generator"]})

    def after_evaluate(self, run: Run) -> None:
        """Compare at a snapshot; move the particles of the baseline along."""
        due = run.step in run.snapshot_steps
        if run.row_due:
            run.row["rel_l2_density"] = self.error(run.state.v, run.t, run.state.get("weight")) if due else None
        if not self.baselines:
            return
        if run.row_due:
            moved = self.shadow.v if due and self.shadow is not None else None
            run.row["rel_l2_density_exact_score"] = None if moved is None else self.error(moved, run.t)
            run.row["rel_l2_density_fresh"] = self._fresh_error(run) if due else None
        if self.problem.density(run.t) is None:
            self.shadow = None  # there is no exact score to move by
        if self.shadow is not None and run.step < run.steps:
            self.shadow.t = run.t
            if not run.method.in_steps:
                self._follow(run)
                return
            self.shadow = self.exact.advance(self.shadow, self.exact.evaluate(self.shadow), run.dt)
            self.shadow = self.shadow.apply(Tensor.contiguous)

    def _follow(self, run: Run) -> None:
        """Put the particles of the baseline where the exact drift carries them until the next look, if known."""
        later = self.problem.t_start + (run.step + 1) * run.dt
        exact = self.problem.characteristics(run.state.v0.double(), later)
        self.shadow = None if exact is None else particle_state(exact.to(run.state.v), t=later, checked=False)

    def state_dict(self) -> dict[str, Tensor]:
        """The particles of the baseline, and the random batches to come."""
        if self.shadow is None:
            return {"v": torch.empty(0, self.problem.d)} if self.baselines else {}
        return {"v": self.shadow.v, **self.exact.state_dict()}

    def load_state_dict(self, tensors: Mapping[str, Tensor]) -> None:
        """Keep them for :meth:`begin`."""
        self.saved = dict(tensors)

    def error(self, v: Tensor, t: float, weight: Tensor | None = None) -> float | None:
        """Return the relative L2 error of the estimate from ``v`` at ``t``, ``None`` where the density is unknown."""
        density = self.problem.density(t)
        if density is None:
            return None
        estimate = gaussian_kde(v, self.axes, self.problem.bandwidth, weight)
        exact = density.log_prob(grid_points(self.axes).to(v)).exp().reshape(estimate.shape)
        return float(relative_l2_error(estimate, exact))

    def _fresh_error(self, run: Run) -> float | None:
        if self.problem.density(run.t) is None:
            return None
        # A seed of its own for every step, far from the seeds of runs: nothing to restore on a resume.
        generator = torch.Generator().manual_seed(((self.seed + 1) * 1_000_003 + run.step) % 2**63)
        v = self.problem.sample(run.particles, generator=generator, t=run.t)
        return self.error(v.to(run.state.v), run.t)
