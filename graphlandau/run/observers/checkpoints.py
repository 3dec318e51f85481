"""When a run writes the checkpoint from which it could go on."""

from __future__ import annotations

from graphlandau.run.observers.observer import Observer, Run

__all__ = ["Checkpoints"]


class Checkpoints(Observer):
    """A checkpoint every ``every`` steps and at the last one, taken before the method looks at the state."""

    def __init__(self, every: int) -> None:
        self.every = every

    def before_evaluate(self, run: Run) -> None:
        """Write the checkpoint if it is due."""
        if run.step % self.every == 0 or run.step == run.steps:
            run.save_checkpoint()
