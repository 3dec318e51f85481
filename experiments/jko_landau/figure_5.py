"""Figure 5 of Huang and Wang, arXiv:2409.12296: BKW in 3D, slices of the kernel density estimate against the exact one.

The exact density smoothed by the same kernel tells the width of the kernel from an error of the run.

    python experiments/jko_landau/figures.py 5
    python experiments/jko_landau/figures.py 5 --smoke
"""

from __future__ import annotations

from matplotlib.figure import Figure
from study import LINES, NAMES, command_line, example, heading

from graphlandau.cli.study import number, publish, snapshots_at
from graphlandau.diagnostics import relative_l2_error
from graphlandau.plotting.density import axis_points, axis_slice
from graphlandau.plotting.exact import slice_along, smoothed_slice
from graphlandau.plotting.style import EXACT, SMOOTHED, legend_below, velocity_axis

EXAMPLE, SHOWN = "bkw_3d", ("network", "closed_form")
SHARES = (0.0, 0.5, 1.0)  # t = 5.5, 5.75 and 6


def main() -> None:
    options = command_line(__doc__, __file__, EXAMPLE)
    found = example(EXAMPLE, SHOWN, options)
    some = next(iter(found.values()))
    rows, x, h = [], axis_points(some), some.problem.bandwidth
    times = [snapshot.t for snapshot in snapshots_at(some, SHARES)]
    densities = [density for t in times if (density := some.problem.density(t)) is not None]
    exact = [slice_along(density, x, 0) for density in densities]
    smoothed = [smoothed_slice(density, x, 0, h) for density in densities]
    slices = {case: [axis_slice(run, s.v) for s in snapshots_at(run, SHARES)] for case, run in found.items()}
    for case, curves in slices.items():
        for t, f, truth, smooth in zip(times, curves, exact, smoothed, strict=True):
            errors = {"error": relative_l2_error(f, truth), "error_smoothed": relative_l2_error(f, smooth)}
            rows.append({"run": case, "t": f"{t:g}", **{key: number(float(e)) for key, e in errors.items()}})

    def draw() -> Figure:
        fig = Figure(figsize=(13, 4.6), layout="constrained")
        axes = fig.subplots(1, len(times), sharey=True)
        for k, ax in enumerate(axes):
            for case, curves in slices.items():
                ax.plot(x, curves[k], label=NAMES[case], **LINES[case])
            ax.plot(x, smoothed[k], **SMOOTHED, label=f"exact, smoothed (width {h:g})")
            ax.plot(x, exact[k], **EXACT, label="exact")
            velocity_axis(ax, some.half_width, 0, "$f(v_1, 0, 0)$" if ax is axes[0] else "", f"$t = {times[k]:.4g}$")
        axes[0].set_ylim(bottom=0)
        legend_below(fig)
        fig.suptitle(heading("BKW in 3D", found), x=0.01, ha="left")
        return fig

    publish(options, "figure_5", rows, draw)


if __name__ == "__main__":
    main()
