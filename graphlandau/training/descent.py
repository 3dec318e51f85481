"""Gradient descent on random minibatches of particles: counted, validated where asked, resumable."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from graphlandau.base import distributed
from graphlandau.base.errors import Diverged, InvalidArgument

__all__ = ["Descent", "load_optimiser_state", "optimiser_state", "subset"]


class Descent:
    r"""Gradient steps on random minibatches of a state's particles.

    Args:
        model: What is trained; in training mode during a step, in evaluation mode otherwise.
        learning_rate: Of the optimiser.
        minibatch: Particles per step, drawn without replacement; ``None`` takes all.
        generator: Where minibatches are drawn from, on the device of the particles.
        optimiser: Adam, or another optimiser of torch that takes parameters and ``lr``.
    """

    def __init__(
        self,
        model: nn.Module,
        learning_rate: float,
        minibatch: int | None,
        generator: torch.Generator,
        optimiser: type[torch.optim.Optimizer] = torch.optim.Adam,
    ) -> None:
        self.model, self.minibatch, self.generator = model, minibatch, generator
        self.learning_rate = learning_rate
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.optimiser = optimiser(self.parameters, lr=learning_rate)  # pyright: ignore[reportCallIssue]
        self.steps_taken = 0

    def scale_learning_rate(self, factor: float) -> None:
        """Take ``factor`` times the learning rate from now on.

        Raises:
            ValueError: If ``factor`` is negative or not finite.
        """
        if not 0 <= factor < float("inf"):
            raise InvalidArgument("schedule", "must return finite factors of at least 0", factor)
        for group in self.optimiser.param_groups:
            group["lr"] = factor * self.learning_rate

    def run(self, state: Data, steps: int, loss: Callable[[Data], Tensor], by_rows: bool = False) -> None:
        """Take ``steps`` steps on ``loss`` of minibatches of ``state``; every tensor of it is cut alike.

        Args:
            state: The particles.
            steps: Number of steps.
            loss: What is lowered.
            by_rows: Whether the loss is made of means over rows that do not know each other, see
                :func:`graphlandau.base.distributed.in_shards`: several processes then take a shard of each minibatch.
        """
        n = state.v.size(0)
        size = n if self.minibatch is None else min(self.minibatch, n)
        for _ in range(steps):
            self._step(state, self._shuffle(state)[:size], loss, by_rows)

    def run_epochs(self, state: Data, epochs: int, loss: Callable[[Data], Tensor]) -> None:
        """Shuffle the particles ``epochs`` times into minibatches; take a step on the ``loss`` of each in turn.

        N particles make N // minibatch minibatches whose sizes differ by at most one: none is left out.

        Reference: Huang and Wang, arXiv:2409.12296, Algorithm 2.
        """
        n = state.v.size(0)
        count = 1 if self.minibatch is None else max(1, n // self.minibatch)
        for _ in range(epochs):
            for index in self._shuffle(state).tensor_split(count):
                self._step(state, index, loss)

    def _shuffle(self, state: Data) -> Tensor:
        return torch.randperm(state.v.size(0), generator=self.generator, device=state.v.device)

    def _step(self, state: Data, index: Tensor, loss: Callable[[Data], Tensor], by_rows: bool = False) -> None:
        self.model.train()
        with torch.enable_grad():
            self.optimiser.zero_grad()
            if by_rows and distributed.is_sharded(index.numel()):
                with distributed.in_shards(index.numel()) as own:
                    loss(subset(state, index[own])).backward()
                distributed.sum_gradients(self.parameters)
            else:
                loss(subset(state, index)).backward()
            self.optimiser.step()
        self.model.eval()
        self.steps_taken += 1

    def run_while_better(self, burst: Callable[[], None], bursts: int, validation: Callable[[], Tensor]) -> None:
        """Call ``burst``, which takes some steps, at most ``bursts`` times, as long as each lowers ``validation``.

        The weights of the one that does not are taken back; the optimiser's moments are kept.

        Raises:
            Diverged: If training makes it infinite or not a number.
        """
        best = self._validated(validation)
        for _ in range(bursts):
            weights = [p.detach().clone() for p in self.parameters]
            burst()
            value = self._validated(validation)
            if not math.isfinite(value):
                raise Diverged(f"training the score made its loss {value}; a lower learning_rate may help")
            if not value < best:
                with torch.no_grad():
                    for parameter, weight in zip(self.parameters, weights, strict=True):
                        parameter.copy_(weight)
                return
            best = value

    @torch.no_grad()
    def _validated(self, loss: Callable[[], Tensor]) -> float:
        # The same probes before and after, and none used up: only the model differs.
        random_state = self.generator.get_state()
        value = float(loss())
        self.generator.set_state(random_state)
        # It decides what is trained next: on unlike machines ranks might part over a last bit.
        return distributed.agree(value)

    def state_dict(self) -> dict[str, Tensor]:
        """The optimiser's moments and the number of steps taken."""
        return {"steps": torch.tensor(self.steps_taken)} | optimiser_state(self.optimiser)

    def load_state_dict(self, tensors: dict[str, Tensor]) -> None:
        """Restore them."""
        self.steps_taken = int(tensors["steps"])
        load_optimiser_state(self.optimiser, tensors)


def optimiser_state(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """What an optimiser remembers of each parameter, by ``<number of the parameter>.<name>``."""
    slots = optimiser.state_dict()["state"]
    return {f"{index}.{name}": x for index, values in slots.items() for name, x in values.items()}


def load_optimiser_state(optimiser: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Restore what :func:`optimiser_state` gave; tensors of other names are passed over."""
    state: dict[int, dict[str, Any]] = {}
    for key, x in tensors.items():
        index, dot, name = key.partition(".")
        if dot:
            state.setdefault(int(index), {})[name] = x
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})


def subset(state: Data, index: Tensor) -> Data:
    """The particles ``index`` (numbers or a mask) of a state, with all their tensors."""
    return Data(**{key: x[index] for key, x in state.to_dict().items() if isinstance(x, Tensor)})
