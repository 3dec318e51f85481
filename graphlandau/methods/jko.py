"""The JKO scheme for the Landau equation: the field of every step minimises action plus entropy."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from graphlandau.base.derivatives import jacobian_product
from graphlandau.base.errors import InvalidArgument, NotInvertible
from graphlandau.base.state import particle_state
from graphlandau.base.validation import require_options, require_positive
from graphlandau.diagnostics import average
from graphlandau.integrators.inner_flow import Flow, InnerFlow, segment_to_singular
from graphlandau.integrators.named import explicit_integrator
from graphlandau.methods.learned import LearnedTransport, particles_of
from graphlandau.methods.linear_jko import LinearJKO
from graphlandau.methods.method import Scored
from graphlandau.methods.options import Collisions, InnerStep, Step
from graphlandau.nn.conv import JKOAction
from graphlandau.nn.pairs import expected_calls
from graphlandau.nn.score import ClosedFormScore, Solvable
from graphlandau.nn.score.base import MAX_COUPLED
from graphlandau.nn.score.gauge import score_gauge
from graphlandau.problems import Problem
from graphlandau.training.descent import Descent
from graphlandau.training.options import EpochFit

__all__ = ["JKO"]

# Particles per mini-batch unless given: the pairs of one fill a processor, and the noise of its loss is small.
MINIBATCH = 1280
# Halvings of a step whose map is not invertible, in search of one whose map is.
MAX_HALVINGS = 10


class JKO(LearnedTransport):
    r"""JKO: each step goes where action in the Landau metric plus entropy is least.

    .. math::
        u^{n+1} \in \arg\min_u \frac{1}{\tau} \int_0^\tau \tfrac12 \sum_{ij} w_i w_j |u(T_i) - u(T_j)|_A^2 \, dt
        - \frac{2}{\tau} \sum_i w_i \log|\det \nabla T_\tau(v_i)|, \qquad
        \dot T_i = -\sum_j w_j A(T_i - T_j) (u(T_i) - u(T_j))

    with one explicit step, or ``inner_steps`` of them or of RK4, for the inner time. ``log_det`` says which step that
    is. ``"linear"``, the papers': the logarithm is replaced by its first order in :math:`\tau`. For one inner step the
    loss is then :class:`~graphlandau.nn.JKOAction`, whose minimiser is the score at the *start* of the step: explicit,
    whatever its name. ``"exact"`` keeps the determinant: genuinely implicit, and the entropy of the push-forward itself
    falls at every step that is minimised over the pairs that move it. One explicit inner step adds
    :math:`\tau^2 \langle |U|^2 \rangle` to :math:`\langle |v|^2 \rangle` in either case, and with a large ``dt`` the
    entropy then falls by heating: watch ``energy_rel_drift``, and take ``"rk4"`` or more inner steps.

    The field is a score model. A :class:`~graphlandau.nn.ClosedFormScore` is minimised over its weights, in the
    linear case exactly, by one linear solve. All others take ``epochs`` of Adamax steps over shuffled mini-batches,
    *all pairs inside each*, warm-started (a model without parameters is only conditioned on the particles); with fewer
    than four particles per parameter they learn from four fifths of the particles and the last fifth is a validation
    set that says whether an epoch was of use, as in :class:`~graphlandau.methods.SBTM`. The field is known only up to
    ``a + b v``, which moves nothing; as the score of the run it is shown with :math:`\langle s \rangle = 0` and
    :math:`\langle v \cdot s \rangle = -d`, as the true one has.

    A step whose map is not invertible (:math:`\det \nabla T \le 0` on the way from the identity, for some particle) is
    refused; with ``log_det="none"`` and one explicit step it is not looked for, which saves the derivatives.

    Args:
        score: Score model for ``u``, or any ``nn.Module`` that maps :math:`(N, d) \to (N, d)`.
        fit: How the model is fitted, see :class:`~graphlandau.training.EpochFit`.
        step: The inner time, and the determinant in the objective.
        collisions: How the drift is summed. If its ``batch_size`` is that of a mini-batch, a closed form is minimised
            over the very batches that then move the particles.
        seed: Seed of mini-batches and random batches.

    Raises:
        ValueError: If an argument is out of range, ``minibatch`` or ``batch_size`` exceeds the number of particles, or
            the score model cannot be minimised over with these options.
        NotInvertible: In the course of a run, if the map of a step is not; it names the share of the particles and the
            time step that would have passed.

    Reference: Huang and Wang, arXiv:2409.12296, Algorithms 1 and 2, Eqs. (20)-(25). The exact determinant and the
    closed form are ours.
    """

    optimiser: ClassVar[type[torch.optim.Optimizer]] = torch.optim.Adamax

    def __init__(
        self,
        score: nn.Module,
        *,
        fit: EpochFit = EpochFit(),
        step: InnerStep = InnerStep(),
        collisions: Collisions = Collisions(),
        seed: int = 0,
    ) -> None:
        require_options("step", step, InnerStep)
        if require_options("collisions", collisions, Collisions).graph is not None:
            where = "none for jko, whose steps are minimised over all pairs or random batches"
            raise InvalidArgument("graph", f"must be {where}", repr(collisions.graph))
        super().__init__(score, fit, Step(log_det=step.log_det), collisions, seed)
        self.fit, self.inner = require_options("fit", fit, EpochFit), step

    @property
    def explicit(self) -> bool:
        """Whether the objective is the pairwise one, quadratic in ``u``."""
        return self.inner.single and self.log_det != "exact"

    def derivatives_needed(self, n: int) -> str | None:
        """Less of a model that couples many particles, whose divergence is a random one."""
        random = self.descent is not None and not self.model.pointwise and self.minibatch_of(n) > MAX_COUPLED
        return "product" if random and self.log_det == "none" else super().derivatives_needed(n)

    def minibatch_of(self, n: int) -> int:
        """Particles per mini-batch: what fills a processor unless another number is asked for."""
        return min(n, MINIBATCH) if self.fit.minibatch is None else self.fit.minibatch

    def prepare(self, state: Data, problem: Problem) -> None:
        """Take the collision kernel, choose the size of mini-batches, put the model where the particles are."""
        n = state.v.size(0)
        size = self.minibatch_of(n)
        if size > n:
            raise InvalidArgument("minibatch", f"must be at most the number of particles, {n}", size)
        super().prepare(state, problem)
        self.flow = InnerFlow(self.drift, explicit_integrator(self.inner.integrator), self.inner.inner_steps)
        self.action = JKOAction(problem.gamma, problem.strength, backend=_exact(self.collisions.backend))
        self.solver = None
        if isinstance(self.model, ClosedFormScore):
            self.solver = LinearJKO(self.model, self.action, self.drift, size, self.generator)
        elif self.descent is None and not self.explicit:
            name = type(self.model).__name__
            needs = "for log_det 'exact', integrator 'rk4' or more than one inner step"
            raise InvalidArgument("score", f"must be a closed form or have parameters to train {needs}", name)

    def require_score_field(self) -> None:
        """Refuse inner steps whose Jacobian is not that of one explicit step, or a model that couples particles.

        Raises:
            ValueError: With more than one inner step, or one of RK4; or as every learned method.
        """
        if not self.inner.single:
            inner = f"{self.inner.inner_steps} of {self.inner.integrator}"
            raise InvalidArgument("certificate", "needs steps of jko with one inner step of euler", inner)
        super().require_score_field()

    def require_affordable(self, n: int) -> None:
        """Refuse the exact derivatives of a model that couples many particles.

        Raises:
            ValueError: If it is asked for them.
        """
        super().require_affordable(n)
        if not self.explicit and n > MAX_COUPLED:
            couples = f"for a score model that couples more than {MAX_COUPLED} particles"
            if self.inner.integrator != "euler":
                raise InvalidArgument("integrator", f"must be 'euler' {couples}", repr(self.inner.integrator))
            raise InvalidArgument("inner_steps", f"must be 1 {couples}", self.inner.inner_steps)

    @torch.no_grad()
    def evaluate(self, state: Data, dt: float | None = None) -> Scored:
        """Minimise for a step of ``dt`` from ``state``; the drift of the minimiser.

        Raises:
            ValueError: If ``dt`` is not a positive number.
        """
        if dt is None:
            raise InvalidArgument("dt", "must be given: the field of a JKO step depends on it", "None")
        blocks = self._fit(state, require_positive("dt", dt))
        s, jac_s = self.score(state)
        return self.scored(state, s, jac_s, self._blocks(state) if blocks is None else blocks)

    def score(self, state: Data) -> tuple[Tensor, Tensor | None]:
        """The field as it is now, as a score with the moments of one."""
        v, weight = state.v, state.get("weight")
        if not self.carries_log_f and self.explicit:
            return _as_score(v, self.model(v), None, weight)
        return _as_score(v, *self.model.value_and_jacobian(v), weight)

    def _fit(self, state: Data, tau: float) -> Tensor | None:
        """Minimise for a step of ``tau``; the blocks of the sums, if they are of the size in which particles move."""
        model, weight = self.model, state.get("weight")
        if self.solver is not None:
            return self._solve(self.solver, state, tau)
        if isinstance(model, Solvable):
            model.solve(state.v, weight)
        else:
            model.condition(state.v, weight)
            if self.descent is not None:
                self._train(state, self.descent, tau)
        return None

    def _solve(self, solver: LinearJKO, state: Data, tau: float) -> Tensor | None:
        """Minimise over the weights of the closed form."""
        moved_alike = self.collisions.batch_size == solver.block
        batch = self._blocks(state) if moved_alike else solver.blocks(state.v)
        if self.explicit:
            solver.solve(state, batch)
        else:
            solver.solve(state, batch, lambda field: self._loss(field, state.v, state.get("weight"), tau, batch))
        return batch if moved_alike else None

    def _blocks(self, state: Data) -> Tensor | None:
        """Random batches in which the particles are moved, ``None`` for all pairs."""
        return self.collisions.pairs(state, self.generator)[0]

    def _train(self, state: Data, descent: Descent, tau: float) -> None:
        """Take the epochs; where particles are few, each one only if a fifth of them approves of it."""
        self.follow_schedule(descent, state.t)
        particles, loss = self.objective_of(state, tau)
        n, epochs = state.v.size(0), self.fit.epochs
        # The sums of a mini-batch are repeated many times in a time step: that decides whether they are compiled.
        with expected_calls(epochs * max(1, n // self.minibatch_of(n))):
            if not self.few(n):
                descent.run_epochs(particles, epochs, loss)
                return
            learners, validation = self.held_out(particles)
            held = self.validation_loss(validation, tau)
            descent.run_while_better(lambda: descent.run_epochs(learners, 1, loss), epochs, held)
        self.model.judge(validation.v, validation.get("weight"))

    def objective_of(self, state: Data, tau: float | None = None) -> tuple[Data, Callable[[Data], Tensor]]:
        """The particles, and the objective as a function of some of them: of all pairs among these."""
        return particles_of(state), lambda x: self._loss(self._field(x.v), x.v, x.get("weight"), tau)

    def validation_loss(self, validation: Data, tau: float | None = None) -> Callable[[], Tensor]:
        """The objective of these particles."""
        return lambda: self._loss(self._field(validation.v), validation.v, validation.get("weight"), tau)

    def _field(self, v: Tensor) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
        """The model with its Jacobian, or an unbiased estimate of it if it couples many particles."""
        if self.model.pointwise or v.size(0) <= MAX_COUPLED:
            return self.model.value_and_jacobian

        def estimate(at: Tensor) -> tuple[Tensor, Tensor]:
            signs = torch.randint(0, 2, at.shape, generator=self.generator, device=at.device)
            probe = 2.0 * signs.to(at.dtype) - 1.0
            u, product = jacobian_product(self.model, at, probe, self.model.in_reverse)
            # E z z^T = I, independent between particles: the mean of (J z) z^T is each particle's own block.
            left, right = (probe, product) if self.model.in_reverse else (product, probe)
            return u, left[:, :, None] * right[:, None, :]

        return estimate

    def _loss(
        self,
        field: Callable[[Tensor], tuple[Tensor, Tensor]],
        v: Tensor,
        weight: Tensor | None,
        tau: float | None,
        batch: Tensor | None = None,
    ) -> Tensor:
        """The objective of the class, over :math:`\\tau^2`; 0 for no field. The initial fit knows no time step."""
        weight = None if weight is None else weight / weight.sum()
        if self.explicit or tau is None:
            return self.action(v, *field(v), batch=batch, weight=weight)
        flow = self.flow(field, v, tau, batch=batch, weight=weight)
        growth = flow.relaxed_log_det() if self.log_det == "exact" else flow.growth
        return (flow.action - 2 * average(growth, weight)) / tau

    def _require_invertible(self, flow: Flow, flow_for: Callable[[float], Flow], dt: float) -> None:
        """Refuse a map that loses its invertibility at some particle; what is not finite is found elsewhere."""
        n, failing = len(flow.v), int(self.flow.not_invertible(flow).sum())
        if not failing:
            return
        if self.inner.single:
            passing = float(segment_to_singular(flow.factors).min()) * dt
        else:  # the map is not linear in dt
            halves = (dt / 2**k for k in range(1, MAX_HALVINGS + 1))
            passing = next((tau for tau in halves if self._passes(flow_for(tau))), 0.0)
        raise NotInvertible(failing, n, dt, passing)

    def _passes(self, flow: Flow) -> bool:
        return bool(flow.v.isfinite().all()) and not bool(self.flow.not_invertible(flow).any())

    @torch.no_grad()
    def advance(self, state: Data, frame: Scored, dt: float) -> Data:
        """Move the particles along the minimiser.

        Raises:
            NotInvertible: If the map is not invertible at some particle.
        """
        weight = state.get("weight")
        if frame.jac_s is None:
            return particle_state(state.v + dt * frame.drift, t=state.t + dt, weight=weight, checked=False)
        first = (frame.s, frame.jac_s, frame.drift)

        def flow_for(tau: float) -> Flow:
            field = self.model.value_and_jacobian
            return self.flow(field, state.v, tau, batch=frame.batch, weight=weight, first=first)

        flow = flow_for(dt)
        self._require_invertible(flow, flow_for, dt)
        if not self.carries_log_f:
            return particle_state(flow.v, t=state.t + dt, weight=weight, checked=False)
        growth = flow.log_det() if self.log_det == "exact" else flow.growth
        return particle_state(flow.v, t=state.t + dt, weight=weight, log_f=state.log_f - growth, checked=False)


def _as_score(v: Tensor, u: Tensor, jacobian: Tensor | None, weight: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """The field and its Jacobian with the moments of a score."""
    shift, slope = score_gauge(v, u, weight)
    s = (u.double() + shift + slope * v.double()).to(u.dtype)
    if jacobian is None:
        return s, None
    return s, jacobian + slope.to(u.dtype) * torch.eye(v.size(1), dtype=v.dtype, device=v.device)


def _exact(backend: str) -> str:
    """The backend of the action, which is summed over minibatches: small enough for an exact one."""
    return "auto" if backend == "mesh" else backend
