"""How far a run is, for those who wait for it."""

from __future__ import annotations

from typing import ClassVar

from tqdm import tqdm

from graphlandau.base.progress import progress_bar
from graphlandau.run.observers.observer import Observer, Run

__all__ = ["Progress"]


class Progress(Observer):
    """A bar on stderr with the time left and the current error; on a terminal only."""

    shown: ClassVar[dict[str, str]] = {
        "rel_fisher_divergence": "rel Fisher",
        "cov_frobenius_error": "cov error",
        "energy_rel_drift": "energy drift",
    }

    def __init__(self) -> None:
        self.bar: tqdm | None = None

    def begin(self, run: Run) -> None:
        """Open the bar at the step of the run."""
        self.bar = progress_bar(run.steps, run.step, "step")

    def after_evaluate(self, run: Run) -> None:
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
