"""Score-based transport: the score is learned along the way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from graphlandau import objectives
from graphlandau.methods.transport import LandauTransport
from graphlandau.nn.score import ScoreModel, Solvable, as_score_model
from graphlandau.problems import Problem
from graphlandau.validation import require_integer, require_one_of, require_positive

__all__ = ["SBTM"]

# A network with this many particles for each of its parameters cannot learn them by heart. With fewer, every
# HOLD_OUT-th particle is not trained on but judges the training; with more, its noise would only slow it down.
PARTICLES_PER_PARAMETER = 4
HOLD_OUT = 5


class SBTM(LandauTransport):
    r"""Score-based transport modelling: a score model follows the particles, the particles follow its score.

    At every time step the model is fitted to the particles by score matching, warm-started from the step before.
    Models with a method ``solve`` (closed form) are minimised exactly; all others take ``steps`` Adam
    steps on ``objective``. With fewer than four particles per parameter these use four fifths of the particles and
    are taken back if the loss of the last fifth does not fall: a few particles must not be learned by heart. At the
    start a trained model is fitted to the known initial score until
    :math:`\sum|s - s^*|^2 / \sum|s^*|^2 \le` ``initial_tolerance``.

    Args:
        score: Score model, or any ``nn.Module`` that maps :math:`(N, d) \to (N, d)`.
        objective: ``"implicit"`` (exact divergence), ``"hutchinson"``, or ``"denoising"``.
        steps: Gradient steps per time step.
        learning_rate: Of Adam.
        minibatch: Particles per gradient step, drawn without replacement; ``None`` takes all.
        alpha: Noise of ``"denoising"``, in units of the smallest standard deviation of the particles.
        probes: Noise of ``"hutchinson"``, ``"rademacher"`` or ``"gaussian"``.
        initial_tolerance: Relative squared error at which the initial fit stops.
        initial_steps: Cap on the gradient steps of the initial fit.
        integrator: ``"euler"``, or ``"midpoint"`` (exact energy).
        batch_size: Particles per random batch in which drifts are summed; ``None`` sums over all.
        log_det: ``"exact"``, ``"linear"`` or ``"none"``, see :class:`~graphlandau.methods.LandauTransport`.
        backend: Backend of the drift.
        seed: Seed of minibatches, probes and random batches.

    Raises:
        ValueError: If an argument is out of range, or a model that couples particles meets ``"implicit"`` or a
            log-density, which need derivatives of one particle's score in its own velocity alone.

    Reference: Ilin, Hu and Wang 2025, algorithm of Section 3.1 with objectives (3.4) and (3.5).
    """

    def __init__(
        self,
        score: nn.Module,
        *,
        objective: str = "implicit",
        steps: int = 10,
        learning_rate: float = 5e-4,
        minibatch: int | None = 2048,
        alpha: float = 0.4,
        probes: str = "rademacher",
        initial_tolerance: float = 1e-4,
        initial_steps: int = 5000,
        integrator: str = "euler",
        batch_size: int | None = None,
        log_det: str = "exact",
        backend: str = "auto",
        seed: int = 0,
    ) -> None:
        super().__init__(integrator=integrator, batch_size=batch_size, log_det=log_det, backend=backend, seed=seed)
        if not isinstance(score, nn.Module):
            raise ValueError(f"'score' must be a torch.nn.Module (got {type(score).__name__})")
        # Any module until prepare() gives it the calling convention of a score model.
        self.model = cast(ScoreModel, score)
        self.objective = require_one_of("objective", objective, ("implicit", "hutchinson", "denoising"))
        self.steps = require_integer("steps", steps, minimum=1)
        self.learning_rate = require_positive("learning_rate", learning_rate)
        self.minibatch = None if minibatch is None else require_integer("minibatch", minibatch, minimum=2)
        self.alpha = require_positive("alpha", alpha)
        self.probes = require_one_of("probes", probes, ("rademacher", "gaussian"))
        self.initial_tolerance = require_positive("initial_tolerance", initial_tolerance)
        self.initial_steps = require_integer("initial_steps", initial_steps, minimum=0)
        self.optimiser: torch.optim.Optimizer | None = None

    @property
    def trains(self) -> bool:
        """Whether the model takes gradient steps, rather than being solved or having no parameters."""
        return self.optimiser is not None

    def prepare(self, state: Data, problem: Problem) -> None:
        """Put the model on the particles' device and dtype and build its optimiser."""
        super().prepare(state, problem)
        self.model = as_score_model(self.model, problem.d).to(state.v.device, state.v.dtype).eval()
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        if parameters and not isinstance(self.model, Solvable):
            self.optimiser = torch.optim.Adam(parameters, lr=self.learning_rate)
        if not self.model.pointwise:
            if self.log_det != "none":
                raise ValueError(
                    f"'log_det' must be 'none' for a score model that couples particles (got {self.log_det!r})"
                )
            if self.trains and self.objective == "implicit":
                raise ValueError(
                    "'objective' must be 'hutchinson' or 'denoising' for a score model that couples particles "
                    "(got 'implicit')"
                )

    def initialise(self, state: Data, problem: Problem) -> Data:
        """Prepare, and fit a trained model to the initial score."""
        state = super().initialise(state, problem)
        self.model.condition(state.v, state.get("weight"))
        if self.trains:
            target = problem.score(state.v).to(state.v.dtype)
            self._descend(
                state,
                self.initial_steps,
                lambda batch, index: objectives.explicit(self.model, batch, target[index]),
                stop=lambda: self._relative_error(state, target) <= self.initial_tolerance,
            )
        return state

    def score(self, state: Data) -> tuple[Tensor, Tensor | None]:
        """Fit the model to the particles, then evaluate it."""
        model, weight = self.model, state.get("weight")
        if isinstance(model, Solvable):
            model.solve(state.v, weight)
        else:
            model.condition(state.v, weight)
            if self.trains:
                self._train(state)
        if self.log_det == "none":
            return model(state.v), None
        return model.value_and_jacobian(state.v)

    def _train(self, state: Data) -> None:
        """Take gradient steps; if particles are few, on four fifths of them, and only if the last fifth agrees."""
        loss = self._loss(state.v)
        parameters = sum(p.numel() for p in self.model.parameters())
        if state.v.size(0) >= PARTICLES_PER_PARAMETER * parameters:
            self._descend(state, self.steps, lambda batch, index: loss(self.model, batch))
            return
        held_out = torch.zeros(state.v.size(0), dtype=torch.bool, device=state.v.device)
        held_out[::HOLD_OUT] = True
        judges = _subset(state, held_out)

        @torch.no_grad()
        def judge() -> float:
            # The same probes before and after: only the model differs.
            random_state = self.generator.get_state()
            value = float(loss(self.model, judges))
            self.generator.set_state(random_state)
            return value

        before, weights = judge(), [p.detach().clone() for p in self.model.parameters()]
        self._descend(_subset(state, ~held_out), self.steps, lambda batch, index: loss(self.model, batch))
        if not judge() < before:
            with torch.no_grad():
                for parameter, weight in zip(self.model.parameters(), weights, strict=True):
                    parameter.copy_(weight)
        self.model.judge(judges.v, judges.get("weight"))

    def _loss(self, v: Tensor) -> Callable[[ScoreModel, Data], Tensor]:
        if self.objective == "implicit":
            return objectives.implicit
        if self.objective == "hutchinson":
            return lambda model, batch: objectives.hutchinson(model, batch, self.probes, generator=self.generator)
        deviation = torch.linalg.eigvalsh(torch.cov(v.double().T)).clamp_min(0).sqrt()
        alpha = self.alpha * float(deviation[0])
        return lambda model, batch: objectives.denoising(model, batch, alpha, generator=self.generator)

    def _descend(
        self,
        state: Data,
        steps: int,
        loss: Callable[[Data, Tensor], Tensor],
        stop: Callable[[], bool] = lambda: False,
        check_every: int = 50,
    ) -> None:
        """Take Adam steps on ``loss`` of random minibatches."""
        assert self.optimiser is not None
        n = state.v.size(0)
        size = n if self.minibatch is None else min(self.minibatch, n)
        for step in range(steps):
            if step % check_every == 0 and stop():
                return
            self.model.train()
            index = torch.randperm(n, generator=self.generator, device=state.v.device)[:size]
            batch = _subset(state, index)
            with torch.enable_grad():
                self.optimiser.zero_grad()
                loss(batch, index).backward()
                self.optimiser.step()
            self.model.eval()

    @torch.no_grad()
    def _relative_error(self, state: Data, target: Tensor) -> float:
        return float(objectives.explicit(self.model, state, target))

    def state_dict(self) -> dict[str, Tensor]:
        """Model, optimiser and random generator."""
        tensors = super().state_dict()
        tensors |= {f"model.{name}": x for name, x in self.model.state_dict().items()}
        if self.optimiser is not None:
            for index, slots in self.optimiser.state_dict()["state"].items():
                tensors |= {f"optimiser.{index}.{name}": x for name, x in slots.items()}
        return tensors

    def load_state_dict(self, tensors: dict[str, Tensor]) -> None:
        """Restore model, optimiser and random generator."""
        super().load_state_dict(tensors)
        self.model.load_state_dict(_below("model.", tensors))
        if self.optimiser is not None:
            state: dict[int, dict[str, Any]] = {}
            for key, x in _below("optimiser.", tensors).items():
                index, name = key.split(".")
                state.setdefault(int(index), {})[name] = x
            groups = self.optimiser.state_dict()["param_groups"]
            self.optimiser.load_state_dict({"state": state, "param_groups": groups})


def _subset(state: Data, index: Tensor) -> Data:
    subset = Data(v=state.v[index])
    if "weight" in state:
        subset.weight = state.weight[index]
    return subset


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): x for name, x in tensors.items() if name.startswith(prefix)}
