"""Figure 10 of arXiv:2603.23901: two beams in their own field, phase space for few and for many collisions.

With consistent numbers; few collisions until the vortex, t = 20, with steps of 0.04, there also with four harmonics of
the box in the control instead of one, which is animated (``figure_10.gif``). Langevin particles beside them. The table
has the square of the field and the mean of v^2 at the times of the panels.

    python experiments/kinetic_jko/figures.py 10
    python experiments/kinetic_jko/figures.py 10 --smoke
"""

from __future__ import annotations

import math

import numpy as np
from beams import EPSILONS, NAMES, beam_runs
from drawing import at_times, heading, phase_figure
from study import command_line

from graphlandau.cli.study import number, publish, series
from graphlandau.plotting.animation import animate_phase_space

TIMES = {"weak": (0, 0.2, 0.6, 4, 20), "strong": (0, 0.2, 0.6, 4)}
CASES = {"weak": ("long", "long-4", "long-langevin"), "strong": ("features", "langevin-0")}


def main() -> None:
    options = command_line(__doc__, __file__, "vpfp_1d1v")
    cases = {"weak": ("long", "long-langevin")} if options.smoke else CASES
    found, times, names, rows = {}, {}, {}, []
    for kind, some in cases.items():
        for case, run in beam_runs(1, kind, options, some).items():
            key = f"{kind}-{case}"
            found[key], times[key] = run, TIMES[kind]
            names[key] = rf"$\epsilon = {EPSILONS[kind]:g}$: {NAMES[case.removesuffix('-0')]}"
            t, e2 = series(run, "e2")
            for snapshot in at_times(run, TIMES[kind]):
                square = snapshot.v[:, 0].square()
                error = float(square.std()) / math.sqrt(len(square))
                numbers = {"e2": float(np.interp(snapshot.t, t, e2)), "v^2": float(square.mean()), "v^2_stderr": error}
                row = {"epsilon": EPSILONS[kind], "run": case, "t": f"{snapshot.t:g}"}
                rows.append(row | {name: number(value) for name, value in numbers.items()})
    title = heading("Two beams in their own field, 1D1V", found)
    publish(options, "figure_10", rows, lambda: phase_figure(found, times, title, names))
    print(animate_phase_space(found.get("weak-long-4", found["weak-long"]), options.out / "figure_10.gif"))


if __name__ == "__main__":
    main()
