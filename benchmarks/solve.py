"""Time to reach a given error: every method on three problems, several numbers of particles and time steps.

    OMP_NUM_THREADS=1 python benchmarks/solve.py    # results/solve.csv and .png, 20 minutes on one core
    python benchmarks/solve.py --quick              # two runs of a few hundred particles for each method
    python benchmarks/solve.py --reference --anew   # results/coulomb_reference.csv, if that is to be measured again

One thread for every method: with more, what else runs on the machine holds up small sums more than large ones. A run
is a process of its own; what it would compile is compiled before its clock starts, by a first step of the same run.
``seconds`` are those of its whole integration, the initial fit of a network included, with five rows of metrics; no
log-density is carried. ``error`` at the end of the run is the relative Fisher divergence of its score where the exact
score is known, else the Frobenius distance of its covariance from the reference. ``error_mean`` is the mean over four
equal parts of the run. For the Coulomb problem, whose covariance has no formula, the initial particles are moved
to have the exact mean and covariance (its error would else be the noise of the sample, the same for all methods), and
the reference is that of many particles.

Rows that are in the table are kept: an interrupted benchmark goes on. ``speedups.csv`` compares the closed form with
each method of gradients: seconds of the cheapest closed form whose error is no larger than the smallest of the other,
as ``speedup``; ``at_error`` does so at every error the other reaches.
"""

from __future__ import annotations

import argparse
import csv
import json
import shlex
import statistics
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter
from measure import RESULTS, Row, Table, announce, command_line, draw, folder, in_child

from graphlandau.cli.arguments import read_arguments
from graphlandau.cli.config import compose
from graphlandau.diagnostics import covariance
from graphlandau.nn.pairs import expected_calls
from graphlandau.plotting.style import PALETTE, headline
from graphlandau.problems import Anisotropic

KEYS = ("problem", "method", "particles", "dt", "options")
REFERENCE = RESULTS / "coulomb_reference.csv"


class MatchedCoulomb(Anisotropic):
    """The anisotropic Coulomb problem, from particles of its exact mean and covariance."""

    def __init__(self) -> None:
        super().__init__(d=3, gamma=-3.0)

    def sample(self, n: int, *, generator: torch.Generator, t: float | None = None) -> torch.Tensor:
        """Draw samples, and map them affinely to the exact mean and covariance."""
        v = super().sample(n, generator=generator, t=t)
        density = self._known_density(t)
        v = v - v.mean(0)
        change = torch.linalg.cholesky(density.covariance) @ torch.linalg.cholesky(v.T @ v / n).inverse()
        return density.mean + v @ change.T


# How a problem is asked for, its end, and what its axis of errors says.
PROBLEMS = {
    "bkw_2d": ("--problem bkw_2d", 5.0, "relative Fisher divergence at $t = 5$"),
    "bkw_3d": ("--problem bkw_3d", 7.5, "relative Fisher divergence at $t = 7.5$"),
    "anisotropic_coulomb_3d": ("--problem solve.MatchedCoulomb", 100.0, "error of the covariance at $t = 100$"),
}
TITLES = {
    "bkw_2d": "Maxwell molecules in 2D (bkw_2d)",
    "bkw_3d": "Maxwell molecules in 3D (bkw_3d)",
    "anisotropic_coulomb_3d": "Coulomb in 3D (anisotropic_coulomb_3d)",
}
METHODS = {
    "closed_form": "--method sbtm --score closed_form",
    "sbtm_residual": "--method sbtm --score residual",
    "sbtm_mlp": "--method sbtm --score mlp",
    "jko_closed_form": "--method jko --score closed_form",
    "jko_residual": "--method jko --score residual --method.learning_rate 1e-3",
    "blob": "--method blob",
}
TRAINED = ("sbtm_residual", "sbtm_mlp", "jko_residual")
COMMON = "--log_det none --baselines false --snapshots 2 --checkpoint_every 1000000 --figures false --seed 0"
FEW = "--score.num_features 8"
FEW_FIXED = "--score.num_features 8 --score.ridge 1e-3"
LOOSE = "--method.initial_tolerance 0.01"

