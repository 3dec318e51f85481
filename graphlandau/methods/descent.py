"""Gradient descent on random minibatches of particles: counted, judged where asked, resumable."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.data import Data

__all__ = ["Descent", "subset"]


class Descent:
    r"""Adam steps on random minibatches of a state's particles.

    Args:
        model: What is trained; in training mode during a step, in evaluation mode otherwise.
        learning_rate: Of Adam.
        minibatch: Particles per step, drawn without replacement; ``None`` takes all.
        generator: Where minibatches are drawn from, on the device of the particles.
    """

    def __init__(
        self, model: nn.Module, learning_rate: float, minibatch: int | None, generator: torch.Generator
    ) -> None:
        self.model, self.minibatch, self.generator = model, minibatch, generator
        self.learning_rate = learning_rate
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.optimiser = torch.optim.Adam(self.parameters, lr=learning_rate)
        self.steps_taken = 0

    def scale_learning_rate(self, factor: float) -> None:
        """Take ``factor`` times the learning rate from now on.

        Raises:
            ValueError: If ``factor`` is negative or not finite.
        """
        if not 0 <= factor < float("inf"):
            raise ValueError(f"'schedule' must return finite factors of at least 0 (got {factor})")
        for group in self.optimiser.param_groups:
            group["lr"] = factor * self.learning_rate

    def run(self, state: Data, steps: int, loss: Callable[[Data], Tensor]) -> None:
        """Take ``steps`` steps on ``loss`` of minibatches of ``state``; every tensor of it is cut alike."""
        n = state.v.size(0)
        size = n if self.minibatch is None else min(self.minibatch, n)
        for _ in range(steps):
            self.model.train()
            batch = subset(state, torch.randperm(n, generator=self.generator, device=state.v.device)[:size])
            with torch.enable_grad():
                self.optimiser.zero_grad()
                loss(batch).backward()
                self.optimiser.step()
            self.model.eval()
            self.steps_taken += 1

    def run_while_better(
        self,
        state: Data,
        steps: int,
        bursts: int,
        loss: Callable[[Data], Tensor],
        judge: Callable[[], Tensor],
    ) -> None:
        """Take bursts of ``steps`` steps for as long as each lowers ``judge``.

        The weights of the one that does not are taken back; Adam's moments are kept.

        Raises:
            ArithmeticError: If training makes ``judge`` infinite or not a number.
        """
        best = self._judge(judge)
        for _ in range(bursts):
            weights = [p.detach().clone() for p in self.parameters]
            self.run(state, steps, loss)
            value = self._judge(judge)
            if not math.isfinite(value):
                raise ArithmeticError(f"training the score made its loss {value}; a lower learning_rate may help")
            if not value < best:
                with torch.no_grad():
                    for parameter, weight in zip(self.parameters, weights, strict=True):
                        parameter.copy_(weight)
                return
            best = value

    @torch.no_grad()
    def _judge(self, judge: Callable[[], Tensor]) -> float:
        # The same probes before and after, and none used up: only the model differs.
        random_state = self.generator.get_state()
        value = float(judge())
        self.generator.set_state(random_state)
        return value

    def state_dict(self) -> dict[str, Tensor]:
        """Adam's moments and the number of steps taken."""
        tensors = {"steps": torch.tensor(self.steps_taken)}
        for index, slots in self.optimiser.state_dict()["state"].items():
            tensors |= {f"{index}.{name}": x for name, x in slots.items()}
        return tensors

    def load_state_dict(self, tensors: dict[str, Tensor]) -> None:
        """Restore them."""
        state: dict[int, dict[str, Any]] = {}
        for key, x in tensors.items():
            index, dot, name = key.partition(".")
            if dot:
                state.setdefault(int(index), {})[name] = x
        self.steps_taken = int(tensors["steps"])
        groups = self.optimiser.state_dict()["param_groups"]
        self.optimiser.load_state_dict({"state": state, "param_groups": groups})


def subset(state: Data, index: Tensor) -> Data:
    """The particles ``index`` (numbers or a mask) of a state, with all their tensors."""
    return Data(**{key: x[index] for key, x in state.to_dict().items() if isinstance(x, Tensor)})
