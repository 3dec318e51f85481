r"""Figure 9 of arXiv:2603.23901: two beams in their own field, the square of the field for few and many collisions.

With consistent numbers (see ``vpfp_1d1v``): :math:`\epsilon = 0.005` with steps of 0.02, and :math:`\epsilon = 10` with
the exact determinant and steps of 0.001 to 0.05, with its trace and steps of 0.001. Langevin particles of the same
number (three seeds, the band is from the least to the greatest) are the reference. With many collisions the linear
theory about the equilibrium has one slow root, drawn dashed.

    python experiments/kinetic_jko/figures.py 9
    python experiments/kinetic_jko/figures.py 9 --smoke
"""

from __future__ import annotations

import numpy as np
from beams import EPSILONS, NAMES, beam_runs, collision_rate, field_row, langevin_mean, seeds
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from study import Records, command_line

from graphlandau.cli.study import number, publish, series
from graphlandau.plotting.style import EXACT, PALETTE, legend, time_axis, widen_decades

SHOWN = {
    "weak": ("features", "affine"),
    "strong": (
        "features",
        "features-0.02",
        "features-0.05",
        "affine",
        "trace-0.001",
        "features-0.001",
        "features-0.005",
    ),
}
DASHES = ("-", (0, (5, 1.5)), (0, (1, 1)), "-.", (0, (3, 1, 1, 1)), ":")
TIMES = (0.2, 0.8, 2, 4)
# When many collisions have made the velocities normal.
RELAXED = 1.0


def strong_slope(t: np.ndarray, e2: np.ndarray) -> float:
    """Rate of the amplitude once velocities are normal."""
    late = t >= RELAXED
    return float(np.polyfit(t[late], np.log(e2[late]), 1)[0] / 2) if late.sum() > 2 else float("nan")


def draw_panel(ax: Axes, found: Records, kind: str) -> None:
    """Draw the square of the field of all runs and the band of the reference."""
    t, many = langevin_mean(found, "e2")
    ax.fill_between(
        t, many.min(0), many.max(0), color="0.6", alpha=0.6, linewidth=0, label=f"{len(many)} Langevin runs"
    )
    # The last one would hide another; it is in the table.
    shown = [case for case in SHOWN[kind][: len(PALETTE)] if case in found]
    for case, colour, dashes in zip(shown, PALETTE, DASHES, strict=False):
        run = found[case]
        label = NAMES[case] + ("" if "-" in case else rf", $\Delta t = {run.config['dt']:g}$")
        ax.plot(*series(run, "e2"), color=colour, linestyle=dashes, label=label, linewidth=1.6)
    time_axis(ax, (0, t[-1]), r"$\int |E|^2 \, dx$", rf"$\epsilon = {EPSILONS[kind]:g}$")
    widen_decades(ax)
    if kind == "strong" and t[-1] > RELAXED:
        rate, late = collision_rate(found[shown[0]].problem.k, EPSILONS[kind]).real, t >= RELAXED
        level = many.mean(0)[late][0]
        line = level * np.exp(2 * rate * (t[late] - t[late][0]))
        ax.plot(t[late], line, label=f"linear theory: rate {rate:.4f}".replace("-", "\N{MINUS SIGN}"), **EXACT)
    legend(ax, loc="lower right" if kind == "weak" else "lower left", fontsize=8)


def main() -> None:
    options = command_line(__doc__, __file__, "vpfp_1d1v")
    shown = {"strong": SHOWN["strong"][:1]} if options.smoke else SHOWN
    found = {kind: beam_runs(1, kind, options, [*cases, *seeds(options)]) for kind, cases in shown.items()}
    rows = []
    for kind, some in found.items():
        theory = collision_rate(next(iter(some.values())).problem.k, EPSILONS[kind]).real
        for case, run in some.items():
            row = {"epsilon": EPSILONS[kind], "run": case, **field_row(run, some, TIMES)}
            slope = strong_slope(*series(run, "e2")) if kind == "strong" else float("nan")
            row |= {"rate": None if np.isnan(slope) else number(slope)}
            rows.append(row | {"rate_theory": number(theory) if kind == "strong" else None})
    columns = max(rows, key=len)
    rows = [{key: row.get(key) for key in columns} for row in rows]

    def draw() -> Figure:
        fig = Figure(figsize=(13, 5), layout="constrained")
        for ax, (kind, some) in zip(fig.subplots(1, len(found), squeeze=False)[0], found.items(), strict=True):
            draw_panel(ax, some, kind)
        particles = next(iter(found.values()))["features"].config["particles"]
        fig.suptitle(f"Two beams in their own field, 1D1V: {particles:,} particles", x=0.01, ha="left")
        return fig

    publish(options, "figure_9", rows, draw)


if __name__ == "__main__":
    main()