# (particles, time steps, options) of the runs of a method.
Settings = list[tuple[int, Sequence[float], str]]
STEPS_2D: dict[str, Settings] = {
    "closed_form": [
        (2_500, (0.25, 0.1), ""),
        (22_500, (0.25,), FEW_FIXED),
        (22_500, (0.25, 0.1), FEW),
        (22_500, (0.25, 0.1, 0.05), ""),
        (90_000, (0.25,), ""),
    ],
    "sbtm_residual": [(2_500, (0.25, 0.1), LOOSE), (22_500, (0.25, 0.1, 0.05, 0.01), LOOSE)],
    "sbtm_mlp": [(2_500, (0.25, 0.1), LOOSE), (22_500, (0.25, 0.1, 0.05, 0.01), LOOSE)],
    "blob": [(1_000, (0.25, 0.1), ""), (2_500, (0.25, 0.1), ""), (10_000, (0.25,), "")],
    "jko_closed_form": [(2_500, (0.25, 0.1), ""), (22_500, (0.25,), "")],
    "jko_residual": [(2_500, (0.25,), LOOSE), (22_500, (0.1,), LOOSE)],
}
STEPS_3D: dict[str, Settings] = {
    "closed_form": [(4_000, (0.25, 0.1), ""), (25_600, (0.25,), FEW_FIXED), (25_600, (0.25, 0.1), "")],
    "sbtm_residual": [(4_000, (0.1,), LOOSE), (25_600, (0.1, 0.05), LOOSE)],
    "sbtm_mlp": [(4_000, (0.1,), LOOSE), (25_600, (0.1, 0.05), LOOSE)],
    "blob": [(1_000, (0.25,), ""), (4_000, (0.1,), ""), (10_000, (0.25,), "")],
    "jko_closed_form": [(25_600, (0.25,), "")],
    "jko_residual": [(25_600, (0.25,), LOOSE)],
}
STEPS_COULOMB: dict[str, Settings] = {
    "closed_form": [(1_600, (5.0,), ""), (6_400, (5.0,), FEW_FIXED), (6_400, (5.0, 2.0), "")],
    "sbtm_residual": [(1_600, (5.0,), LOOSE), (6_400, (5.0, 2.0), LOOSE)],
    "sbtm_mlp": [(1_600, (5.0,), LOOSE), (6_400, (5.0, 2.0), LOOSE)],
    "blob": [(1_600, (5.0,), ""), (6_400, (5.0,), "")],
    "jko_closed_form": [(6_400, (5.0,), "")],
}
FULL = {"bkw_2d": STEPS_2D, "bkw_3d": STEPS_3D, "anisotropic_coulomb_3d": STEPS_COULOMB}
QUICK_STEPS = {"bkw_2d": (0.5, 0.25), "bkw_3d": (0.5, 0.25), "anisotropic_coulomb_3d": (10.0, 5.0)}

# The reference of the Coulomb problem: particles, time step, score; the first is taken, the others say how sure it is.
SURE = [
    (51_200, 5.0, "--score closed_form --backend mesh"),
    (25_600, 5.0, "--score closed_form"),
    (12_800, 2.5, "--score closed_form"),
]


def settings(quick: bool) -> list[Row]:
    """Names and command of every run."""
    rows = []
    for problem, (asked, t_end, _) in PROBLEMS.items():
        for method, arguments in METHODS.items():
            runs: Settings = [(300, QUICK_STEPS[problem], LOOSE if method in TRAINED else "")]
            for particles, steps, options in runs if quick else FULL[problem].get(method, []):
                for dt in steps:
                    shape = f"--t_end {t_end:g} --particles {particles} --dt {dt:g}"
                    command = " ".join(filter(None, (asked, arguments, options, shape, COMMON)))
                    names = {"problem": problem, "method": method, "particles": particles, "dt": dt}
                    rows.append({**names, "options": options or None, "command": command})
    return rows


