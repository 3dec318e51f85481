r"""What is known about the error of a learned flow: its residual, its score's excess, and the particles' number.

For the true characteristics :math:`v_t` and those of the flow, :math:`\hat v_t`, with :math:`E(t) = \langle |\hat v_t -
v_t|^2 \rangle`, Theorem 5 of arXiv:2603.10874 states

.. math::
    \mathbb E\, W_1(f_t, f^*_t) \le \mathcal C(T)
    \bigl( \varepsilon_{\text{score}} + \varepsilon_{\text{phys}} + N^{-1/2} \bigr)^{1/2}

for bounded Lipschitz kernels, with a constant that is not explicit. Its proof absorbs a term that is small only if that
constant times T is. The ingredients are numbers; where the exact characteristics are known, so are the error and the
constant that this one solution needs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from graphlandau.base.errors import InvalidArgument
from graphlandau.base.validation import as_number, require_integer
from graphlandau.diagnostics.certificates.tracked_score import push_score
from graphlandau.diagnostics.trajectories import relative_trajectory_error
from graphlandau.nn.conv import LandauDrift
from graphlandau.nn.flow import FlowMap
from graphlandau.nn.score.time_score import TimeScore
from graphlandau.objectives import collocate
from graphlandau.physics.moments import energy
from graphlandau.problems import Problem

__all__ = ["FlowCertificate", "certify_flow"]


@dataclass(frozen=True)
class FlowCertificate:
    r"""Ingredients of the error bound of a learned flow, at equidistant times.

    Attributes:
        particles: Number :math:`N` of particles the means are over.
        rows: One dictionary per time: ``t``; ``physics`` :math:`\langle|\rho|^2\rangle`; ``implicit``, the implicit
            loss of the score; ``score_excess``, that loss less its least value over all fields, which is
            :math:`\langle|s - \nabla \log \hat f|^2\rangle` with the density of the flow itself (``None`` where the
            initial density has no pointwise score); ``tracked_fisher``, the same relative to
            :math:`\langle|\nabla \log \hat f|^2\rangle`; ``energy_drift``, relative. Where the solution is known also
            ``error`` :math:`E(t)`, ``rel_trajectory_error`` and ``score_error``
            :math:`\delta^2_{2,N} = \langle|s - s^*|^2\rangle` at the true characteristics.
        physics: :math:`\varepsilon_{\text{phys}} = \int_0^T \langle|\rho|^2\rangle dt`, trapezoidal rule.
        score: :math:`\varepsilon_{\text{score}} = \int_0^T` of the excess, ``None`` where unknown.
        sampling: :math:`N^{-1/2}`.
        error: Largest :math:`E(t)`, ``None`` where the exact solution is unknown.
        constant: :math:`\max_t E(t) / (\varepsilon_{\text{score}} + \varepsilon_{\text{phys}} + N^{-1/2})`, the
            :math:`\mathcal C(T)^2` that this solution needs; measured, no bound.
        constant_without_sampling: The same without :math:`N^{-1/2}`, which is mostly the largest term: the flow is one
            smooth map, and its particles need not be many.
    """

    particles: int
    rows: list[dict[str, Any]]
    physics: float
    score: float | None
    sampling: float
    error: float | None
    constant: float | None
    constant_without_sampling: float | None


@torch.no_grad()
def certify_flow(
    flow: FlowMap, score: TimeScore, problem: Problem, *, particles: int = 2000, times: int = 21, seed: int = 0
) -> FlowCertificate:
    r"""Measure the ingredients of the error bound of a learned flow on fresh particles.

    Args:
        flow: Flow map.
        score: Score trained with it.
        problem: What they were trained for.
        particles: Number of fresh initial particles.
        times: Number of times, both ends of the interval included.
        seed: Seed of the particles.

    Raises:
        ValueError: If a number is too small or the flow is of another dimension.
        ArithmeticError: If the flow is not invertible at a particle, so that its density has no score.

    Reference: arXiv:2603.10874, Theorems 2, 4 and 5; the excess by Hyvärinen's identity (Lemma 2) for the density of
    the flow instead of the exact one, which makes it a number.
    """
    particles = require_integer("particles", particles, minimum=2)
    times = require_integer("times", times, minimum=2)
    if problem.d != flow.d:
        raise InvalidArgument(
            "problem", f"must have d = {flow.d}, that of the flow", f"{problem.name} with {problem.d}"
        )
    if problem.t_start != flow.t_start:
        raise InvalidArgument("problem", f"must start at t = {flow.t_start:g}, as the flow", f"{problem.t_start:g}")
    fitting, found = ((each.d, each.t_start, each.t_end) for each in (flow, score))
    if found != fitting:
        what = "must have the dimension and the times of the flow, d = {}, t = {:g} to {:g}".format(*fitting)
        raise InvalidArgument("score", what, "d = {}, t = {:g} to {:g}".format(*found))
    like = flow.like
    drift = LandauDrift(problem.gamma, problem.strength)
    v0 = problem.sample(particles, generator=torch.Generator().manual_seed(as_number(seed))).to(like)
    sigma0 = problem.score(v0.double()).to(like) if problem.initial.smooth else None
    grid = torch.linspace(flow.t_start, flow.t_end, times, dtype=torch.float64).tolist()
    rows = [_row(flow, score, problem, drift, v0, sigma0, t) for t in grid]
    width = (flow.t_end - flow.t_start) / (times - 1)

    def integral(key: str) -> float | None:
        values = [row[key] for row in rows]
        if None in values:
            return None
        return width * (sum(values) - 0.5 * (values[0] + values[-1]))

    physics, excess, sampling = integral("physics"), integral("score_excess"), particles**-0.5
    assert physics is not None
    errors = [row["error"] for row in rows if row["error"] is not None]
    error = max(errors) if errors else None
    constants: tuple[float | None, float | None] = (None, None)
    if error is not None and excess is not None:
        constants = error / (physics + excess + sampling), error / (physics + excess)
    return FlowCertificate(particles, rows, physics, excess, sampling, error, *constants)


def _row(
    flow: FlowMap,
    score: TimeScore,
    problem: Problem,
    drift: LandauDrift,
    v0: Tensor,
    sigma0: Tensor | None,
    t: float,
) -> dict[str, Any]:
    at = v0.new_tensor([t])
    here = collocate(flow, score, drift, v0, at)
    v, s = here.v[0], here.s[0]
    start = float(energy(v0))
    row: dict[str, Any] = {
        "t": t,
        "physics": float(here.physics),
        "implicit": float(here.implicit),
        "score_excess": None,
        "tracked_fisher": None,
        "energy_drift": (float(energy(v)) - start) / start,
        "error": None,
        "rel_trajectory_error": None,
        "score_error": None,
    }
    if sigma0 is not None:
        sigma, _ = push_score(lambda x: flow.value_and_jacobian(x, at[0])[1], v0, sigma0)
        excess = (s - sigma).square().sum(1).mean()
        row["score_excess"] = float(excess)
        row["tracked_fisher"] = float(excess / sigma.square().sum(1).mean())
    exact = problem.characteristics(v0.double(), t)
    if exact is not None:
        row["error"] = float((v - exact).square().sum(1).mean())
        row["rel_trajectory_error"] = float(relative_trajectory_error(v.double(), exact))
        truth = problem.score(exact, t)
        row["score_error"] = float((score(exact.to(v), at[0]) - truth).square().sum(1).mean())
    return row
