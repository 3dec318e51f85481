"""Figure 6 of Huang and Wang, arXiv:2409.12296: two Maxwellians in 2D, Coulomb, slices of JKO and blob.

python experiments/jko_landau/figures.py 6
python experiments/jko_landau/figures.py 6 --smoke
"""

from __future__ import annotations

from matplotlib.figure import Figure
from study import LINES, NAMES, Records, command_line, example, heading

from graphlandau.cli.study import number, publish, snapshots_at
from graphlandau.diagnostics import relative_l2_error
from graphlandau.plotting.density import axis_points, axis_slice
from graphlandau.plotting.style import legend_below, velocity_axis

EXAMPLE, SHOWN = "bimaxwellian_2d", ("network", "blob")
SHARES = (0.0, 0.125, 0.25)  # t = 0, 20 and 40
SLICES = ("$f(v_1, 0)$", "$f(0, v_2)$")
HALF_WIDTH = 7.0


def draw(found: Records) -> Figure:
    """A row for each axis, a column for each time."""
    fig = Figure(figsize=(13, 7.2), layout="constrained")
    grid = fig.subplots(len(SLICES), len(SHARES), sharey="row")
    for case, run in found.items():
        for k, snapshot in enumerate(snapshots_at(run, SHARES)):
            for a, name in enumerate(SLICES):
                f = axis_slice(run, snapshot.v, a)
                grid[a, k].plot(axis_points(run), f, label=NAMES[case], **LINES[case])
                velocity_axis(grid[a, k], HALF_WIDTH, a, "" if k else name, f"$t = {snapshot.t:.4g}$")
    for ax in grid[:, 0]:
        ax.set_ylim(bottom=0)
    legend_below(fig)
    width = next(iter(found.values())).problem.bandwidth
    fig.suptitle(f"{heading('Two Maxwellians in 2D, Coulomb', found)}, kernel width {width:g}", x=0.01, ha="left")
    return fig


def main() -> None:
    options = command_line(__doc__, __file__, EXAMPLE)
    found = example(EXAMPLE, SHOWN, options)
    rows = []
    pairs = zip(*(snapshots_at(found[case], SHARES) for case in SHOWN), strict=True)
    for ours, theirs in pairs:
        for a, name in enumerate(("f(v_1, 0)", "f(0, v_2)")):
            f, g = axis_slice(found["network"], ours.v, a), axis_slice(found["blob"], theirs.v, a)
            row = {"t": f"{ours.t:g}", "slice": name, "difference": number(float(relative_l2_error(f, g)))}
            rows.append(row | {"peak_network": number(float(f.max())), "peak_blob": number(float(g.max()))})
    publish(options, "figure_6", rows, lambda: draw(found))


if __name__ == "__main__":
    main()
