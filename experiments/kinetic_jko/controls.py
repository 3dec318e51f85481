r"""Which controls do what a collision step needs: closed forms, and networks trained from scratch or on from the last.

Two beams with many collisions, :math:`\epsilon = 10`, steps of 0.01, where arXiv:2603.23901 (Section 4.2) trains a
network at each step with 50 Adam iterations at 1e-3. Left, along the run of the closed-form features, whose control is
taken for the one that is needed: at the same particles the share

.. math:: \langle u \cdot u_{\text{needed}} \rangle / \langle |u_{\text{needed}}|^2 \rangle

that each control recovers. Right, what becomes of a run with each: the mean of :math:`v^2`, and the field's square.

    python experiments/kinetic_jko/figures.py controls
    python experiments/kinetic_jko/figures.py controls --smoke
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import torch
from beams import EVERY
from matplotlib.figure import Figure
from study import LANGEVIN, Records, command_line, runs_of
from torch_geometric.data import Data

from graphlandau.cli.arguments import read_arguments
from graphlandau.cli.config import compose
from graphlandau.cli.study import number, publish, records, series
from graphlandau.methods import PICJKO
from graphlandau.plotting.style import PALETTE, time_axis
from graphlandau.problems import KineticProblem

CONFIG = "vpfp_1d1v_strong"
PARTICLES = ["--particles", "10000"]
TRIAL = ["--particles", "500", "--t_end", "0.03", "--snapshots", "2"]
# The paper's layers; all particles in every iteration. Its LeakyReLU has no second derivative to train a Jacobian by.
NETWORK = ["--control", "mlp", "--control.width", "32", "--control.depth", "2", "--control.activation", "tanh"]
ADAM = ["--method.steps", "50", "--method.learning_rate", "1e-3", "--method.minibatch", "null"]
CASES: dict[str, list[str]] = {
    "features": [],
    "affine": ["--control", "affine"],
    "warm": [*NETWORK, *ADAM, "--method.initial_steps", "1000"],
    "warm_50": [*NETWORK, *ADAM, "--method.initial_steps", "50"],
    "scratch": [*NETWORK, *ADAM, "--method.initial_steps", "50", "--method.warm_start", "false"],
}
NAMES = {
    "features": "closed-form features",
    "affine": "affine",
    "warm": "network, 1,000 Adam steps, then 50 from the last",
    "warm_50": "network, 50 Adam steps from the last",
    "scratch": "network, 50 Adam steps from scratch",
    "langevin": "Langevin",
}
LINES: dict[str, dict[str, Any]] = {
    case: {"color": colour, "linewidth": 1.8} for case, colour in zip(CASES, PALETTE, strict=False)
} | {"langevin": {"color": "0.6", "linewidth": 4, "zorder": 1}}
TIME, STEPS = 1.0, 40


def method_of(given: list[str]) -> PICJKO:
    """Build the method of a case."""
    method = compose(read_arguments(given)).simulation().method
    assert isinstance(method, PICJKO)
    return method


def shares(options: argparse.Namespace) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Times of the first steps, and the share of the needed control that each case recovers at each."""
    runs = runs_of(CONFIG, CASES, options, TRIAL, *PARTICLES)
    config = compose(read_arguments(runs["features"]))
    problem, n, dt = config.problem, config.options.particles, config.options.dt
    assert isinstance(problem, KineticProblem)
    assert n is not None
    assert dt is not None
    x, v = problem.sample(n, generator=torch.Generator().manual_seed(0))
    methods = {case: method_of(given) for case, given in runs.items()}
    driver = methods["features"]
    start = Data(pos=x.float(), v=v.float(), t=problem.t_start, num_nodes=n)
    for method in methods.values():
        method.initialise(start.clone(), problem)
    state = driver.initialise(start, problem)
    found: dict[str, list[float]] = {case: [] for case in CASES}
    times = []
    for _ in range(3 if options.smoke else STEPS):
        frame = driver.evaluate(state, dt)
        start = driver.start(state, frame, dt)
        controls = {}
        for case, method in methods.items():
            with torch.no_grad():
                method.fit(method.objective(start, dt), *start.at)
                controls[case] = method.model(*start.at).double()
        needed = controls["features"]
        for case, u in controls.items():
            found[case].append(float((u * needed).sum() / needed.square().sum()))
        with torch.no_grad():
            state = driver.advance(state, frame, dt)
        times.append(float(state.t))
    return np.array(times), {case: np.array(values) for case, values in found.items()}


def draw(times: np.ndarray, share: dict[str, np.ndarray], found: Records) -> Figure:
    """Shares, mean of v^2, square of the field."""
    fig = Figure(figsize=(14.5, 5.4), layout="constrained")
    left, middle, right = fig.subplots(1, 3)
    for case, values in share.items():
        left.plot(times, values, **LINES[case])
    left.axhline(0, color="0.8", linewidth=0.8)
    time_axis(left, (times[0], times[-1]), "share of the needed control", "Recovered at the same particles")
    for case, run in found.items():
        (t, kinetic), mass = series(run, "kinetic"), run.problem.mass
        middle.plot(t, 2 * kinetic / mass, label=NAMES[case], **LINES[case])
        right.plot(*series(run, "e2"), **LINES[case])
    some = next(iter(found.values()))
    time_axis(middle, some.time_span, r"mean of $v^2$", "A run with each")
    time_axis(right, some.time_span, r"$\int |E|^2 \, dx$", "A run with each: square of the field")
    handles, labels = middle.get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside lower center", ncols=3)
    particles = some.config["particles"]
    fig.suptitle(rf"Two beams in their own field, $\epsilon = 10$: {particles:,} particles", x=0.01, ha="left")
    return fig


def main() -> None:
    options = command_line(__doc__, __file__)
    cases = {**CASES, "langevin": [*LANGEVIN, "--dt", "0.005"]}
    if options.smoke:
        cases = {case: cases[case] for case in ("affine", "scratch")}
    time = [] if options.smoke else ["--t_end", f"{TIME:g}"]
    runs = runs_of(CONFIG, cases, options, TRIAL, *PARTICLES, *time, "--snapshots", "3", *EVERY)
    found = records(runs, options)
    times, share = shares(options)
    rows = []
    for case in dict.fromkeys([*share, *found]):
        row: dict[str, Any] = {"control": case}
        values = share.get(case)
        row |= {
            f"share_{name}": None if values is None else number(float(value))
            for name, value in (
                ("first", 0 if values is None else values[0]),
                ("mean", 0 if values is None else values.mean()),
                ("least", 0 if values is None else values.min()),
            )
        }
        run = found.get(case)
        for t in (0.1, 0.3, 1.0):
            for key, factor in (("kinetic", 2.0), ("e2", 1.0)):
                known = run is not None and t <= run.time_span[1] + 1e-9
                value = np.interp(t, *series(run, key)) * factor if run is not None and known else None
                value = value / run.problem.mass if run is not None and known and key == "kinetic" else value
                row[f"{'v^2' if key == 'kinetic' else key}({t:g})"] = number(None if value is None else float(value))
        row["kl_end"] = None
        if run is not None and run.series("kl") is not None:
            row["kl_end"] = number(float(series(run, "kl")[1][-1] / run.problem.mass))
        rows.append(row | {"wall_seconds": None if run is None else number(run.summary["wall_seconds"])})
    publish(options, "controls", rows, lambda: draw(times, share, found))


if __name__ == "__main__":
    main()
