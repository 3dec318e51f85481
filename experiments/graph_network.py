"""What a graph network buys as a score, and what it costs: bkw_2d with 4,000 particles, beside the other scores.

    python experiments/graph_network.py            # about 15 minutes on 2 cores, most of them for the network
    python experiments/graph_network.py --smoke

Relative Fisher divergence over t in [1, 5], and the seconds of one time step (score and drift), measured one after
the other in this process. Run folders go to runs/graph_network, the table to benchmarks/results/graph_network.csv.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import time
from pathlib import Path

import numpy as np
import torch

from graphlandau.base.state import particle_state
from graphlandau.base.tables import aligned, write_csv
from graphlandau.cli.arguments import read_arguments
from graphlandau.cli.config import compose
from graphlandau.cli.sweep import run_sweep
from graphlandau.nn.pairs import expected_calls
from graphlandau.plotting import RunRecord

BASE = "--baselines false --snapshots 2 --checkpoint_every 100 --figures false"
PLAIN = "--problem bkw_2d --particles 4000 --t_end 5 --dt 0.01 --method sbtm --log_det none"
RUNS = {
    "gnn (radius 0.5)": "--config graph_network",
    "residual": f"{PLAIN} --score residual",
    "residual, nothing held out": f"{PLAIN} --score residual --method.hold_out false",
    "closed_form": f"{PLAIN} --score closed_form",
    "gaussian": f"{PLAIN} --score gaussian",
}
TIMED_STEPS = 10


def seconds_per_step(arguments: list[str]) -> float:
    """Return the median time of a step; the first, which may compile, is not counted."""
    run = compose(read_arguments(arguments)).simulation()
    v = run.problem.sample(run.particles, generator=torch.Generator().manual_seed(run.seed))
    state = particle_state(v.to(run.dtype), t=run.problem.t_start)
    with expected_calls(500):
        state = run.method.initialise(state, run.problem)
        times = []
        for _ in range(TIMED_STEPS + 1):
            began = time.perf_counter()
            state = run.method.advance(state, run.method.evaluate(state), run.dt)
            times.append(time.perf_counter() - began)
    return statistics.median(times[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="a few particles and steps")
    parser.add_argument("--runs", type=Path, default=Path("runs/graph_network"), help="folder of the run folders")
    parser.add_argument("--table", type=Path, default=Path("benchmarks/results/graph_network.csv"))
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")

    smoke = " --particles 200 --t_end 1.1 --dt 0.1" if options.smoke else ""
    commands = {name: f"{arguments} {BASE}{smoke}" for name, arguments in RUNS.items()}
    folders = {name: name.split(" (")[0].replace(", ", "-").replace(" ", "_") for name in RUNS}
    found = run_sweep({folders[name]: command.split() for name, command in commands.items()}, options.runs)
    rows = []
    for (name, command), run in zip(commands.items(), found, strict=True):
        if run["status"] != "done":
            raise SystemExit(f"{name}: {run['error']}")
        t, error = RunRecord(run["folder"]).series("rel_fisher_divergence") or (np.zeros(0), np.zeros(0))
        late = error[t >= 1]
        numbers = {"mean": late.mean(), "largest": late.max(), "seconds_per_step": seconds_per_step(command.split())}
        rows.append(
            {"score": name, **{k: f"{x:.3g}" for k, x in numbers.items()}, "command": f"graphlandau run {command}"}
        )
    if not options.smoke:
        write_csv(options.table, rows)
    print(aligned([{k: x for k, x in row.items() if k != "command"} for row in rows]))


if __name__ == "__main__":
    main()
