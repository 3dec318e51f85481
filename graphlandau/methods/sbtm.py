"""Score-based transport: the score is learned along the way."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from graphlandau import objectives
from graphlandau.base.errors import InvalidArgument
from graphlandau.base.validation import require_one_of, require_options, require_positive
from graphlandau.diagnostics import covariance
from graphlandau.methods.learned import LearnedTransport, particles_of
from graphlandau.methods.options import Collisions, Step
from graphlandau.nn.score import Solvable
from graphlandau.nn.score.base import MAX_COUPLED
from graphlandau.training.descent import Descent
from graphlandau.training.options import Fit

__all__ = ["SBTM"]

OBJECTIVES = ("implicit", "hutchinson", "denoising", "collision_weighted")


class SBTM(LearnedTransport):
    r"""Score-based transport modelling: a score model follows the particles, the particles follow its score.

    At every time step the model is fitted to the particles by score matching, warm-started from the step before. Models
    with a method ``solve`` (closed form) are minimised exactly; all others take Adam steps on ``objective``: ``steps``
    of them, or, with ``training="adaptive"``, bursts of ``steps`` for as long as each lowers the exact implicit loss;
    the one that does not is taken back. With fewer than four particles per parameter the steps use four fifths of the
    particles and the last fifth is a validation set in either case: a few particles must not be learned by heart
    (``hold_out=False`` trains on all of them, as the paper does). At the start a trained model is fitted to the known
    initial score until :math:`\sum|s - s^*|^2 / \sum|s^*|^2 \le` ``initial_tolerance``; where the initial density has
    jumps, hence no pointwise score, it is fitted to the particles until the implicit loss of a held-out fifth stops
    falling.

    Args:
        score: Score model, or any ``nn.Module`` that maps :math:`(N, d) \to (N, d)`.
        objective: ``"implicit"`` (exact divergence), ``"hutchinson"``, ``"denoising"``, or ``"collision_weighted"``:
            its diffusion matrix is summed over all pairs at every time step, :math:`O(N^2)` unless ``gamma`` is 0.
        alpha: Noise of ``"denoising"``, in units of the smallest standard deviation of the particles.
        probes: Noise of ``"hutchinson"``, ``"rademacher"`` or ``"gaussian"``.
        fit: How the model is fitted, see :class:`~graphlandau.training.Fit`.
        step: Integrator, and what becomes of the log-density.
        collisions: How the drift is summed.
        seed: Seed of minibatches, probes and random batches.

    Raises:
        ValueError: If an argument is out of range, or a model that couples more than 512 particles meets an objective
            or a log-density that needs the exact derivatives of each particle's score in its own velocity.

    Reference: Ilin, Hu and Wang 2025, algorithm of Section 3.1 with objectives (3.3), (3.4) and (3.5), and the adaptive
    rule of Section 5.1.
    """

    without_derivatives = "; none are needed with --method.objective denoising --log_det none --method.hold_out false"

    def __init__(
        self,
        score: nn.Module,
        *,
        objective: str = "implicit",
        alpha: float = 0.4,
        probes: str = "rademacher",
        fit: Fit = Fit(),
        step: Step = Step(),
        collisions: Collisions = Collisions(),
        seed: int = 0,
    ) -> None:
        super().__init__(score, fit, step, collisions, seed)
        self.fit = require_options("fit", fit, Fit)
        self.objective = require_one_of("objective", objective, OBJECTIVES)
        self.alpha = require_positive("alpha", alpha)
        self.probes = require_one_of("probes", probes, ("rademacher", "gaussian"))

    def require_affordable(self, n: int) -> None:
        """Refuse the exact derivatives of a model that couples many particles: in the log-density, in the objective.

        Raises:
            ValueError: If it is asked for them.
        """
        super().require_affordable(n)
        most = min(n, self.fit.minibatch or n)
        if self.descent is not None and most > MAX_COUPLED and self.objective not in ("hutchinson", "denoising"):
            couples = f"for a score model that couples more than {MAX_COUPLED} particles"
            raise InvalidArgument(
                "objective", f"must be 'hutchinson' or 'denoising' {couples} in a minibatch", repr(self.objective)
            )

    def derivatives_needed(self, n: int) -> str | None:
        """Less for a random divergence, and none for values alone."""
        needed = super().derivatives_needed(n)
        if needed is None or self.log_det != "none" or self.objective not in ("hutchinson", "denoising"):
            return needed
        if self.few(n):  # those of the validation set
            return "jacobian" if self.model.pointwise else "product"
        return "product" if self.objective == "hutchinson" else None

    def score(self, state: Data) -> tuple[Tensor, Tensor | None]:
        """Fit the model to the particles, then evaluate it."""
        model, weight = self.model, state.get("weight")
        if isinstance(model, Solvable):
            model.solve(state.v, weight)
        else:
            model.condition(state.v, weight)
            if self.descent is not None:
                self._train(state, self.descent)
        if not self.carries_log_f:
            return model(state.v), None
        return model.value_and_jacobian(state.v)

    def _train(self, state: Data, descent: Descent) -> None:
        """Take a fixed number of steps, or as many as pay; where particles are few, a fifth of them is held out."""
        self.follow_schedule(descent, state.t)
        particles, loss = self.objective_of(state)
        few = self.few(state.v.size(0))
        if self.fit.training == "fixed" and not few:
            descent.run(particles, self.fit.steps, loss, by_rows=self.model.pointwise)
            return
        learners, validation = self.held_out(particles) if few else (particles, particles)
        bursts = 1 if self.fit.training == "fixed" else self.fit.max_steps // self.fit.steps

        def burst() -> None:
            descent.run(learners, self.fit.steps, loss, by_rows=self.model.pointwise)

        descent.run_while_better(burst, bursts, self.validation_loss(validation))
        if few:
            self.model.judge(validation.v, validation.get("weight"))

    def objective_of(self, state: Data) -> tuple[Data, Callable[[Data], Tensor]]:
        """The particles with what the objective needs of them, and the objective as a function of some of them."""
        model, particles = self.model, particles_of(state)
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

    def validation_loss(self, validation: Data) -> Callable[[], Tensor]:
        """The implicit loss of these particles, exact unless the model couples them."""
        if self.model.pointwise:
            return lambda: objectives.implicit(self.model, validation)
        return lambda: objectives.hutchinson(self.model, validation, generator=self.generator)
