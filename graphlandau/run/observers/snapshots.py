"""The particles of a run, kept at some of its steps."""

from __future__ import annotations

from graphlandau.run.observers.observer import Observer, Run

__all__ = ["Snapshots"]


class Snapshots(Observer):
    """Particles, log-densities and what the method shows in ``snapshots.h5`` at the steps ``run.snapshot_steps``."""

    def after_evaluate(self, run: Run) -> None:
        """Write a snapshot if one is due."""
        if run.folder is None or run.step not in run.snapshot_steps:
            return
        tensors = {key: run.state[key] for key in ("v", "pos", "log_f") if key in run.state} | run.frame.shown()
        weight = run.state.weight if "weight" in run.state else None
        run.folder.write_snapshot(run.step, run.t, tensors, problem=str(run.labels["problem"]), weight=weight)
