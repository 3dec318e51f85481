"""What happens beside the time loop: a callback sees every step, and may keep tensors across a resume."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor
from tqdm import tqdm

from graphlandau.base import distributed
from graphlandau.run.checkpoint import Checkpoint, save_checkpoint

if TYPE_CHECKING:
    from graphlandau.run.simulation import Simulation

__all__ = ["Callback", "Checkpoints", "Progress", "Snapshots"]


class Callback:
    """One task of a run; override what it needs.

    Of several processes each calls it, with the same numbers: what is not to happen several times belongs under
    ``if graphlandau.base.distributed.rank() == 0``.

    The position of the run is in ``run.step``, ``run.t``, ``run.state`` and ``run.frame``. Where
    ``run.row_due``, numbers put into ``run.row`` become columns of the metrics (the same ones at every row).

    Example:
        >>> class HottestParticle(Callback):
        ...     def after_evaluate(self, run):
        ...         print(run.step, float(run.state.v.norm(dim=1).max()))
    """

    def begin(self, run: Simulation) -> None:
        """The run is at its first step, or at its checkpoint (then :meth:`load_state_dict` came before)."""

    def before_evaluate(self, run: Simulation) -> None:
        """The state is at ``run.t``; what moves it is not known yet."""

    def after_evaluate(self, run: Simulation) -> None:
        """What moves the state at ``run.t`` (score and drift, the field) is in ``run.frame``."""

    def end(self, run: Simulation) -> None:
        """The run has reached its last step."""

    def summary(self, run: Simulation) -> dict[str, Any]:
        """Return what ``summary.json`` gets from this one, at the last step."""
        return {}

    def close(self) -> None:
        """The run is over, also when it failed or was interrupted."""

    def state_dict(self) -> dict[str, Tensor]:
        """Return what a resume needs, as tensors."""
        return {}

    def load_state_dict(self, tensors: Mapping[str, Tensor]) -> None:
        """Take back what :meth:`state_dict` gave."""


class Snapshots(Callback):
    """Particles, log-densities and what the method shows in ``snapshots.h5`` at the steps ``run.snapshot_steps``."""

    def after_evaluate(self, run: Simulation) -> None:
        """Write a snapshot if one is due."""
        if run.folder is None or run.step not in run.snapshot_steps:
            return
        tensors = {key: run.state[key] for key in ("v", "pos", "log_f") if key in run.state} | run.frame.shown()
        weight = run.state.weight if "weight" in run.state else None
        run.folder.write_snapshot(run.step, run.t, tensors, problem=str(run.labels["problem"]), weight=weight)


class Checkpoints(Callback):
    """A checkpoint every ``every`` steps and at the last one, taken before the method looks at the state."""

    def __init__(self, every: int) -> None:
        self.every = every

    def before_evaluate(self, run: Simulation) -> None:
        """Write the checkpoint if it is due."""
        due = run.step % self.every == 0 or run.step == run.steps
        if run.folder is not None and due and distributed.rank() == 0:
            run.folder.checkpoint.parent.mkdir(exist_ok=True)
            save_checkpoint(run.folder.checkpoint, Checkpoint.of(run))


class Progress(Callback):
    """A bar on stderr with the time left and the current error; on a terminal only."""

    shown: ClassVar[dict[str, str]] = {
        "rel_fisher_divergence": "rel Fisher",
        "cov_frobenius_error": "cov error",
        "energy_rel_drift": "energy drift",
    }

    def __init__(self) -> None:
        self.bar: tqdm | None = None

    def begin(self, run: Simulation) -> None:
        """Open the bar at the step of the run."""
        hidden = True if distributed.rank() else None
        self.bar = tqdm(
            total=run.steps, initial=run.step, file=sys.stderr, unit="step", disable=hidden, dynamic_ncols=True
        )

    def after_evaluate(self, run: Simulation) -> None:
        """Move the bar; show the first error that is known."""
        assert self.bar is not None
        self.bar.n = run.step
        known = [(label, run.row[key]) for key, label in self.shown.items() if run.row.get(key) is not None]
        if known:
            self.bar.set_postfix_str(f"t={run.t:.4g}, {known[0][0]} {known[0][1]:.2e}", refresh=False)
        self.bar.refresh()

    def close(self) -> None:
        """Close the bar."""
        if self.bar is not None:
            self.bar.close()
