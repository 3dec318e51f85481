"""How far the drift that moves the particles is from the direct sum, where it is not summed exactly."""

from __future__ import annotations

import logging
import warnings

import torch

from graphlandau.methods import Method
from graphlandau.methods.transport import LandauTransport
from graphlandau.run.observers.observer import Observer, Run

log = logging.getLogger(__name__)

__all__ = ["DriftError"]


class DriftError(Observer):
    r"""Fills the column ``drift_error`` of a run on the mesh, and says the first one; nothing for exact backends.

    :math:`\|\tilde U - U\| / \|U\|` over 512 random particles (:meth:`graphlandau.nn.LandauDrift.error`), at the first
    step, at every checkpoint and at the last step; a warning where it is above the tolerance of the mesh.

    Args:
        method: What moves the particles.
        every: Steps between two measurements.
    """

    def __init__(self, method: LandauTransport, every: int) -> None:
        self.method, self.every = method, every
        self.started = self.on_mesh = False

    @classmethod
    def of(cls, method: Method, every: int) -> list[DriftError]:
        """Return one for a method with a collision drift, none for another."""
        return [cls(method, every)] if isinstance(method, LandauTransport) else []

    def begin(self, run: Run) -> None:
        """Decide whether there is a column: by what the backend is to be, whatever it was at some step."""
        block = self.method.facts(run.problem, run.particles).batch_size or run.particles
        self.on_mesh = self.method.drift.chosen_backend(run.problem.d, block) == "mesh"

    def after_evaluate(self, run: Run) -> None:
        """Measure if it is due."""
        if not self.on_mesh:
            return
        first, self.started = not self.started, True
        error = None
        # Where ``auto`` had to take another backend at this step the cell stays empty.
        due = self.method.drift.used == "mesh"
        if due and (first or run.step % self.every == 0 or run.step == run.steps):
            state, drift = run.state, self.method.drift
            # Of its own: the numbers of the run do not depend on being watched.
            generator = torch.Generator().manual_seed(run.seed)
            error = drift.error(state.v, run.frame.s, run.frame.batch, state.get("weight"), generator=generator)
            if first:
                log.info("drifts by the mesh: measured error %.1e (tolerance %g)", error, drift.tolerance)
            if error > drift.tolerance:
                where = f"at step {run.step} of {run.steps}"
                cure = "a smaller --mesh_tolerance takes a finer lattice"
                warnings.warn(
                    f"drifts have a relative error of {error:.1e} {where}, above {drift.tolerance:g}; {cure}",
                    stacklevel=2,
                )
        if run.row_due:
            run.row["drift_error"] = error
