r"""Figure 9 of Huang and Wang, arXiv:2409.12296: Rosenbluth's problem in 3D, slices of the kernel density estimate.

The density is the printed one, of mass :math:`\rho` = 0.0020: :math:`\rho` times that of the particles.

    python experiments/jko_landau/figures.py 9
    python experiments/jko_landau/figures.py 9 --smoke
"""

from __future__ import annotations

from matplotlib.figure import Figure
from study import command_line, example, heading

from graphlandau.cli.study import number, publish, snapshots_at
from graphlandau.plotting.density import axis_points, axis_slice
from graphlandau.plotting.exact import slice_along, smoothed_slice
from graphlandau.plotting.style import EXACT, SMOOTHED, time_colours, velocity_axis

EXAMPLE, CASE = "rosenbluth_3d", "network"
SHARES = (0.0, 0.5, 1.0)  # t = 0, 10 and 20


def main() -> None:
    options = command_line(__doc__, __file__, EXAMPLE)
    run = example(EXAMPLE, [CASE], options)[CASE]
    snapshots, x, problem = snapshots_at(run, SHARES), axis_points(run), run.problem
    slices = [problem.mass * axis_slice(run, snapshot.v) for snapshot in snapshots]
    rows = []
    for snapshot, f in zip(snapshots, slices, strict=True):
        centre, peak = f[len(f) // 2], f.max()
        numbers = {"at_origin": centre, "peak": peak, "peak_at": x[f.argmax()].abs()}
        rows.append({"t": f"{snapshot.t:g}", **{key: number(float(value)) for key, value in numbers.items()}})

    def draw() -> Figure:
        fig = Figure(figsize=(8.5, 5.2), layout="constrained")
        ax = fig.subplots()
        for snapshot, f, colour in zip(snapshots, slices, time_colours(len(slices)), strict=True):
            ax.plot(x, f, color=colour, label=f"$t = {snapshot.t:.4g}$")
        initial, t = problem.initial, problem.t_start
        smoothed = problem.mass * smoothed_slice(initial, x, 0, problem.bandwidth)
        ax.plot(x, smoothed, **SMOOTHED, label=f"exact, $t = {t:g}$, smoothed (width {problem.bandwidth:g})")
        ax.plot(x, problem.mass * slice_along(initial, x, 0), **EXACT, label=f"exact, $t = {t:g}$")
        velocity_axis(ax, run.half_width, 0, r"$\rho f(v_1, 0, 0)$, of mass $\rho$")
        ax.set_ylim(0, 1.35 * ax.get_ylim()[1])
        ax.legend(loc="upper center", ncols=2)
        name = heading("Rosenbluth's problem in 3D, Coulomb, residual network", {CASE: run})
        fig.suptitle(name, x=0.01, ha="left")
        return fig

    publish(options, "figure_9", rows, draw)


if __name__ == "__main__":
    main()
