r"""What PINN-PM (arXiv:2603.10874) leaves open, one choice at a time: BKW in 2D with 1,500 or 5,000 gradient steps.

How the initial condition of the flow is imposed; whether the score's loss is differentiated through the flow, and the
physics loss through its drift, as printed; and what the network of the score adds to. Errors are of 10,000 particles
that are the same for all (protocol P1), ``largest`` over 26 times. In the table ``initial_condition`` is :math:`\langle
|\Phi(v_0, t_0) - v_0|^2 \rangle` and ``physics`` the last mean physics loss of the training.

    python experiments/pinn_pm/ablation.py
    python experiments/pinn_pm/ablation.py --smoke
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import torch
from drawing import TITLES
from matplotlib.figure import Figure
from study import Runs, command_line, problem_runs
from torch import Tensor

from graphlandau.cli.study import number, publish, with_failures
from graphlandau.diagnostics import energy, relative_fisher_divergence, relative_trajectory_error
from graphlandau.methods import TrainedFlow
from graphlandau.nn.flow import FlowMap
from graphlandau.plotting.comparison import PANELS
from graphlandau.plotting.style import case_lines, legend_below, time_axis, widen_decades
from graphlandau.problems import BKW

PROBLEM, CASE = "bkw_2d", "pinn_particle"
CASES: dict[str, list[str]] = {
    "default": [],
    "initial_penalty": ["--method.initial", "penalty"],
    "score_moves_flow": ["--method.score_moves_flow", "true"],
    "drift_followed": ["--method.drift_is_target", "false"],
    "as_printed": ["--method.score_moves_flow", "true", "--method.drift_is_target", "false"],
    "no_base": ["--method.base", "none"],
    "default_long": [],
    "initial_penalty_long": ["--method.initial", "penalty"],
}
NAMES = {
    "default": "default",
    "initial_penalty": "initial condition by a penalty",
    "score_moves_flow": "score's loss through the flow",
    "drift_followed": "physics loss through the drift",
    "as_printed": "both, as printed",
    "no_base": "score without Maxwellian base",
    "default_long": "default, 5,000 steps",
    "initial_penalty_long": "initial condition by a penalty, 5,000 steps",
}
SHORT = [case for case in CASES if not case.endswith("_long")]
LINES = case_lines(SHORT, (3.2, 2.6, 2.2, 1.8, 1.4, 1.1))
LINES |= {f"{case}_long": LINES[case] | {"linestyle": "--"} for case in SHORT if f"{case}_long" in CASES}
ITERATIONS = ["--method.iterations", "1500"]
PARTICLES, TIMES = 10_000, 26
SHOWN = ("rel_trajectory_error", "rel_fisher_divergence")


def runs(folder: Path, smoke: bool) -> Runs:
    """A training and its flow for each choice."""
    base = problem_runs(PROBLEM, [CASE], folder, smoke)[CASE]
    short = [] if smoke else ITERATIONS
    return {case: [*base, *(short if case in SHORT else []), *given] for case, given in CASES.items()}


def last_row(training: Path) -> dict[str, str]:
    """Return the last row of the losses of a training, nothing where there is none."""
    file = training / "losses.csv"
    if not file.exists():
        return {}
    with file.open(newline="") as lines:
        return list(csv.DictReader(lines))[-1]


@torch.no_grad()
def measure(pair: TrainedFlow, exact: dict[float, Tensor]) -> dict[str, np.ndarray]:
    """Return the errors of a trained pair over time; ``exact`` are the same particles at each."""
    v0, problem, rows = next(iter(exact.values())), BKW(d=2), []
    start = energy(v0)
    for t, there in exact.items():
        v = pair.flow.at(v0.to(next(pair.flow.parameters())), t)
        x, s = v.double(), pair.score.at(t)(v).double()
        numbers = {
            "rel_trajectory_error": relative_trajectory_error(x, there),
            "rel_fisher_divergence": relative_fisher_divergence(s, problem.score(x, t)),
            "energy_rel_drift": (energy(x) - start).abs() / start,
            "distance": (x - there).square().sum(1).mean(),
        }
        rows.append({"t": t, **{key: float(value) for key, value in numbers.items()}})
    return {key: np.array([row[key] for row in rows]) for key in rows[0]}


def characteristics(flow: FlowMap) -> dict[float, Tensor]:
    """Return particles at the times of a flow, moved by the exact drift."""
    problem = BKW(d=2)
    # Rounded as the networks see them, so that an exact initial condition is exact.
    v0 = problem.sample(PARTICLES, generator=torch.Generator().manual_seed(0)).to(next(flow.parameters())).double()
    times = np.linspace(flow.t_start, flow.t_end, TIMES).tolist()
    return {t: x for t in times if (x := problem.characteristics(v0, t)) is not None}


def table_row(errors: dict[str, np.ndarray]) -> dict[str, float]:
    """Return what the table says of them."""
    rfd = errors["rel_fisher_divergence"]
    return {
        "trajectory_error_largest": errors["rel_trajectory_error"].max(),
        "rfd_largest": rfd.max(),
        "rfd_end": rfd[-1],
        "energy_drift_largest": errors["energy_rel_drift"].max(),
        "initial_condition": errors["distance"][0],
    }


def draw(found: dict[str, dict[str, np.ndarray]]) -> Figure:
    """A panel for the trajectories, one for the score."""
    fig = Figure(figsize=(11, 5.4), layout="constrained")
    for ax, key in zip(fig.subplots(1, len(SHOWN)), SHOWN, strict=True):
        for case, errors in found.items():
            # The start is exact to rounding, or exactly so: nothing that a logarithmic axis could show.
            seen = errors[key] > 1e-12
            ax.plot(errors["t"][seen], errors[key][seen], label=NAMES[case], **LINES[case])
        t = next(iter(found.values()))["t"]
        time_axis(ax, (t[0], t[-1]), PANELS[key].y, PANELS[key].title)
        widen_decades(ax)
    legend_below(fig, 3)
    title = f"{TITLES[PROBLEM]}: {PARTICLES:,} particles of flows trained for 1,500 steps, dashed 5,000"
    fig.suptitle(title, x=0.01, ha="left")
    return fig


def main() -> None:
    options = command_line(__doc__, __file__, "ablation")
    _, failures = with_failures(runs(options.runs, options.smoke), options)
    found: dict[str, dict[str, np.ndarray]] = {}
    exact: dict[float, Tensor] = {}
    rows = []
    for case in CASES:
        training = options.runs / case / "training"
        last, trained = last_row(training), training / "trained.safetensors"
        numbers: dict[str, float] = {}
        if trained.exists():
            pair = TrainedFlow.load(trained)
            exact = exact or characteristics(pair.flow)
            found[case] = measure(pair, exact)
            numbers = table_row(found[case])
        numbers |= {"physics": float(last["physics"])} if last else {}
        steps = last.get("iteration")
        rows.append(
            {
                "run": case,
                "iterations": steps,
                "status": failures.get(case, "done"),
                **{k: number(x) for k, x in numbers.items()},
            }
        )
    publish(options, "ablation", rows, lambda: draw(found))


if __name__ == "__main__":
    main()
