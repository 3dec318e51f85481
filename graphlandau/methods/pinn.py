"""The global-in-time particle method: the flow itself is learned, time is an input."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from graphlandau.base import distributed
from graphlandau.base.copies import copied
from graphlandau.base.errors import InvalidArgument, NotInvertible
from graphlandau.base.precision import place
from graphlandau.base.state import particle_state
from graphlandau.base.validation import require_one_of
from graphlandau.methods.method import Scored
from graphlandau.methods.options import Collisions, Step
from graphlandau.methods.transport import LandauTransport, model_field
from graphlandau.nn.flow import FlowMap
from graphlandau.nn.score import ScoreModel
from graphlandau.nn.score.time_score import TimeScore
from graphlandau.nn.time_field import as_time_field
from graphlandau.problems import Problem
from graphlandau.training.flow_training import Recipe, Training
from graphlandau.training.trained_flow import TrainedFlow

__all__ = ["PINN"]

# Samples from which mean and temperature are taken where the problem does not know its own.
MOMENT_SAMPLES = 100_000
# Share of the particles that may be without a density.
MAX_WITHOUT_DENSITY = 0.01

log = logging.getLogger(__name__)


class PINN(LandauTransport):
    r"""Global-in-time particle method: a flow map and a score in time, trained together before the run.

    The networks are trained so that the flow's velocity is the drift of the score, and the score that of the flow's
    particles (:class:`~graphlandau.methods.Recipe`). Then ``transport="flow"`` puts the particles of the run where the
    flow map says, at any time and without steps between (the paper's PINN-particle); ``transport="score"`` moves them
    in steps of ``dt`` by the drift of the learned score (PINN-score). The time step of a run with the flow is only how
    often one looks.

    The log-density is :math:`\log f_0(v_0) - \log \det \nabla \Phi` for the flow. It is not defined for a particle
    where the map is not invertible: such a one, mostly far out where training has seen few, keeps what it had. The
    column ``not_invertible`` of the metrics counts them; more than 1 % end the run.

    Args:
        score: Network of the score, a field of velocity and time (:class:`~graphlandau.nn.TimeField`).
        flow: Network of the flow map, likewise.
        transport: ``"flow"`` or ``"score"``.
        trained: File of a pair that is trained already (``training/trained.safetensors`` of a run): nothing is trained
            then, and its networks, ``initial`` and ``base`` are taken instead of those given here.
        initial: Initial condition of the flow map, ``"exact"`` or ``"penalty"``.
        base: What the network of the score adds to, ``"maxwellian"`` or ``"none"`` (as in the paper).
        recipe: How they are trained.
        step: Integrator, of ``transport="score"``, and log-density; ``log_det="linear"`` for that transport only.
        collisions: How the drift is summed.
        seed: Seed of the training and the random batches.

    Raises:
        ValueError: If an argument is out of range, or a network does not fit.

    Reference: arXiv:2603.10874, Algorithm 1; its sizes are groups A to D of Appendix B.2.
    """

    default_score: ClassVar[str] = "time_mlp"

    def __init__(
        self,
        score: nn.Module,
        flow: nn.Module,
        *,
        transport: str = "flow",
        trained: str | None = None,
        initial: str = "exact",
        base: str = "maxwellian",
        recipe: Recipe = Recipe(),
        step: Step = Step(),
        collisions: Collisions = Collisions(),
        seed: int = 0,
    ) -> None:
        super().__init__(step, collisions, seed)
        self.transport = require_one_of("transport", transport, ("flow", "score"))
        if transport == "flow" and self.log_det == "linear":
            raise InvalidArgument("log_det", "must be 'exact' or 'none' with transport 'flow'", "'linear'")
        self.initial = require_one_of("initial", initial, ("exact", "penalty"))
        self.base = require_one_of("base", base, ("maxwellian", "none"))
        if self.initial == "penalty" and recipe.initial_weight == 0:
            raise InvalidArgument("initial_weight", "must be positive with initial 'penalty'", "0")
        self.recipe = recipe
        self.trained = None if trained is None else Path(trained)
        self.networks = {"flow": flow, "score": score}
        for name, network in self.networks.items():
            if not isinstance(network, nn.Module):
                raise InvalidArgument(name, "must be a torch.nn.Module", type(network).__name__)
        self.t_end: float | None = None
        self.workspace: Path | None = None
        self.pair: TrainedFlow

    as_score = staticmethod(as_time_field)

    @property
    def in_steps(self) -> bool:
        """Only along the score."""
        return self.transport == "score"

    @property
    def energy_order(self) -> float | None:
        """None of a flow that is learned."""
        return super().energy_order if self.in_steps else None

    def foresee(self, t_end: float, workspace: Path | None) -> None:
        """Train to ``t_end``, and keep checkpoints of the training in ``workspace``."""
        self.t_end, self.workspace = t_end, workspace

    def prepare(self, state: Data, problem: Problem) -> None:
        """Build flow map and score for the times of the run, or load the trained ones."""
        if problem.density(problem.t_start) is None:
            drawn = "for pinn_pm, which is trained on fresh particles"
            raise InvalidArgument("problem", f"must have a known initial density {drawn}", problem.name)
        super().prepare(state, problem)
        t_end = problem.t_end if self.t_end is None else self.t_end
        self.problem = problem
        if self.trained is None:
            # Copies: another run from the same method starts from the same weights.
            interval = (problem.d, problem.t_start, t_end)
            flow = FlowMap(copied(self.networks["flow"]), *interval, initial=self.initial)
            score = TimeScore(copied(self.networks["score"]), *interval, base=self.base)
            mean, temperature = moments_of(problem)
            for module in (flow, score):
                module.condition(mean, temperature)
            self.pair = TrainedFlow.of(flow, score, problem)
        else:
            given = {name: copied(network) for name, network in self.networks.items()}
            self.pair = TrainedFlow.load(self.trained, **given)
            self.pair.require_problem(problem, t_end, self.trained)
            log.info("flow and score are the networks of %s, with its initial and base", self.trained)
        for module in (self.pair.flow, self.pair.score):
            place(module.eval(), state.v.device, state.v.dtype)

    def initialise(self, state: Data, problem: Problem) -> Data:
        """Prepare, and train unless a trained pair is given."""
        state = super().initialise(state, problem)
        state.v0 = state.v.clone()
        if self.trained is None:
            folder = self.workspace
            pair, recipe = self.pair, self.recipe
            training = Training(pair.flow, pair.score, self.drift, problem, recipe, seed=self.seed, folder=folder)
            self.pair = training.run()
            if folder is not None and distributed.rank() == 0:
                self.pair.save(folder / "trained.safetensors")
        return self._placed(state, problem.t_start)

    def model_at(self, t: float) -> ScoreModel:
        """The learned score at time ``t``."""
        return self.pair.score.at(t)

    def require_score_field(self) -> None:
        """Refuse a flow, whose particles are not moved by the drift of their score.

        Raises:
            ValueError: With ``transport="flow"``.
        """
        super().require_score_field()
        if self.transport == "flow":
            raise InvalidArgument(
                "certificate",
                "needs particles that the drift of their score moves: take --method.transport score",
                "'flow'; what bounds its error is measured by graphlandau.diagnostics.certificates.certify_flow",
            )

    def score_field(self, state: Data) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
        """The learned score at the time of ``state``."""
        return model_field(self.model_at(state.t), state.v.dtype)

    def score(self, state: Data) -> tuple[Tensor, Tensor | None]:
        """Learned score at the particles, and its Jacobian where a step needs it."""
        model = self.model_at(state.t)
        if self.log_det == "none" or self.transport == "flow":
            return model(state.v), None
        return model.value_and_jacobian(state.v)

    @torch.no_grad()
    def advance(self, state: Data, frame: Scored, dt: float) -> Data:
        """The particles after ``dt``: by the flow map, or by a step along the drift."""
        if self.transport == "flow":
            return self._placed(state, state.t + dt)
        after = super().advance(state, frame, dt)
        after.v0 = state.v0
        return after

    def _placed(self, state: Data, t: float) -> Data:
        """The particles where the flow map puts them at ``t``."""
        if self.transport == "score":
            return state
        log_f = None
        if self.log_det == "none":
            v = self.pair.flow.at(state.v0, t)
        else:
            v, log_det = self.pair.flow.at_with_log_det(state.v0, t)
            log_f = self.problem.log_prob(state.v0).to(v.dtype) - log_det
            folded = torch.isnan(log_det)
            self.not_invertible, before = int(folded.sum()), self.not_invertible
            if self.not_invertible > MAX_WITHOUT_DENSITY * v.size(0):
                raise NotInvertible(self.not_invertible, v.size(0), cure="train longer, or take --log_det none")
            if self.not_invertible and not before:
                log.warning(
                    "the flow is not invertible for %d of %d particles at t = %g", self.not_invertible, v.size(0), t
                )
            log_f = torch.where(folded, state.get("log_f", log_f), log_f)
        weight = state.get("weight")
        return particle_state(v, t=t, weight=weight, log_f=log_f, v0=state.v0, checked=False)

    def record(self) -> dict[str, float]:
        """Number of particles where the flow, or the last step, is not invertible."""
        return {"not_invertible": self.not_invertible} if self.log_det != "none" else {}

    def state_dict(self) -> dict[str, Tensor]:
        """Random generator, and the weights of both networks."""
        tensors = super().state_dict() | {"t_end": torch.tensor(self.pair.flow.t_end, dtype=torch.float64)}
        for name, module in (("flow", self.pair.flow), ("score", self.pair.score)):
            tensors |= {f"{name}.{key}": x for key, x in module.state_dict().items()}
        return tensors

    def load_state_dict(self, tensors: dict[str, Tensor]) -> None:
        """Restore them.

        Raises:
            ValueError: If they are for another horizon.
        """
        t_end = float(tensors["t_end"])
        if t_end != self.pair.flow.t_end:
            raise InvalidArgument(
                "t_end", f"must be {t_end:g}, to which the flow was trained", f"{self.pair.flow.t_end:g}"
            )
        super().load_state_dict(tensors)
        for name, module in (("flow", self.pair.flow), ("score", self.pair.score)):
            start = f"{name}."
            module.load_state_dict({k.removeprefix(start): x for k, x in tensors.items() if k.startswith(start)})


def moments_of(problem: Problem) -> tuple[Tensor, float]:
    """Mean and temperature of the plasma, which collisions conserve."""
    equilibrium = problem.equilibrium()
    if equilibrium is not None and equilibrium.mean is not None and equilibrium.covariance is not None:
        return equilibrium.mean, float(equilibrium.covariance.trace()) / problem.d
    v = problem.sample(MOMENT_SAMPLES, generator=torch.Generator().manual_seed(0))
    v = v.double()
    return v.mean(0), float(v.var(0, correction=0).mean())
