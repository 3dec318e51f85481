"""Score-based transport: the score is learned along the way."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from graphlandau import objectives
from graphlandau.diagnostics import covariance
from graphlandau.methods.descent import Descent, subset
from graphlandau.methods.transport import LandauTransport
from graphlandau.nn.score import ScoreModel, Solvable, as_score_model
from graphlandau.nn.score.base import MOST_COUPLED
from graphlandau.problems import Problem
from graphlandau.schedules import Schedule
from graphlandau.validation import require_integer, require_one_of, require_positive

__all__ = ["SBTM"]

# A network with this many particles for each of its parameters cannot learn them by heart. With fewer, every
# HOLD_OUT-th particle is not trained on but judges the training; with more, its noise would only slow it down.
PARTICLES_PER_PARAMETER = 4
HOLD_OUT = 5
# Steps between two looks at the loss of the initial fit.
INITIAL_BURST = 50
OBJECTIVES = ("implicit", "hutchinson", "denoising", "collision_weighted")


class SBTM(LandauTransport):
    r"""Score-based transport modelling: a score model follows the particles, the particles follow its score.

    At every time step the model is fitted to the particles by score matching, warm-started from the step before.
    Models with a method ``solve`` (closed form) are minimised exactly; all others take Adam steps on ``objective``:
    ``steps`` of them, or, with ``training="adaptive"``, bursts of ``steps`` for as long as each lowers the exact
    implicit loss; the one that does not is taken back. With fewer than four particles per parameter the steps use four
    fifths of the particles and the last fifth judges them in either case: a few particles must not be learned by heart
    (``hold_out=False`` trains on all of them unjudged, as the paper does). At the
    start a trained model is fitted to the known initial score until
    :math:`\sum|s - s^*|^2 / \sum|s^*|^2 \le` ``initial_tolerance``; where the initial density has jumps, hence no
    pointwise score, it is fitted to the particles until the implicit loss of a held-out fifth stops falling.

    Args:
        score: Score model, or any ``nn.Module`` that maps :math:`(N, d) \to (N, d)`.
        objective: ``"implicit"`` (exact divergence), ``"hutchinson"``, ``"denoising"``, or ``"collision_weighted"``:
            its diffusion matrix is summed over all pairs at every time step, :math:`O(N^2)` unless ``gamma`` is 0.
        training: ``"fixed"`` or ``"adaptive"``.
        steps: Gradient steps per time step; per burst if adaptive.
        max_steps: Cap on the gradient steps per time step if adaptive.
        hold_out: Whether, where particles are few, a fifth of them judges the training.
        learning_rate: Of Adam.
        schedule: Factor on the learning rate by the time since the start, see :mod:`graphlandau.schedules`.
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
        ValueError: If an argument is out of range, or a model that couples more than 512 particles meets an objective
            or a log-density that needs the exact derivatives of each particle's score in its own velocity.

    Reference: Ilin, Hu and Wang 2025, algorithm of Section 3.1 with objectives (3.3), (3.4) and (3.5), and the adaptive
    rule of Section 5.1.
    """

    def __init__(
        self,
        score: nn.Module,
        *,
        objective: str = "implicit",
        training: str = "fixed",
        steps: int = 10,
        max_steps: int = 500,
        hold_out: bool = True,
        learning_rate: float = 5e-4,
        schedule: Schedule | None = None,
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
        self.objective = require_one_of("objective", objective, OBJECTIVES)
        self.training = require_one_of("training", training, ("fixed", "adaptive"))
        self.steps = require_integer("steps", steps, minimum=1)
        self.max_steps = require_integer("max_steps", max_steps, minimum=1)
        if training == "adaptive" and self.max_steps < self.steps:
            raise ValueError(f"'max_steps' must be at least steps = {self.steps} (got {self.max_steps})")
        if not isinstance(hold_out, bool):
            raise ValueError(f"'hold_out' must be true or false (got {hold_out!r})")
        self.hold_out = hold_out
        self.learning_rate = require_positive("learning_rate", learning_rate)
        if not (schedule is None or isinstance(schedule, Schedule)):
            raise ValueError(f"'schedule' must be a graphlandau.schedules.Schedule (got {schedule!r})")
        self.schedule = schedule
        self.minibatch = None if minibatch is None else require_integer("minibatch", minibatch, minimum=2)
        self.alpha = require_positive("alpha", alpha)
        self.probes = require_one_of("probes", probes, ("rademacher", "gaussian"))
        self.initial_tolerance = require_positive("initial_tolerance", initial_tolerance)
        self.initial_steps = require_integer("initial_steps", initial_steps, minimum=0)
        self.descent: Descent | None = None
        self.t_start = 0.0

    def prepare(self, state: Data, problem: Problem) -> None:
        """Put the model on the particles' device and dtype and build its optimiser."""
        super().prepare(state, problem)
        self.t_start = problem.t_start
        self.model = as_score_model(self.model, problem.d).to(state.v.device, state.v.dtype).eval()
        trainable = any(p.requires_grad for p in self.model.parameters())
        if trainable and not isinstance(self.model, Solvable):
            self.descent = Descent(self.model, self.learning_rate, self.minibatch, self.generator)
        if not self.model.pointwise:
            self._require_affordable(state.v.size(0))
            self._require_enough(state.v.size(0))

    def _require_affordable(self, n: int) -> None:
        """A model that couples particles has exact derivatives of a few of them only."""
        couples = f"for a score model that couples more than {MOST_COUPLED} particles"
        if n > MOST_COUPLED and self.log_det != "none":
            raise ValueError(f"'log_det' must be 'none' {couples} (got {self.log_det!r})")
        most = n if self.minibatch is None else min(n, self.minibatch)
        if self.descent is not None and most > MOST_COUPLED and self.objective not in ("hutchinson", "denoising"):
            raise ValueError(
                f"'objective' must be 'hutchinson' or 'denoising' {couples} in a minibatch (got {self.objective!r})"
            )

    def _require_enough(self, n: int) -> None:
        """A graph of k neighbours needs more than k particles, in every minibatch."""
        learners = n - (n - 1) // HOLD_OUT - 1 if self._few(n) else n
        size = learners if self.minibatch is None else min(learners, self.minibatch)
        if self.descent is not None and size < self.model.min_particles:
            needs = f"'minibatch' must leave at least {self.model.min_particles} particles, which the score model needs"
            raise ValueError(f"{needs} (got {size} of {n})")

    def _few(self, n: int) -> bool:
        """Whether a part of the particles judges the training."""
        return self.hold_out and n < PARTICLES_PER_PARAMETER * sum(p.numel() for p in self.model.parameters())

    def initialise(self, state: Data, problem: Problem) -> Data:
        """Prepare, and fit a trained model to the initial score."""
        state = super().initialise(state, problem)
        self.model.condition(state.v, state.get("weight"))
        if self.descent is None:
            return state
        if problem.initial.smooth:
            particles = _particles(state)
            particles.target = problem.score(state.v).to(state.v.dtype)
            for first in range(0, self.initial_steps, INITIAL_BURST):
                if self._relative_error(particles) <= self.initial_tolerance:
                    break
                steps = min(INITIAL_BURST, self.initial_steps - first)
                self.descent.run(particles, steps, lambda x: objectives.explicit(self.model, x, x.target))
        else:
            particles, loss = self._objective(state)
            learners, judges = self._held_out(particles)
            bursts = self.initial_steps // INITIAL_BURST
            self.descent.run_while_better(learners, INITIAL_BURST, bursts, loss, self._judgement(judges))
        return state

    def score(self, state: Data) -> tuple[Tensor, Tensor | None]:
        """Fit the model to the particles, then evaluate it."""
        model, weight = self.model, state.get("weight")
        if isinstance(model, Solvable):
            model.solve(state.v, weight)
        else:
            model.condition(state.v, weight)
            if self.descent is not None:
                self._train(state, self.descent)
        if self.log_det == "none":
            return model(state.v), None
        return model.value_and_jacobian(state.v)

    def _train(self, state: Data, descent: Descent) -> None:
        """Take a fixed number of steps, or as many as pay; where particles are few, a fifth of them judges."""
        if self.schedule is not None:
            descent.scale_learning_rate(self.schedule(state.t - self.t_start))
        particles, loss = self._objective(state)
        few = self._few(state.v.size(0))
        if self.training == "fixed" and not few:
            descent.run(particles, self.steps, loss)
            return
        learners, judges = self._held_out(particles) if few else (particles, particles)
        bursts = 1 if self.training == "fixed" else self.max_steps // self.steps
        descent.run_while_better(learners, self.steps, bursts, loss, self._judgement(judges))
        if few:
            self.model.judge(judges.v, judges.get("weight"))

    def _objective(self, state: Data) -> tuple[Data, Callable[[Data], Tensor]]:
        """The particles with what the objective needs of them, and the objective as a function of some of them."""
        model, particles = self.model, _particles(state)
        if self.objective == "implicit":
            return particles, lambda x: objectives.implicit(model, x)
        if self.objective == "hutchinson":
            return particles, lambda x: objectives.hutchinson(model, x, self.probes, generator=self.generator)
        if self.objective == "collision_weighted":
            matrix, divergence = self.drift.diffusion(state.v, weight=state.get("weight"))
            particles.diffusion, particles.diffusion_divergence = matrix, divergence
            return particles, lambda x: objectives.collision_weighted(model, x, x.diffusion, x.diffusion_divergence)
        weight = state.weight.double() if "weight" in state else None
        deviation = torch.linalg.eigvalsh(covariance(state.v.double(), weight)).clamp_min(0).sqrt()
        alpha = self.alpha * float(deviation[0])
        return particles, lambda x: objectives.denoising(model, x, alpha, generator=self.generator)

    def _held_out(self, particles: Data) -> tuple[Data, Data]:
        """The particles to learn from, and every fifth, to judge by."""
        judge = torch.zeros(particles.v.size(0), dtype=torch.bool, device=particles.v.device)
        judge[::HOLD_OUT] = True
        if self.model.pointwise:
            return subset(particles, ~judge), subset(particles, judge)
        # The judges' scores depend on all particles: those that do not judge have weight 0.
        weight = particles.weight if "weight" in particles else torch.ones_like(particles.v[:, 0])
        return subset(particles, ~judge), Data(v=particles.v, weight=weight * judge)

    def _judgement(self, judges: Data) -> Callable[[], Tensor]:
        """The implicit loss of these particles, exact unless the model couples them."""
        if self.model.pointwise:
            return lambda: objectives.implicit(self.model, judges)
        return lambda: objectives.hutchinson(self.model, judges, generator=self.generator)

    @torch.no_grad()
    def _relative_error(self, particles: Data) -> float:
        return float(objectives.explicit(self.model, particles, particles.target))

    def record(self) -> dict[str, float]:
        """Gradient steps taken so far, those of the initial fit included."""
        return {} if self.descent is None else {"gradient_steps": self.descent.steps_taken}

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


def _particles(state: Data) -> Data:
    """Velocities and weights of a state."""
    particles = Data(v=state.v)
    if "weight" in state:
        particles.weight = state.weight
    return particles


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): x for name, x in tensors.items() if name.startswith(prefix)}
