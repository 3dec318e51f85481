"""Training of a flow map and a score over all times at once: resumable, watched, stopped when it diverges."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor

from graphlandau.base import distributed
from graphlandau.base.errors import InvalidArgument, NonFinite
from graphlandau.base.progress import progress_bar
from graphlandau.base.tables import write_csv
from graphlandau.base.validation import (
    as_number,
    keep,
    require_bool,
    require_integer,
    require_number,
    require_one_of,
    require_positive,
    require_repeats,
)
from graphlandau.nn.conv import LandauDrift
from graphlandau.nn.flow import FlowMap
from graphlandau.nn.score.time_score import TimeScore
from graphlandau.objectives.global_in_time import collocate
from graphlandau.problems import Problem
from graphlandau.training.descent import load_optimiser_state, optimiser_state
from graphlandau.training.schedules import CosineDecay
from graphlandau.training.trained_flow import TrainedFlow, describe, load_weights, read_trained

__all__ = ["Recipe", "Training", "TrainingDivergedError"]

log = logging.getLogger(__name__)

LOSSES = ("physics", "score", "initial_score", "initial_condition")


class TrainingDivergedError(ArithmeticError):
    """A loss or a gradient became infinite or not a number; the last good weights are back in the networks."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    r"""How a flow map and a score are trained together.

    .. math::
        L = \langle |\rho|^2 \rangle + \lambda \langle |s|^2 + 2 \nabla \cdot s \rangle
        + \mu \bigl[ \langle |s(v_0, t_{\text{start}}) - \nabla \log f_0|^2 \rangle
        + \langle |\Phi(v_0, t_{\text{start}}) - v_0|^2 \rangle \bigr]

    The terms in brackets are ours: the paper does not say how the initial data are imposed. The first is there where
    the initial density has a pointwise score, the second unless the flow map has its initial condition built in.

    Args:
        iterations: Gradient steps; particles and times are drawn anew for each.
        training_particles: Particles :math:`n` per step.
        collocation_times: Times per step, one uniform in each of as many equal parts of the interval.
        learning_rate: Of Adam.
        decay: ``"cosine"`` to zero over the iterations, or ``"none"``.
        score_weight: :math:`\lambda`.
        initial_weight: :math:`\mu`, 0 for none.
        divergence: ``"exact"`` or ``"hutchinson"``.
        drift_is_target: Whether the drift is a constant to the derivatives of the residual, see
            :func:`~graphlandau.objectives.collocate`, also for the next.
        score_moves_flow: Whether the loss of the score is differentiated through the flow.
        save_every: Steps between two checkpoints of the training, and between two rows of its losses.

    Raises:
        ValueError: If a number is out of range or a choice unknown.

    Reference: arXiv:2603.10874, Eq. (2.12), Algorithm 1 and Appendix B (1,000 particles, Adam, 1e-4).
    """

    iterations: int = 5000
    training_particles: int = 1000
    collocation_times: int = 4
    learning_rate: float = 1e-3
    decay: str = "cosine"
    score_weight: float = 1.0
    initial_weight: float = 1.0
    divergence: str = "exact"
    drift_is_target: bool = True
    score_moves_flow: bool = False
    save_every: int = 200

    def __post_init__(self) -> None:
        for name, minimum in (
            ("training_particles", 2),
            ("collocation_times", 1),
            ("save_every", 1),
        ):
            keep(self, **{name: require_integer(name, getattr(self, name), minimum=minimum)})
        keep(self, iterations=require_repeats("iterations", self.iterations, minimum=1))
        keep(self, learning_rate=require_positive("learning_rate", self.learning_rate))
        require_one_of("decay", self.decay, ("cosine", "none"))
        keep(self, score_weight=require_positive("score_weight", self.score_weight))
        keep(self, initial_weight=require_number("initial_weight", self.initial_weight))
        if self.initial_weight < 0:
            raise InvalidArgument("initial_weight", "must not be negative", f"{self.initial_weight:g}")
        require_one_of("divergence", self.divergence, ("exact", "hutchinson"))
        for name in ("drift_is_target", "score_moves_flow"):
            keep(self, **{name: require_bool(name, getattr(self, name))})

    def rate(self, iteration: int) -> float:
        """Learning rate of a step."""
        if self.decay == "none":
            return self.learning_rate
        return self.learning_rate * CosineDecay(self.iterations)(iteration)


class Training:
    """Trains ``flow`` and ``score`` for ``problem`` by ``recipe``.

    With a ``folder``, ``latest.safetensors`` there is replaced every ``save_every`` steps and ``losses.csv`` beside it
    has a row for each; a training that finds the file goes on from it, to the same weights.

    Args:
        flow: Flow map; its times are those of the training.
        score: Score at the same times.
        drift: Collision drift.
        problem: What the initial particles and their score come from.
        recipe: Everything else.
        seed: Seed of the particles, times and probes.
        folder: Where checkpoints go; ``None`` keeps them in memory.

    Raises:
        ValueError: If the folder holds the training of another recipe, problem or network.
    """

    def __init__(
        self,
        flow: FlowMap,
        score: TimeScore,
        drift: LandauDrift,
        problem: Problem,
        recipe: Recipe,
        *,
        seed: int = 0,
        folder: Path | None = None,
    ) -> None:
        self.flow, self.score, self.drift, self.problem, self.recipe = flow, score, drift, problem, recipe
        self.path = None if folder is None else folder / "latest.safetensors"
        self.parameters = [p for module in (flow, score) for p in module.parameters() if p.requires_grad]
        if not self.parameters:
            raise InvalidArgument(
                "score", "and 'flow' must have something to train", "no parameter that requires a gradient"
            )
        self.like = flow.like
        self.generator = torch.Generator(device=self.like.device).manual_seed(as_number(seed))
        self.optimiser = torch.optim.Adam(self.parameters, lr=recipe.learning_rate)
        self.iteration, self.seconds = 0, 0.0
        self.rows: list[dict[str, Any]] = []
        self._good: list[Tensor] = []
        if self.path is not None and distributed.agree(self.path.exists()):
            self._restore(self.path)

    def run(self) -> TrainedFlow:
        """Train to the last iteration; return the pair.

        Raises:
            TrainingDivergedError: If a loss or gradient is not finite.
        """
        recipe, sums = self.recipe, torch.zeros(4, dtype=torch.float64)
        if self.iteration:
            log.info("training continues from iteration %d of %d", self.iteration, recipe.iterations)
        clock, before, since = time.perf_counter(), self.seconds, 0
        self._keep()
        with progress_bar(recipe.iterations, self.iteration) as bar:
            while self.iteration < recipe.iterations:
                sums += self._step()
                since += 1
                self.iteration += 1
                bar.update()
                self.seconds = before + time.perf_counter() - clock
                if self.iteration % recipe.save_every == 0 or self.iteration == recipe.iterations:
                    self._record(sums / since)
                    sums, since = torch.zeros_like(sums), 0
        return self.trained()

    def trained(self) -> TrainedFlow:
        """The pair as it is now, with how it came to be."""
        about = asdict(self.recipe) | {"iteration": self.iteration, "seconds": self.seconds}
        return TrainedFlow.of(self.flow, self.score, self.problem, about)

    def _step(self) -> Tensor:
        """One gradient step; returns the losses."""
        for group in self.optimiser.param_groups:
            group["lr"] = self.recipe.rate(self.iteration)
        losses = self._gradient()
        self.optimiser.step()
        return losses

    def _gradient(self) -> Tensor:
        """Losses and their gradient at new particles, both finite."""
        try:
            losses = self._losses()
        except NonFinite:  # a layer met what the networks made
            self._give_up(torch.full((4,), math.nan))
        squares = [p.grad.square().sum() for p in self.parameters if p.grad is not None]
        if not bool(torch.isfinite(losses).all()) or not bool(torch.isfinite(torch.stack(squares).sum())):
            self._give_up(losses)
        return losses

    def _losses(self) -> Tensor:
        """Physics, score, initial score, initial condition, and the gradient of their sum in the networks."""
        recipe = self.recipe
        drawn = self.problem.sample(recipe.training_particles, generator=self.generator)
        v0 = drawn.to(self.like)
        t = self._times()
        with torch.enable_grad():
            particles = collocate(
                self.flow,
                self.score,
                self.drift,
                v0,
                t,
                divergence=recipe.divergence,
                drift_is_target=recipe.drift_is_target,
                score_moves_flow=recipe.score_moves_flow,
                generator=self.generator,
            )
            terms = [particles.physics, particles.implicit, *self._initial_terms(drawn, v0)]
            loss = terms[0] + recipe.score_weight * terms[1] + recipe.initial_weight * (terms[2] + terms[3])
            self.optimiser.zero_grad()
            loss.backward()
        return torch.stack([term.detach() for term in terms]).double().cpu()

    def _times(self) -> Tensor:
        count = self.recipe.collocation_times
        part = torch.rand(count, generator=self.generator, device=self.generator.device, dtype=torch.float64)
        part = (torch.arange(count, device=part.device) + part) / count
        return (self.flow.t_start + (self.flow.t_end - self.flow.t_start) * part).to(self.like)

    def _initial_terms(self, drawn: Tensor, v0: Tensor) -> tuple[Tensor, Tensor]:
        nothing, start = self.like.new_zeros(()), self.like.new_tensor(self.flow.t_start)
        if self.recipe.initial_weight == 0:
            return nothing, nothing
        score = condition = nothing
        if self.problem.initial.smooth:
            target = self.problem.score(drawn).to(self.like)
            score = (self.score(v0, start) - target).square().sum(-1).mean()
        if self.flow.initial == "penalty":
            condition = (self.flow(v0, start) - v0).square().sum(-1).mean()
        return score, condition

    def _give_up(self, losses: Tensor) -> NoReturn:
        """Put the last good weights back and say where they are."""
        with torch.no_grad():
            for parameter, weight in zip(self.parameters, self._good, strict=True):
                parameter.copy_(weight)
        good = 0 if not self.rows else self.rows[-1]["iteration"]
        kept = f", kept in {self.path}" if self.path is not None and self.path.exists() else ""
        bad = [name for name, x in zip(LOSSES, losses, strict=True) if not math.isfinite(x)] or ["gradient"]
        raise TrainingDivergedError(
            f"training diverged at iteration {self.iteration} of {self.recipe.iterations} ({' and '.join(bad)} not "
            f"finite); the last good weights are those of iteration {good}{kept}; a lower learning_rate may help"
        )

    def _keep(self) -> None:
        self._good = [p.detach().clone() for p in self.parameters]

    def _record(self, losses: Tensor) -> None:
        """A row of mean losses since the last one, and a checkpoint."""
        # Only weights that have losses and a gradient are good; the particles of this look are those of the next step.
        before = self.generator.get_state()
        self._gradient()
        self.generator.set_state(before)
        self.rows.append(
            {
                "iteration": self.iteration,
                "seconds": round(self.seconds, 3),
                **dict(zip(LOSSES, losses.tolist(), strict=True)),
                "learning_rate": self.recipe.rate(self.iteration - 1),
            }
        )
        self._keep()
        log.info(
            "training: iteration %d of %d, physics %.2e, score %.4f, %.0f s",
            self.iteration,
            self.recipe.iterations,
            losses[0],
            losses[1],
            self.seconds,
        )
        if self.path is not None and distributed.rank() == 0:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            trained = self.trained()
            trained.training["rows"] = self.rows
            write_csv(self.path.with_name("losses.csv"), self.rows)
            moments = {f"optimiser.{name}": x for name, x in optimiser_state(self.optimiser).items()}
            trained.save(self.path, moments | {"generator": self.generator.get_state()})

    def _restore(self, path: Path) -> None:
        try:
            record, tensors = read_trained(path)
        except ValueError as error:
            raise ValueError(f"{path} is no readable checkpoint of a training: remove it to train anew") from error
        training: Mapping[str, Any] = record["training"]
        wanted = asdict(self.recipe) | describe(self.problem) | {"t_end": self.flow.t_end}
        wanted |= {"initial": self.flow.initial, "base": self.score.base}
        before = {**training, **record["problem"], "t_end": record["t_end"]}
        before |= {"initial": record["flow"]["initial"], "base": record["score"]["base"]}
        for key, value in wanted.items():
            if before.get(key) != value:
                raise InvalidArgument(key, f"must be {before.get(key)!r}, as in {path}, which continues", repr(value))
        for name, module in (("flow", self.flow), ("score", self.score)):
            load_weights(path, name, module, tensors)
        moments = {key.removeprefix("optimiser."): x for key, x in tensors.items() if key.startswith("optimiser.")}
        load_optimiser_state(self.optimiser, moments)
        self.generator.set_state(tensors["generator"])
        self.iteration, self.seconds = training["iteration"], training["seconds"]
        self.rows = list(training["rows"])