def run_job(command: str, rows: int) -> Row:
    """Run one setting in this process, after a step of it that compiles; the numbers of a row."""
    given = read_arguments(shlex.split(command))
    config = compose(given)
    start, steps = config.problem.t_start, config.simulation().steps
    first = given | {"t_end": [repr(start + float(given["dt"][-1]))]}
    if given["method"][-1] != "blob":
        first |= {"method.initial_steps": ["1"]}
    with expected_calls(steps):
        compose(first).simulation().run()
    run = compose(given | {"metrics_every": [str(max(1, steps // rows))]}).simulation()
    result = run.run()
    end = result.summary
    row: Row = {"seconds": end["wall_seconds"], "setup_seconds": end["setup_seconds"], "steps": steps}
    row |= {"backend": end["backend"], "energy_rel_drift": end["energy_rel_drift"]}
    if end.get("rel_fisher_divergence") is not None:
        divergences = [r["rel_fisher_divergence"] for r in result.metrics[1:]]
        return row | {"error": end["rel_fisher_divergence"], "error_mean": statistics.mean(divergences)}
    sigma = covariance(result.state.v.double())
    return row | {"covariance": sigma.tolist()}


def reference() -> tuple[torch.Tensor, float]:
    """Covariance of the Coulomb problem at its end, and how far the less fine runs are from it."""
    with REFERENCE.open(newline="", encoding="utf-8") as file:
        found = [json.loads(row["covariance"]) for row in csv.DictReader(file)]
    sigma, *others = (torch.tensor(x, dtype=torch.float64) for x in found)
    return sigma, max((float((other - sigma).norm()) for other in others), default=0.0)


def measure_reference(anew: bool) -> None:
    """Fill the table of the reference."""
    asked, t_end, _ = PROBLEMS["anisotropic_coulomb_3d"]
    table = Table(REFERENCE, ("command",), anew=anew)
    for particles, dt, score in SURE:
        shape = f"--t_end {t_end:g} --particles {particles} --dt {dt:g} --integrator midpoint"
        command = f"{asked} --method sbtm {score} {shape} {COMMON}"
        if table.find(command=command) is None:
            found = in_child(__file__, {"command": command, "rows": 1})
            if "error" in found:
                raise SystemExit(f"{command}: {found['error']}")
            table.add({"covariance": json.dumps(found["covariance"]), "seconds": found["seconds"], "command": command})
    sigma, spread = reference()
    print(f"diagonal {sigma.diagonal().tolist()}, the others within {spread:.2g}")


def measure(table: Table, quick: bool, only: str) -> None:
    """Run what is not in the table."""
    for names in settings(quick):
        command = names.pop("command")
        if only not in f"{names['problem']} {names['method']}" or table.find(**names):
            continue
        found = in_child(__file__, {"command": command, "rows": 4})
        if "covariance" in found:
            sigma, _ = reference()
            found["error"] = float((torch.tensor(found.pop("covariance"), dtype=torch.float64) - sigma).norm())
        if isinstance(found.get("error"), str):
            found = {"failed": found["error"]}
        keys = ("seconds", "setup_seconds", "steps", "backend", "error", "error_mean", "energy_rel_drift", "failed")
        table.add({**names, **{key: found.get(key) for key in keys}, "command": f"graphlandau run {command}"})


# What the table says


def front(rows: Sequence[Row]) -> list[Row]:
    """Rows that no other beats in both seconds and error, from the fastest on."""
    best: list[Row] = []
    for row in sorted(rows, key=lambda r: (r["seconds"], r["error"])):
        if not best or row["error"] < best[-1]["error"]:
            best.append(row)
    return best


def speedup(closed: Sequence[Row], other: Row) -> tuple[Row, float] | None:
    """The fastest closed form with an error no larger than that of ``other``, and how many times faster it is."""
    good = [row for row in closed if row["error"] <= other["error"]]
    fastest = min(good, key=lambda row: row["seconds"], default=None)
    return None if fastest is None else (fastest, other["seconds"] / fastest["seconds"])


def usable(rows: Sequence[Row], **names: Any) -> list[Row]:
    """Rows of these names that did not fail or end in nonsense."""
    return [
        row
        for row in rows
        if row.get("error") is not None and row["error"] < 1 and all(row[k] == x for k, x in names.items())
    ]


def speedups(rows: Sequence[Row]) -> list[Row]:
    """The closed form against the others, at the most accurate run of each: all sizes, and at equal particles."""
    found = []
    for problem in PROBLEMS:
        sizes = sorted({row["particles"] for row in usable(rows, problem=problem)})
        for method in METHODS:
            if method == "closed_form":
                continue
            for particles in (None, *sizes):
                equal = {} if particles is None else {"particles": particles}
                own = front(usable(rows, problem=problem, method=method, **equal))
                closed = usable(rows, problem=problem, method="closed_form", **equal)
                if not own or not closed:
                    continue
                each = [speedup(closed, row) for row in own]
                best = each[-1]
                row: Row = {"problem": problem, "against": method, "particles": particles or "any"}
                row |= {"error": own[-1]["error"], "seconds": own[-1]["seconds"]}
                if best is not None:
                    row |= {"closed_form_error": best[0]["error"], "closed_form_seconds": best[0]["seconds"]}
                    row |= {"speedup": best[1]}
                at = [x[1] for x in each if x is not None]
                row |= {"at_error": f"{min(at):.2g} to {max(at):.2g}" if at else None}
                found.append(row)
    return found


# The picture

LOOKS: dict[str, tuple[str, str, str]] = {
    "closed_form": ("closed form (ours)", PALETTE[0], "o"),
    "sbtm_residual": ("SBTM, residual network", PALETTE[2], "s"),
    "sbtm_mlp": ("SBTM, network", PALETTE[1], "^"),
    "jko_closed_form": ("JKO, closed form", PALETTE[5], "D"),
    "jko_residual": ("JKO, residual network", PALETTE[3], "v"),
    "blob": ("blob", PALETTE[4], "P"),
}


def mark_size(particles: int) -> float:
    """Area of a mark, growing with the logarithm of the number of particles."""
    return 16 + 26 * max(0.0, np.log10(particles) - 2.5)


def draw_panel(ax: Axes, rows: Sequence[Row], problem: str) -> None:
    """Error against seconds of one problem: every run a mark, the best ones of a method joined and named."""
    ends = []
    for method, (name, colour, marker) in LOOKS.items():
        own = usable(rows, problem=problem, method=method)
        if not own:
            continue
        best = front(own)
        sizes = [mark_size(row["particles"]) for row in own]
        order = 6 if method == "closed_form" else 4
        ax.scatter(
            [row["seconds"] for row in own],
            [row["error"] for row in own],
            sizes,
            color=colour,
            marker=marker,
            alpha=0.35,
            linewidths=0,
            zorder=order,
        )
        width = 2.6 if method == "closed_form" else 1.6
        x, y = [row["seconds"] for row in best], [row["error"] for row in best]
        ax.plot(x, y, color=colour, linewidth=width, zorder=order, alpha=0.9)
        ax.scatter(x, y, [mark_size(r["particles"]) for r in best], color=colour, marker=marker, zorder=order + 1)
        ends.append((name, colour, x[-1], y[-1], method == "closed_form"))
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_title(TITLES[problem])
    ax.set_xlabel("seconds of the run")
    ax.set_ylabel(PROBLEMS[problem][2])
    ax.margins(x=0.08, y=0.1)
    for axis, (low, high) in ((ax.xaxis, ax.get_xlim()), (ax.yaxis, ax.get_ylim())):
        if high > 20 * low:  # else there may be no power of ten to be labelled
            axis.set_minor_formatter(NullFormatter())
    low, high = np.log10(ax.get_xlim())
    ax.set_xlim(10**low, 10 ** (high + 0.5 * (high - low)))
    _name_lines(ax, ends)


def _name_lines(ax: Axes, ends: Sequence[tuple[str, str, float, float, bool]]) -> None:
    """Write the name of each line right of its last mark, moved apart where they would overlap."""
    low, high = np.log10(ax.get_ylim())
    gap = 0.062 * (high - low)
    right = 10 ** (np.log10(max(x for _, _, x, _, _ in ends)) + 0.05 * float(np.ptp(np.log10(ax.get_xlim()))))
    ends = sorted(ends, key=lambda end: end[3])
    heights = _apart([float(np.log10(y)) for _, _, _, y, _ in ends], gap, low + 0.5 * gap)
    for (name, colour, x, y, bold), height in zip(ends, heights, strict=True):
        ax.annotate(
            name,
            (x, y),
            (right, 10**height),
            color=colour,
            fontsize=9,
            fontweight="bold" if bold else "normal",
            va="center",
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.6, "alpha": 0.5, "shrinkB": 4},
            zorder=8,
        )


def _apart(heights: Sequence[float], gap: float, low: float) -> list[float]:
    """Heights in ascending order, at least ``gap`` apart and above ``low``, each as little moved as that allows."""
    # Groups of labels that touch move as one, to the mean of where they would be.
    groups: list[list[float]] = []
    for height in heights:
        groups.append([height])
        while len(groups) > 1 and _top(groups[-2], gap) + gap > _bottom(groups[-1], gap):
            last = groups.pop()
            groups[-1] += last
    placed: list[float] = []
    for group in groups:
        start = max(_bottom(group, gap), placed[-1] + gap if placed else low)
        placed += [start + k * gap for k in range(len(group))]
    return placed


def _bottom(group: Sequence[float], gap: float) -> float:
    return statistics.mean(group) - (len(group) - 1) * gap / 2


def _top(group: Sequence[float], gap: float) -> float:
    return statistics.mean(group) + (len(group) - 1) * gap / 2


def draw_speedup(ax: Axes, rows: Sequence[Row], problem: str, particles: int) -> None:
    """An arrow from the most accurate network at this many particles to the closed form that does no worse."""
    networks = [r for m in TRAINED for r in usable(rows, problem=problem, method=m, particles=particles)]
    if not networks:
        return
    best = front(networks)[-1]
    found = speedup(usable(rows, problem=problem, method="closed_form", particles=particles), best)
    if found is None or found[1] <= 1:
        return
    closed, ratio = found
    ax.annotate(
        "",
        (closed["seconds"], best["error"]),
        (best["seconds"], best["error"]),
        arrowprops={"arrowstyle": "->", "color": "0.25", "linewidth": 1.3, "shrinkA": 6, "shrinkB": 0},
        zorder=7,
    )
    ax.vlines(closed["seconds"], closed["error"], best["error"], color="0.25", linewidth=0.9, linestyle=":", zorder=3)
    ax.annotate(
        f"{ratio:.0f} times faster",
        (np.sqrt(closed["seconds"] * best["seconds"]), best["error"]),
        (0, 3),
        textcoords="offset points",
        ha="center",
        fontsize=8.5,
        color="0.2",
        zorder=9,
    )


def figure(rows: Sequence[Row], uncertainty: float) -> Figure:
    """The panels of all problems, and below them what the marks say."""
    shown = [problem for problem in PROBLEMS if usable(rows, problem=problem)]
    fig = Figure(figsize=(6.1 * len(shown), 5.4), layout="constrained")
    for ax, problem in zip(fig.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
        draw_panel(ax, rows, problem)
        if problem == "bkw_2d":
            draw_speedup(ax, rows, problem, 22_500)
        low = ax.get_ylim()[0]
        if problem == "anisotropic_coulomb_3d" and uncertainty > low:
            ax.axhspan(low, uncertainty, color="0.9", zorder=0.5)
            ax.set_ylim(low)
            ax.text(0.02, 0.02, "the reference is no surer than this", transform=ax.transAxes, color="0.4", fontsize=8)
    sizes = sorted({row["particles"] for row in usable(rows)})
    shown_sizes = [sizes[k] for k in sorted({0, len(sizes) // 3, 2 * len(sizes) // 3, len(sizes) - 1})]
    handles = [
        Line2D([], [], marker="o", linestyle="", color="0.5", markersize=mark_size(n) ** 0.5, label=f"{n:,} particles")
        for n in shown_sizes
    ]
    fig.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    headline(fig, "Time to reach an error: down and left is better; lines join the best runs of a method")
    return fig


def main() -> None:
    parser = command_line(__doc__, "solve")
    parser.add_argument("--only", default="", help="only runs of which 'problem method' contains this")
    parser.add_argument("--anew", action="store_true", help="drop the rows that are there")
    parser.add_argument("--reference", action="store_true", help="measure the reference of the Coulomb problem")
    parser.add_argument("--draw", action="store_true", help="run nothing: picture and table of what is there")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.job:
        print(json.dumps(run_job(**json.loads(options.job))))
        return
    announce()
    if options.reference:
        measure_reference(options.anew)
        return
    path = folder(options) / "solve.csv"
    table = Table(path, KEYS, anew=options.anew)
    if not options.draw:
        measure(table, options.quick, options.only)
    table.print()
    if not usable(table.rows):
        sys.exit("no run to draw")
    compared = Table(path.with_name("speedups.csv"), ("problem", "against", "particles"), anew=True)
    compared.rows = speedups(table.rows)
    compared.write()
    compared.print()
    draw(path.with_suffix(".png"), lambda: figure(table.rows, reference()[1]))


if __name__ == "__main__":
    main()
