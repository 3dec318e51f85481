"""Figure 3 of Huang and Wang, arXiv:2409.12296: BKW in 2D, relative L2 error of the kernel density estimate over time.

The estimate has an error that is not the method's: the same initial particles moved by the exact score have it, and
fresh samples of the exact density.

    python experiments/jko_landau/figures.py 3
    python experiments/jko_landau/figures.py 3 --smoke
"""

from __future__ import annotations

from matplotlib.figure import Figure
from study import LINES, NAMES, Records, command_line, example, heading

from graphlandau.cli.study import number, publish, series
from graphlandau.plotting.errors import DENSITY_CURVES
from graphlandau.plotting.style import time_axis

EXAMPLE, SHOWN = "bkw_2d", ("network", "closed_form")
BASELINES = ("rel_l2_density_exact_score", "rel_l2_density_fresh")


def draw(found: Records) -> Figure:
    """One panel."""
    fig = Figure(figsize=(8.5, 5), layout="constrained")
    ax = fig.subplots()
    for case, run in found.items():
        ax.plot(*series(run, "rel_l2_density"), label=NAMES[case], **LINES[case])
    some = next(iter(found.values()))
    for key in BASELINES:
        label, style = DENSITY_CURVES[key]
        ax.plot(*series(some, key), label=label, **style)
    time_axis(ax, some.time_span, r"$\| f_h - f_* \| \, / \, \| f_* \|$")
    ax.set_ylim(0, 1.35 * ax.get_ylim()[1])
    ax.legend(loc="upper right", ncols=2)
    name = heading("BKW in 2D", found)
    fig.suptitle(f"{name}: error of the density, kernel width {some.problem.bandwidth:g}", x=0.01, ha="left")
    return fig


def main() -> None:
    options = command_line(__doc__, __file__, EXAMPLE)
    found = example(EXAMPLE, SHOWN, options)
    rows = []
    for case, run in found.items():
        for key in ("rel_l2_density", *BASELINES):
            values = series(run, key)[1]
            numbers = {"at_start": values[0], "mean": values.mean(), "at_end": values[-1]}
            rows.append({"run": case, "error": key, **{name: number(float(x)) for name, x in numbers.items()}})
    publish(options, "figure_3", rows, lambda: draw(found))


if __name__ == "__main__":
    main()
