"""The fit before the first step: seen while it goes on, and kept when it is interrupted."""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import torch
from torch import Tensor, nn

from graphlandau.base import distributed
from graphlandau.base.errors import InvalidArgument
from graphlandau.base.files import read_tensors, write_tensors
from graphlandau.base.progress import progress_bar
from graphlandau.training.descent import Descent

log = logging.getLogger(__name__)

__all__ = ["InitialFit", "forget"]


class InitialFit:
    """Counts the gradient steps of a fit in bursts, shows them, and keeps them in a file.

    Between two bursts everything is remembered that decides the rest: model, optimiser, random states. It is written
    every few seconds, and by Ctrl-C; a fit that finds the file goes on from it, to the same bits. A bar shows the time
    left on a terminal, a line every few seconds elsewhere.

    Args:
        model: What is fitted.
        descent: By which steps.
        steps: How many at most.
        burst: How many at a time.
        path: The file; ``None`` keeps nothing.

    Raises:
        InvalidArgument: On entering, if the file is not of such a fit.

    Example:
        >>> model = nn.Linear(2, 2)
        >>> descent = Descent(model, 1e-3, None, torch.Generator())
        >>> with InitialFit(model, descent, steps=120, burst=50) as fit:
        ...     while fit.left:
        ...         print(fit.next_burst())
        50
        50
        20
    """

    SAVE_SECONDS = 2.0
    TELL_SECONDS = 10.0

    def __init__(self, model: nn.Module, descent: Descent, steps: int, burst: int, path: Path | None = None) -> None:
        self.model, self.descent, self.steps, self.burst, self.path = model, descent, steps, burst, path
        self.done, self.seconds = 0, 0.0

    @property
    def left(self) -> int:
        """Steps that are left."""
        return self.steps - self.done

    def __enter__(self) -> InitialFit:
        if self.path is not None and distributed.agree(self.path.exists()):
            self._restore(self.path)
            log.info("the initial fit continues from step %d of %d", self.done, self.steps)
        self._began = time.perf_counter() - self.seconds
        self._first, self._saved, self._told = self.done, time.perf_counter(), -float("inf")
        self._bar = progress_bar(self.steps, self.done, "step", "initial fit")
        return self

    def next_burst(self, error: float | None = None) -> int:
        """Return the number of steps to take now; ``error`` is shown."""
        if self.path is not None:
            self._tensors = self._remembered()
            if time.perf_counter() - self._saved > self.SAVE_SECONDS:
                self._save()
        self._tell(error)
        steps = min(self.burst, self.left)
        self.done += steps
        return steps

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bar.close()
        if kind is None and self.done > self._first:
            log.info("initial fit: %d steps in %.3g s", self.done, self._elapsed())
            # What took a while is kept until the run has a checkpoint with it.
            if self.path is not None and self._elapsed() > self.SAVE_SECONDS:
                self.done = self.steps
                self._tensors = self._remembered()
                self._save()
        elif kind is KeyboardInterrupt and self.done > self._first:
            self._save()

    def _elapsed(self) -> float:
        return time.perf_counter() - self._began

    def _tell(self, error: float | None) -> None:
        """How far the fit is, and how long it may take."""
        shown = "" if error is None else f"relative error {error:.2e}"
        self._bar.set_postfix_str(shown, refresh=False)
        self._bar.update(self.done - self._bar.n)
        taken = self.done - self._first
        if not self._bar.disable or not taken or time.perf_counter() - self._told < self.TELL_SECONDS:
            return
        self._told = time.perf_counter()
        left = self.left * (self._elapsed() - self.seconds) / taken
        parts = [f"step {self.done} of {self.steps}", *([shown] if shown else []), f"at most {left:.3g} s left"]
        log.info("initial fit: %s", ", ".join(parts))

    def _remembered(self) -> dict[str, Tensor]:
        """Copies of everything that decides the steps that are left."""
        tensors = {f"model.{name}": x for name, x in self.model.state_dict().items()}
        tensors |= {f"optimiser.{name}": x for name, x in self.descent.state_dict().items()}
        tensors |= {"generator": self.descent.generator.get_state(), "rng.cpu": torch.get_rng_state()}
        device = self.descent.generator.device
        if device.type == "cuda":
            tensors["rng.cuda"] = torch.cuda.get_rng_state(device)
        tensors["done"] = torch.tensor(self.done)
        return {name: x.detach().clone() for name, x in tensors.items()}

    def _save(self) -> None:
        if self.path is not None and distributed.rank() == 0:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            tensors = {name: x.cpu().contiguous() for name, x in self._tensors.items()}
            write_tensors(self.path, tensors, {"seconds": self._elapsed()})
        self._saved = time.perf_counter()

    def _restore(self, path: Path) -> None:
        def part(name: str) -> dict[str, Tensor]:
            return {key.removeprefix(name): x for key, x in tensors.items() if key.startswith(name)}

        try:
            record, tensors = read_tensors(path)
            self.model.load_state_dict(part("model."))
            self.descent.load_state_dict(part("optimiser."))
            self.descent.generator.set_state(tensors["generator"])
            torch.set_rng_state(tensors["rng.cpu"])
            if "rng.cuda" in tensors:
                torch.cuda.set_rng_state(tensors["rng.cuda"], self.descent.generator.device)
            self.done, self.seconds = int(tensors["done"]), float(record["seconds"])
        except (ValueError, KeyError, RuntimeError) as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            allowed = "must hold an initial fit of this model, or none: remove the file to fit anew"
            raise InvalidArgument("folder", allowed, f"{path}; {reason}") from error


def forget(path: Path | None) -> None:
    """Remove the file of a fit, and its folder if nothing else is in it."""
    if path is not None and path.exists():
        path.unlink()
        with suppress(OSError):
            path.parent.rmdir()
