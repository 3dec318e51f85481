"""Transport by a vector field that is fitted to the particles at every step: what SBTM and JKO share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, cast

import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from graphlandau import objectives
from graphlandau.base import distributed
from graphlandau.base.errors import InvalidArgument
from graphlandau.base.precision import place
from graphlandau.methods.method import Facts
from graphlandau.methods.options import Collisions, Step
from graphlandau.methods.transport import LandauTransport, model_field
from graphlandau.nn.field import TRIED, require_derivatives
from graphlandau.nn.score import ScoreModel, Solvable, as_score_model
from graphlandau.nn.score.base import MAX_COUPLED
from graphlandau.problems import Problem
from graphlandau.training.descent import Descent, subset
from graphlandau.training.initial_fit import InitialFit, forget
from graphlandau.training.options import FitOptions

__all__ = ["LearnedTransport"]

# A network with this many particles for each of its parameters cannot learn them by heart. With fewer, every
# HOLD_OUT-th particle is not trained on but a validation set; with more, its noise would only slow it down.
PARTICLES_PER_PARAMETER = 4
HOLD_OUT = 5
# Steps between two looks at the loss of the initial fit.
INITIAL_BURST = 50


class LearnedTransport(LandauTransport):
    r"""Particles that follow a model of their score, warm-started from step to step.

    A subclass says by which objective the model is trained (:meth:`objective_of`), what its loss on a validation set
    is, where particles are few (:meth:`validation_loss`), and when (in :meth:`score`). At the start a trained model is
    fitted to the known initial score until :math:`\sum|s - s^*|^2 / \sum|s^*|^2 \le` ``initial_tolerance``; where the
    initial density is not known, or has jumps, hence no pointwise score, it is trained on the particles until the loss
    of a held-out fifth stops falling.

    Args:
        score: Score model, or any ``nn.Module`` that maps :math:`(N, d) \to (N, d)`.
        fit: How it is fitted.
        step: Integrator, and what becomes of the log-density.
        collisions: How the drift is summed.
        seed: Seed of minibatches, probes and random batches.

    Raises:
        ValueError: If ``score`` is no module.
    """

    # What a run can do that has a score without derivatives, as it continues an error.
    without_derivatives: ClassVar[str] = ""
    optimiser: ClassVar[type[torch.optim.Optimizer]] = torch.optim.Adam

    def __init__(
        self,
        score: nn.Module,
        fit: FitOptions,
        step: Step = Step(),
        collisions: Collisions = Collisions(),
        seed: int = 0,
    ) -> None:
        super().__init__(step, collisions, seed)
        if not isinstance(score, nn.Module):
            raise InvalidArgument("score", "must be a torch.nn.Module", type(score).__name__)
        # Any module until prepare() gives it the calling convention of a score model.
        self.model = cast(ScoreModel, score)
        self.fit = fit
        self.descent: Descent | None = None
        self.t_start = 0.0
        self.kept: Path | None = None

    def foresee(self, t_end: float, workspace: Path | None) -> None:
        """Keep the initial fit in ``workspace`` until there is a checkpoint of the run."""
        self.kept = None if workspace is None else workspace / "initial_fit.safetensors"

    @abstractmethod
    def objective_of(self, state: Data) -> tuple[Data, Callable[[Data], Tensor]]:
        """The particles with what the objective needs of them, and the objective as a function of some of them."""

    @abstractmethod
    def validation_loss(self, validation: Data) -> Callable[[], Tensor]:
        """A loss of these particles, on which the model is not trained."""

    def facts(self, problem: Problem, particles: int) -> Facts:
        """Those of the drift, and the model."""
        return replace(super().facts(problem, particles), models={"score": type(self.model).__name__})

    def prepare(self, state: Data, problem: Problem) -> None:
        """Put the model where the particles are and build its optimiser; a stranger's module keeps its precision."""
        super().prepare(state, problem)
        self.t_start = problem.t_start
        self.model = as_score_model(self.model, problem.d).eval()
        place(self.model, state.v.device, state.v.dtype)
        trainable = any(p.requires_grad for p in self.model.parameters())
        if trainable and not isinstance(self.model, Solvable):
            size = self.minibatch_of(state.v.size(0))
            self.descent = Descent(self.model, self.fit.learning_rate, size, self.generator, self.optimiser)
        if not self.model.pointwise:
            self.require_affordable(state.v.size(0))
            self._require_enough(state.v.size(0))
        needed = self.derivatives_needed(state.v.size(0))
        if needed is not None:
            at = state.v[: max(TRIED, self.model.min_particles)]
            require_derivatives(
                self.model,
                (at,),
                "score",
                product=needed == "product",
                trained=self.descent is not None,
                hint=self.without_derivatives,
            )

    def minibatch_of(self, n: int) -> int | None:
        """Particles per gradient step on ``n`` of them, ``None`` for all."""
        return self.fit.minibatch

    def require_affordable(self, n: int) -> None:
        """A model that couples particles has exact derivatives of a few of them only.

        Raises:
            ValueError: If it is asked for those of more.
        """
        if n > MAX_COUPLED and self.carries_log_f:
            couples = f"for a score model that couples more than {MAX_COUPLED} particles"
            raise InvalidArgument("log_det", f"must be 'none' {couples}", repr(self.log_det))

    def _require_enough(self, n: int) -> None:
        """A graph of k neighbours needs more than k particles, in every minibatch."""
        learners = n - (n - 1) // HOLD_OUT - 1 if self.few(n) else n
        size = min(learners, self.minibatch_of(n) or n)
        if self.descent is not None and size < self.model.min_particles:
            needs = f"'minibatch' must leave at least {self.model.min_particles} particles, which the score model needs"
            raise ValueError(f"{needs} (got {size} of {n})")

    def derivatives_needed(self, n: int) -> str | None:
        """What ``n`` particles need of the model: the ``"jacobian"``, its ``"product"`` with a vector, or ``None``."""
        return "jacobian" if self.log_det != "none" or self.descent is not None else None

    def few(self, n: int) -> bool:
        """Whether a part of ``n`` particles is held out; two at least, for their loss may be that of a pair."""
        return (
            self.fit.hold_out
            and n > HOLD_OUT
            and n < PARTICLES_PER_PARAMETER * sum(p.numel() for p in self.model.parameters())
        )

    def initialise(self, state: Data, problem: Problem) -> Data:
        """Prepare, and fit a trained model to the initial score."""
        state = super().initialise(state, problem)
        self.model.condition(state.v, state.get("weight"))
        descent = self.descent
        if descent is None:
            return state
        fit = InitialFit(self.model, descent, self.fit.initial_steps, INITIAL_BURST, self.kept)
        if problem.initial.smooth:
            particles = particles_of(state)
            particles.target = problem.score(state.v).to(state.v.dtype)
            with fit:
                while fit.left:
                    error = distributed.agree(self._relative_error(particles))
                    if error <= self.fit.initial_tolerance:
                        break
                    descent.run(
                        particles,
                        fit.next_burst(error),
                        lambda x: objectives.explicit(self.model, x, x.target),
                        by_rows=self.model.pointwise,
                    )
        else:
            particles, loss = self.objective_of(state)
            learners, validation = self.held_out(particles)
            held = self.validation_loss(validation)
            with fit:
                bursts = fit.left // INITIAL_BURST
                descent.run_while_better(lambda: descent.run(learners, fit.next_burst(), loss), bursts, held)
        return state

    def checkpointed(self) -> None:
        """Remove the file of the initial fit: the checkpoint of the run holds what was learned."""
        forget(self.kept)

    def require_score_field(self) -> None:
        """Refuse a model that couples particles.

        Raises:
            ValueError: If the model is one.
        """
        super().require_score_field()
        if not getattr(self.model, "pointwise", True):
            raise InvalidArgument(
                "certificate",
                "needs a score model in which the velocity of a particle decides its score alone",
                f"{type(self.model).__name__}, which couples particles",
            )

    def score_field(self, state: Data) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
        """The model as it is now, in the precision of the particles."""
        return model_field(self.model, state.v.dtype)

    def follow_schedule(self, descent: Descent, t: float) -> None:
        """Take the learning rate of the schedule at ``t``."""
        if self.fit.schedule is not None:
            descent.scale_learning_rate(self.fit.schedule(t - self.t_start))

    def held_out(self, particles: Data) -> tuple[Data, Data]:
        """The particles to learn from, and every fifth, the validation set."""
        held = torch.zeros(particles.v.size(0), dtype=torch.bool, device=particles.v.device)
        held[::HOLD_OUT] = True
        if self.model.pointwise:
            return subset(particles, ~held), subset(particles, held)
        # The scores of the set depend on all particles: those outside it have weight 0.
        weight = particles.weight if "weight" in particles else torch.ones_like(particles.v[:, 0])
        return subset(particles, ~held), Data(v=particles.v, weight=weight * held)

    @torch.no_grad()
    def _relative_error(self, particles: Data) -> float:
        return float(objectives.explicit(self.model, particles, particles.target))

    def record(self) -> dict[str, float]:
        """Gradient steps taken so far, those of the initial fit included, beside what any transport counts."""
        return super().record() | ({} if self.descent is None else {"gradient_steps": self.descent.steps_taken})

    def state_dict(self) -> dict[str, Tensor]:
        """Model, optimiser and random generator."""
        tensors = super().state_dict()
        tensors |= {f"model.{name}": x for name, x in self.model.state_dict().items()}
        if self.descent is not None:
            tensors |= {f"optimiser.{name}": x for name, x in self.descent.state_dict().items()}
        return tensors

    def load_state_dict(self, tensors: dict[str, Tensor]) -> None:
        """Restore model, optimiser and random generator."""
        super().load_state_dict(tensors)
        self.model.load_state_dict(_below("model.", tensors))
        if self.descent is not None:
            self.descent.load_state_dict(_below("optimiser.", tensors))


def particles_of(state: Data) -> Data:
    """Velocities and weights of a state."""
    particles = Data(v=state.v)
    if "weight" in state:
        particles.weight = state.weight
    return particles


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): x for name, x in tensors.items() if name.startswith(prefix)}
