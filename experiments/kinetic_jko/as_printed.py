r"""Section 4.2 of arXiv:2603.23901 with its numbers as they are printed, for the record: the square of the field.

A box of :math:`8 \pi` on which the wave is not periodic, mass 1, beams at :math:`\pm 0.3`, steps of 0.01, the control
at the old place, the trace of its Jacobian: with closed-form features, and with the paper's recipe, a network of 2 x 32
and 50 Adam iterations at 1e-3 from scratch at every step (here on 2,048 particles each, tanh). Langevin particles
beside them. A run whose step folds velocity space ends there; the table says why.

    python experiments/kinetic_jko/figures.py as_printed
    python experiments/kinetic_jko/figures.py as_printed --smoke
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from study import LANGEVIN, Records, command_line, runs_of

from graphlandau.cli.study import number, publish, series, with_failures
from graphlandau.plotting.style import PALETTE, legend, time_axis, widen_decades

CONFIG = "vpfp_1d1v_as_printed"
EPSILONS = (0.005, 10.0)
NETWORK = ["--control", "mlp", "--control.width", "32", "--control.depth", "2", "--control.activation", "tanh"]
ADAM = ["--method.steps", "50", "--method.initial_steps", "50", "--method.warm_start", "false"]
CASES = {"features": [], "recipe": [*NETWORK, *ADAM], "langevin": LANGEVIN}
NAMES = {"features": "PIC-JKO, features", "recipe": "PIC-JKO, the paper's recipe", "langevin": "Langevin"}
LINES: dict[str, dict[str, Any]] = {
    "features": {"color": PALETTE[0], "linewidth": 2},
    "recipe": {"color": PALETTE[1], "linewidth": 1.5},
    "langevin": {"color": "0.65", "linewidth": 4, "zorder": 1},
}
# Fewer than the printed 50,000, to save time.
PARTICLES = ["--particles", "20000", "--checkpoint_every", "200", "--snapshots", "5"]
TRIAL = ["--particles", "500", "--t_end", "0.05"]


def draw(found: dict[float, Records]) -> Figure:
    """A panel for each collision frequency."""
    fig = Figure(figsize=(12.5, 4.9), layout="constrained")
    for ax, (epsilon, runs) in zip(fig.subplots(1, len(found), squeeze=False)[0], found.items(), strict=True):
        for case, run in runs.items():
            t, e2 = series(run, "e2")
            ended = t[-1] < run.config["t_end"] - 1e-6
            label = NAMES[case] + (f": folds at $t = {t[-1]:g}$" if ended else "")
            ax.plot(t, e2, label=label, marker="x" if len(t) == 1 else "", markersize=9, **LINES[case])
        span = (0.0, max(float(series(run, "e2")[0][-1]) for run in runs.values()))
        time_axis(ax, span, r"$\int |E|^2 \, dx$", rf"$\epsilon = {epsilon:g}$")
        widen_decades(ax)
        legend(ax)
    particles = next(iter(found[EPSILONS[0]].values())).config["particles"]
    fig.suptitle(f"Two beams in their own field, numbers as printed: {particles:,} particles", x=0.01, ha="left")
    return fig


def main() -> None:
    options = command_line(__doc__, __file__)
    cases = {case: CASES[case] for case in (("features", "langevin") if options.smoke else CASES)}
    found: dict[float, Records] = {}
    rows = []
    for epsilon in EPSILONS[:1] if options.smoke else EPSILONS:
        runs = runs_of(CONFIG, cases, options, TRIAL, *PARTICLES, "--problem.epsilon", f"{epsilon:g}")
        some, errors = with_failures({f"{epsilon:g}-{case}": arguments for case, arguments in runs.items()}, options)
        found[epsilon] = {name.partition("-")[2]: run for name, run in some.items()}
        for case, run in found[epsilon].items():
            (t, e2), kinetic = series(run, "e2"), series(run, "kinetic")[1]
            numbers = {"t": t[-1], "e2_start": e2[0], "e2_largest": e2.max(), "t_of_largest": t[e2.argmax()]}
            numbers |= {"e2(2)": np.interp(2, t, e2) if t[-1] >= 2 else None, "e2_end": e2[-1]}
            numbers |= {"v^2_start": 2 * kinetic[0], "v^2_end": 2 * kinetic[-1]}
            shown = {key: number(None if value is None else float(value)) for key, value in numbers.items()}
            status = errors.get(f"{epsilon:g}-{case}", "done")
            rows.append({"epsilon": epsilon, "run": case, **shown, "status": status})
    publish(options, "as_printed", rows, lambda: draw(found))


if __name__ == "__main__":
    main()
