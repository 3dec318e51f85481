"""Figure 7 of arXiv:2603.23901, Example 4: two beams in a rippled parabola in 3D, marginals of the positions.

Histograms of the particles at t = 0, 0.5 and 1, of Langevin particles, and the stationary density. The table compares
the means of cos(2 pi x_a) and of v_a^2 with those of the Langevin particles and of the stationary density.

    python experiments/kinetic_jko/figures.py 7
    python experiments/kinetic_jko/figures.py 7 --smoke
"""

from __future__ import annotations

import math

import torch
from drawing import at_times, draw_line, heading, stationary_mean
from matplotlib.figure import Figure
from study import CONFIG_3D, Records, command_line, double_well_3d

from graphlandau.cli.study import number, publish
from graphlandau.plotting.style import legend_below

TIMES = (0, 0.5, 1)
TABLE = (0, 0.5, 1, 2, 5)


def draw(found: Records) -> Figure:
    """A row for each time, a column for each position."""
    fig = Figure(figsize=(13, 8.6), layout="constrained")
    for axes, k in zip(fig.subplots(3, 3, sharex=True, sharey=True), range(3), strict=True):
        snapshots = {case: at_times(run, [*TIMES, TABLE[-1]])[k] for case, run in found.items()}
        for a, ax in enumerate(axes):
            draw_line(ax, found, snapshots, a)
            ax.set_title(f"$t = {next(iter(snapshots.values())).t:g}$" if a == 0 else "")
            ax.set_xlabel(ax.get_xlabel() if k == 2 else "")
            ax.set(xlim=(-4, 4))
    legend_below(fig)
    fig.suptitle(heading("Two beams in a rippled parabola in 3D", found), x=0.01, ha="left")
    return fig


def main() -> None:
    options = command_line(__doc__, __file__, CONFIG_3D)
    found = double_well_3d(options)
    rows = []
    taken = {case: at_times(run, TABLE) for case, run in found.items()}
    some = next(iter(found.values()))
    waves, square = stationary_mean(some, lambda x, _: torch.cos(2 * math.pi * x)), 1.0
    for k in range(len(TABLE)):
        for a in range(3):
            for name, exact in (("cos(2 pi x)", waves), ("v^2", square)):
                row = {"t": f"{next(iter(taken.values()))[k].t:g}", "direction": a + 1, "mean_of": name}
                row["stationary"] = number(exact)
                for case, snapshots in taken.items():
                    x, v = snapshots[k].x[:, a], snapshots[k].v[:, a]
                    value = torch.cos(2 * math.pi * x) if name.startswith("cos") else v**2
                    row[case] = number(float(value.mean()))
                    row[f"{case}_stderr"] = number(float(value.std()) / math.sqrt(len(value)))
                rows.append(row)
    publish(options, "figure_7", rows, lambda: draw(found))


if __name__ == "__main__":
    main()
