"""Figure 5.1 of Ilin, Hu and Wang 2025: the learning rate, and training for as long as it pays.

BKW in 3D, two learning rates, 25 gradient steps per time step or as many as lower the implicit loss. The horizontal
axis counts gradient steps; at every time step the losses are shown before and after training.

    python experiments/sbtm_landau/figures.py 5.1
    python experiments/sbtm_landau/figures.py 5.1 --smoke
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure

from graphlandau import objectives
from graphlandau.base.tables import write_csv
from graphlandau.cli.config import compose
from graphlandau.cli.study import publish, read_command_line
from graphlandau.methods import SBTM
from graphlandau.run.observers import Observer
from graphlandau.run.simulation import Simulation

RATES = (4e-4, 1e-4)
RULES = {"fixed": ["--method.steps", "25"], "adaptive": ["--method.training", "adaptive", "--method.steps", "5"]}
LOSSES = {
    "score": ("relative Fisher divergence", "black"),
    "implicit": ("implicit loss, relative to the exact score", "#E69F00"),
    "denoising": ("denoising loss, relative to the exact score", "#0072B2"),
}


class TrainingLosses(Observer):
    """The losses of the model at every time step, before and after it is trained."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def before_evaluate(self, run: Simulation) -> None:
        self._measure(run)

    def after_evaluate(self, run: Simulation) -> None:
        self._measure(run)

    @torch.no_grad()
    def _measure(self, run: Simulation) -> None:
        method, state = run.method, run.state
        assert isinstance(method, SBTM)
        exact = run.problem.score(state.v, run.t).to(state.v)
        square = float(exact.square().sum(1).mean())
        probes = torch.Generator().manual_seed(0)
        # The losses themselves end at minus the mean square of the exact score, which changes with time.
        self.rows.append(
            {
                "t": run.t,
                **method.record(),
                "score": float(objectives.explicit(method.model, state, exact)),
                "implicit": float(objectives.implicit(method.model, state)) / square + 1,
                "denoising": float(objectives.denoising(method.model, state, method.alpha, generator=probes)) / square
                + 1,
            }
        )


def trace(name: str, rule: list[str], rate: float, particles: int, smoke: bool, folder: Path) -> list[dict[str, Any]]:
    """Run once, or read what an earlier call of the script has left."""
    file = folder / f"{name}.csv"
    if not file.exists():
        given = {"config": ["sbtm_landau/figure_5_1"], "particles": [str(particles)], "threads": ["1"]}
        given["method.learning_rate"] = [str(rate)]
        given |= {key.removeprefix("--"): [value] for key, value in zip(rule[::2], rule[1::2], strict=True)}
        if smoke:
            given |= {"t_end": ["5.6"], "method.initial_steps": ["100"]}
        losses = TrainingLosses()
        compose(given).simulation(progress=True, observers=[losses]).run()
        folder.mkdir(parents=True, exist_ok=True)
        write_csv(file, losses.rows)
    with file.open(newline="") as lines:
        return [{key: float(x) for key, x in row.items()} for row in csv.DictReader(lines)]


def draw(traces: dict[str, list[dict[str, Any]]]) -> Figure:
    """A panel for each run, with the same axes."""
    fig = Figure(figsize=(13, 7.5), layout="constrained")
    panels = fig.subplots(2, 2, sharey=True)
    for ax, (name, rows) in zip(panels.flat, traces.items(), strict=True):
        start = rows[0]["gradient_steps"]
        steps = [row["gradient_steps"] - start for row in rows]
        for key, (label, colour) in LOSSES.items():
            ax.plot(steps, [row[key] for row in rows], label=label, color=colour, linewidth=1.0)
        ax.set_title(f"{name}: {steps[-1]:,.0f} gradient steps, at the end {rows[-1]['score']:.3f}")
        ax.set_xlabel("gradient steps")
        # Not a logarithm alone: the implicit losses of a sample may be below that of the exact score.
        ax.set_yscale("symlog", linthresh=1e-2)
    fig.legend(*panels.flat[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    fig.suptitle("BKW in 3D, t = 5.5 to 7.5, the paper's network and training", x=0.01, ha="left")
    return fig


def main() -> None:
    options = read_command_line(__doc__, __file__, [2000], [200])
    traces = {
        f"{rule}, rate {rate:g}": trace(f"{rule}-{rate:g}", given, rate, options.sizes[0], options.smoke, options.runs)
        for rule, given in RULES.items()
        for rate in RATES
    }
    rows = []
    for name, found in traces.items():
        after = [row["score"] for row in found[1::2]]
        taken = found[-1]["gradient_steps"] - found[1]["gradient_steps"]
        mean, last = sum(after) / len(after), after[-1]
        rows.append(
            {"run": name, "gradient_steps": f"{taken:.0f}", "mean_score_error": f"{mean:.4g}", "at_end": f"{last:.4g}"}
        )
    publish(options, "figure_5_1", rows, lambda: draw(traces))


if __name__ == "__main__":
    main()
