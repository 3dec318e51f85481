"""Transport along the Landau drift: what all methods for it share."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch_geometric.data import Data

from graphlandau.base.errors import InvalidArgument
from graphlandau.base.state import particle_state
from graphlandau.base.validation import as_number, require_options
from graphlandau.base.vectors import matvec
from graphlandau.integrators.inner_flow import segment_to_singular
from graphlandau.integrators.integrator import Integrator, Moved
from graphlandau.integrators.midpoint import Midpoint
from graphlandau.integrators.named import integrator_of
from graphlandau.methods.method import Facts, Method, Scored
from graphlandau.methods.options import Collisions, Step
from graphlandau.nn.conv import LandauDrift
from graphlandau.nn.pairs import choose_backend
from graphlandau.nn.score import ScoreModel
from graphlandau.objectives import log_determinant
from graphlandau.problems import Problem

__all__ = ["LandauTransport"]


class LandauTransport(Method[Problem, Scored]):
    r"""Particles that follow :math:`\dot v_i = -\sum_j w_j A(v_i - v_j)(s_i - s_j)` for a score estimated at each step.

    A subclass says how the score is estimated. The log-density is carried along the trajectories:
    :math:`\log f(v_i') = \log f(v_i) - \log|\det \partial v' / \partial v|`. A particle whose map is not invertible on
    the way of a step, from the identity on, has no density any more: the column ``not_invertible`` counts them.

    Attributes:
        not_invertible: Particles whose map was not invertible in the last step.
        passing: The largest step that would have passed there, infinite if this one did.

    Args:
        step: Integrator, and what becomes of the log-density.
        collisions: How the drift is summed.
        seed: Seed of every random choice of the method.
    """

    solves: ClassVar[Any] = Problem

    def __init__(
        self,
        step: Step = Step(),
        collisions: Collisions = Collisions(),
        seed: int = 0,
    ) -> None:
        self.step = require_options("step", step, Step)
        self.collisions = require_options("collisions", collisions, Collisions)
        self.seed = seed = as_number(seed)
        self.log_det = step.log_det
        self.carries_log_f = step.log_det != "none"
        self.generator = torch.Generator().manual_seed(seed)
        self._drift: LandauDrift | None = None
        self.not_invertible, self.passing = 0, math.inf

    @property
    def drift(self) -> LandauDrift:
        """The layer that sums the drift, of the problem that the method is prepared for."""
        assert self._drift is not None, "prepare() comes first"
        return self._drift

    def facts(self, problem: Problem, particles: int) -> Facts:
        """Backend of the drift, the one used last where it is chosen at every step, and the random batches."""
        size, backend, graph = self.collisions.batch_size, self.collisions.backend, self.collisions.graph
        if backend == "auto":
            used = None if self._drift is None else self._drift.used
            backend = used or choose_backend(problem.gamma, problem.d, size or particles)
            if used is None and graph is not None:
                backend = "edges"
        if graph is not None:
            return Facts(backend=backend, savings=("a --graph of fewer edges",))
        savings = ["a smaller --batch_size"]
        if backend == "mesh":
            savings.append("a larger --mesh_tolerance")
        elif -3 <= problem.gamma < 0 and problem.d in (2, 3):
            savings.append("--backend mesh")
        return Facts(backend=backend, batch_size=size, savings=tuple(savings))

    def prepare(self, state: Data, problem: Problem) -> None:
        """Take the collision kernel of ``problem`` and the device of ``state``.

        The log-density is carried along where it is known at the start, by the problem or at the particles.
        """
        self.carries_log_f = self.log_det != "none" and problem.log_density_known
        self._drift = self.collisions.drift(problem.gamma, problem.strength)
        self.generator = torch.Generator(device=state.v.device).manual_seed(self.seed)
        size, n = self.collisions.batch_size, state.v.size(0)
        if size is not None and size > n:
            raise InvalidArgument("batch_size", f"must be at most the number of particles, {n}", size)

    @torch.no_grad()
    def initialise(self, state: Data, problem: Problem) -> Data:
        """Prepare, and start the log-density from the initial density."""
        self.prepare(state, problem)
        if not self.carries_log_f:
            if "log_f" in state:
                del state["log_f"]
        elif "log_f" not in state:
            state.log_f = problem.log_prob(state.v).to(state.v.dtype)
        return state

    @abstractmethod
    def score(self, state: Data) -> tuple[Tensor, Tensor | None]:
        """Score at the particles, and its Jacobian if the log-density is carried."""

    @torch.no_grad()
    def evaluate(self, state: Data, dt: float | None = None) -> Scored:
        """Estimate the score and sum the drift; neither depends on ``dt``."""
        s, jac_s = self.score(state)
        # Drawn after the score.
        return self.scored(state, s, jac_s, *self.collisions.pairs(state, self.generator))

    def scored(
        self, state: Data, s: Tensor, jac_s: Tensor | None, batch: Tensor | None, edge_index: Tensor | None = None
    ) -> Scored:
        """The frame of these scores, with the drift that they make inside blocks or along edges."""
        drift = self.drift(state.v, s, edge_index, batch, state.get("weight"))
        return Scored(s, drift, jac_s, batch, edge_index)

    def require_score_field(self) -> None:
        """Refuse what needs :meth:`score_field` if there is none; here, unless a subclass has overridden it.

        Raises:
            ValueError: If the score is not known as a field.
        """
        if type(self).score_field is LandauTransport.score_field:
            raise InvalidArgument(
                "certificate",
                "needs the score as a function of one particle's velocity",
                f"{type(self).__name__}, which has no 'score_field'",
            )

    def score_field(self, state: Data) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
        r"""The score that moves ``state``, as last evaluated: any velocities :math:`(N, d)` to values and Jacobian.

        All in float64; the Jacobian can be differentiated once more. Known up to ``a + b v``, which moves no particle.
        """
        raise NotImplementedError

    @torch.no_grad()
    def advance(self, state: Data, frame: Scored, dt: float) -> Data:
        """Move the particles by one step, and their log-density with them."""
        moved = self._move(state, frame, dt)
        log_f = None
        if self.carries_log_f:
            log_f = state.log_f - self._log_det(state, frame, moved.at, dt)
        return particle_state(moved.v, t=state.t + dt, weight=state.get("weight"), log_f=log_f, checked=False)

    def _move(self, state: Data, frame: Scored, dt: float) -> Moved:
        weight = state.get("weight")

        def field(v: Tensor) -> Tensor:
            # The first evaluation of every integrator is at the state itself, where it is known.
            if v is state.v:
                return frame.drift
            return self.drift(v, frame.s, frame.edge_index, frame.batch, weight)

        return self.integrator.step(state.v, field, dt)

    @property
    def integrator(self) -> Integrator:
        """What the step is taken by."""
        return integrator_of(self.step.integrator)

    @property
    def energy_order(self) -> float | None:
        """Exact by the midpoint rule, else the order of the integrator."""
        return math.inf if isinstance(self.integrator, Midpoint) else self.integrator.order

    def _log_det(self, state: Data, frame: Scored, at: tuple[Tensor, ...], dt: float) -> Tensor:
        """Logarithm of the determinant of the step, or its first order in dt."""
        assert frame.jac_s is not None
        weight, T, S = state.get("weight"), [], []
        for place in at:
            by_v, by_s = self.drift.partials(place, frame.s, frame.edge_index, frame.batch, weight)
            T.append(by_v)
            S.append(by_s @ frame.jac_s)
        after, before = self.integrator.factors(T, S, dt)
        self._count_not_invertible(after, before, dt)
        if self.log_det == "linear":
            rate = torch.zeros_like(state.v[:, 0])
            for b, by_v, by_s in zip(self.integrator.weights, T, S, strict=True):
                rate = rate + b * (by_v + by_s).diagonal(dim1=1, dim2=2).sum(-1)
            return dt * rate
        log_det = log_determinant(after, dt)
        return log_det if before is None else log_det - log_determinant(before, dt)

    def _count_not_invertible(self, after: Tensor, before: Tensor | None, dt: float) -> None:
        """Particles for which the step or, of a single stage, a shorter one along the same field is singular."""
        eye = torch.eye(after.size(-1), dtype=after.dtype, device=after.device)
        factors = tuple(eye + dt * x for x in (after, before) if x is not None)
        reach = segment_to_singular(factors)
        lost = reach <= 1
        if len(self.integrator.weights) > 1:  # its stages follow a curve of maps: only the end of it is known
            lost = torch.linalg.det(factors[0]) <= 0
        self.not_invertible = int(lost.sum())
        self.passing = dt * float(reach.min()) if self.not_invertible else math.inf

    def step_jacobian(self, state: Data, frame: Scored, dt: float) -> Callable[[Tensor], Tensor]:
        r"""The Jacobian :math:`\partial v_i' / \partial v_i` of a step as a function that can be differentiated.

        It maps the velocities of ``state`` in float64 to :math:`(N, d, d)`. A derivative of it is that for a particle
        that moves alone, past the others with the score that each of them has: of the map whose determinant carries the
        log-density. Only to be called, and differentiated, at the velocities of ``state``.
        """
        field, weight = self.score_field(state), state.get("weight")
        weight = None if weight is None else weight.double()
        integrator, at = self.integrator, self._move(state, frame, dt).at
        at_start = all(place is state.v for place in at)

        def partials(places: Sequence[Tensor], s: Tensor, jac_s: Tensor) -> tuple[list[Tensor], list[Tensor]]:
            T, S = [], []
            for y in places:
                # The very numbers of the receivers, so that a particle meets itself at distance zero.
                near = (y.detach(), s.detach(), frame.edge_index, frame.batch, weight)
                by_v, by_s = self.drift.partials(*near, at=(y, s))
                T.append(by_v)
                S.append(by_s @ jac_s)
            return T, S

        def jacobian(x: Tensor) -> Tensor:
            s, jac_s = field(x)
            places = [x if place is state.v else place.double() for place in at]
            if not at_start:
                with torch.no_grad():
                    slopes = integrator.slopes(*partials(places, s, jac_s), dt)
                # A place moves with the velocity; its value stays as it is.
                there = zip(places, slopes, strict=True)
                places = [y if slope is None else y + matvec(slope, x - x.detach()) for y, slope in there]
            after, before = integrator.factors(*partials(places, s, jac_s), dt)
            eye = torch.eye(x.size(1), dtype=x.dtype, device=x.device)
            after = eye + dt * after
            return after if before is None else torch.linalg.solve(eye + dt * before, after)

        return jacobian

    def record(self) -> dict[str, float]:
        """The number of particles whose map was not invertible in the last step, where a density is carried along."""
        carried = self.carries_log_f and type(self).advance is LandauTransport.advance
        return {"not_invertible": self.not_invertible} if carried else {}

    def state_dict(self) -> dict[str, Tensor]:
        """State of the random generator, and what the last step was like."""
        lost = torch.tensor([self.not_invertible, self.passing], dtype=torch.float64)
        return {"generator": self.generator.get_state(), "not_invertible": lost}

    def load_state_dict(self, tensors: dict[str, Tensor]) -> None:
        """Restore them."""
        self.generator.set_state(tensors["generator"])
        if "not_invertible" in tensors:  # of versions after 0.1.0
            lost, self.passing = tensors["not_invertible"].tolist()
            self.not_invertible = int(lost)


def model_field(model: ScoreModel, dtype: torch.dtype) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """A score model as :meth:`LandauTransport.score_field` gives it, evaluated in the precision ``dtype``."""

    def field(x: Tensor) -> tuple[Tensor, Tensor]:
        s, jac_s = model.value_and_jacobian(x.to(dtype))
        return s.to(x), jac_s.to(x)

    return field
