"""What figures of this folder draw: phase space, marginals and relaxation of several runs, tables of expectations."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from study import CONTROLS, LANGEVIN, LINES, NAMES, Records, runs_of
from torch import Tensor

from graphlandau.cli.study import number, publish, series, with_failures
from graphlandau.plotting import RunRecord
from graphlandau.plotting.histogram import line_bins, line_histogram, phase_bins
from graphlandau.plotting.known import line_density
from graphlandau.plotting.phase_snapshot import PhaseSnapshot, phase_snapshot
from graphlandau.plotting.phase_space import contour_meaning, draw_histograms, draw_scale
from graphlandau.plotting.relaxation import honest_scale
from graphlandau.plotting.style import EXACT, legend_below, time_axis
from graphlandau.problems import PhaseProduct

__all__ = [
    "Observable",
    "at_times",
    "draw_example",
    "draw_kl",
    "draw_line",
    "expectations",
    "heading",
    "kl_row",
    "marginal_figure",
    "phase_figure",
    "stationary_mean",
]

Observable = Callable[[Tensor, Tensor], Tensor]

# The cases of the examples in an external potential. The network has the paper's layers and 50 Adam steps at 1e-3, but
# starts from the last time step's.
CASES: dict[str, list[str]] = {
    "features": CONTROLS["features"],
    "network": CONTROLS["network"],
    "features_trace": [*CONTROLS["features"], "--method.log_det", "trace"],
    "features_half": [*CONTROLS["features"], "--dt", "0.05"],
    "langevin": [*LANGEVIN, "--dt", "0.02", "--particles", "50000"],
}
# What is drawn of particles; the others differ in the relative entropy.
SHOWN = ("features", "network", "langevin")
TRIAL = ["--particles", "500", "--t_end", "0.4", "--snapshots", "5"]


@dataclass(frozen=True)
class Example:
    """An example in an external potential.

    Attributes:
        title: Its name.
        names: Of its two figures.
        times: Of the panels of phase space; the marginals are at the last.
        observables: Functions of position and velocity whose means are compared.
    """

    title: str
    names: tuple[str, str]
    times: tuple[float, ...]
    observables: Mapping[str, Observable]


def _power(n: int) -> Observable:
    return lambda _, v: v**n


EXAMPLES = {
    "vfp_double_well_1d": Example(
        "Two beams in a rippled parabola",
        ("figure_3", "figure_4"),
        (0, 1, 2, 10),
        {
            "cos(2 pi x)": lambda x, _: torch.cos(2 * math.pi * x),
            "x^2": lambda x, _: x**2,
            "x v": lambda x, v: x * v,
            "v^2": _power(2),
            "v^4": _power(4),
        },
    ),
    "vfp_periodic_1d": Example(
        "Two beams in a periodic potential",
        ("figure_5", "figure_6"),
        (0, 1, 2, 20),
        {
            "cos(2 pi x)": lambda x, _: torch.cos(2 * math.pi * x),
            "sin(2 pi x)": lambda x, _: torch.sin(2 * math.pi * x),
            "v": _power(1),
            "v^2": _power(2),
            "v^4": _power(4),
        },
    ),
}
# Nodes of a quadrature in each of x and v.
NODES = 4001
FARTHEST = 9.0


def heading(title: str, found: Records) -> str:
    """What a figure is of: the problem, the number of particles, and that of the reference where it is another."""
    counts = {case: run.config["particles"] for case, run in found.items()}
    first, other = next(iter(counts.values())), counts.get("langevin")
    more = f", {other:,} in the Langevin run" if other not in (None, first) else ""
    return f"{title}: {first:,} particles{more}"


def at_times(run: RunRecord, times: Sequence[float]) -> list[PhaseSnapshot]:
    """Return the snapshots at ``times``; in a trial, which is shorter, those at the same shares of it."""
    first, last = run.times[0], run.times[-1]
    share = min(1.0, (last - first) / times[-1])
    return [phase_snapshot(run, int(np.abs(run.times - first - share * t).argmin())) for t in times]


def phase_figure(
    found: Records, times: Mapping[str, Sequence[float]] | Sequence[float], title: str, names: Mapping[str, str] = NAMES
) -> Figure:
    """Histograms of the first position and velocity: a row for each run, a column for each time.

    The runs have times of their own or the same; a row has one colour scale.
    """
    wanted = times if isinstance(times, Mapping) else dict.fromkeys(found, times)
    columns = max(len(wanted[case]) for case in found)
    fig = Figure(figsize=(2.9 * columns + 1.4, 2.45 * len(found) + 0.9), layout="constrained")
    grid = fig.subplots(len(found), columns, squeeze=False)
    meaning = None
    for r, (axes, (case, run)) in enumerate(zip(grid, found.items(), strict=True)):
        snapshots, lowest = at_times(run, wanted[case]), r + 1 == len(found)
        places = [int(np.abs(run.times - snapshot.t).argmin()) for snapshot in snapshots]
        scale, known = draw_histograms(list(axes[: len(snapshots)]), run, snapshots, phase_bins(run, places))
        meaning = meaning or known
        draw_scale(axes[-1], run, scale)
        for k, ax in enumerate(axes[: len(snapshots)]):
            ax.set_ylabel(f"{names[case].replace(', ', chr(10))}\n{ax.get_ylabel()}" if k == 0 else "")
            ax.tick_params(labelleft=k == 0, labelbottom=lowest)
            ax.set_xlabel(ax.get_xlabel() if lowest else "")
        for ax in axes[len(snapshots) :]:
            ax.set_axis_off()
    if meaning is not None:
        fig.legend(handles=[contour_meaning(meaning)], loc="outside lower center")
    fig.suptitle(title, x=0.01, ha="left")
    return fig


def draw_line(ax: Axes, found: Records, snapshots: Mapping[str, PhaseSnapshot], coordinate: int) -> None:
    """Draw the histogram of one entry of (x, v) of each run, and the stationary density."""
    some = next(iter(found.values()))
    problem = some.problem
    period = problem.lengths[coordinate] if coordinate < problem.d_x and problem.lengths is not None else None

    def column(snapshot: PhaseSnapshot) -> Tensor:
        return torch.cat([snapshot.x, snapshot.v], 1)[:, coordinate]

    # The same bins for all, those of the first.
    edges, view = line_bins(column(next(iter(snapshots.values()))), period)
    for case, snapshot in snapshots.items():
        ax.stairs(line_histogram(column(snapshot), edges), edges, baseline=None, label=NAMES[case], **LINES[case])
    points = torch.linspace(*view, 601, dtype=torch.float64)
    stationary = line_density(problem.equilibrium(), coordinate, points)
    if stationary is not None:
        ax.plot(points, stationary, label="stationary", **EXACT)
    is_x = coordinate < problem.d_x
    alone = (problem.d_x if is_x else problem.d) == 1
    name = ("x" if is_x else "v") + ("" if alone else f"_{(coordinate if is_x else coordinate - problem.d_x) + 1}")
    ax.set(xlim=view, xlabel=f"${name}$ (dimensionless)", ylabel=f"density of ${name}$")
    ax.set_ylim(bottom=0)


def draw_kl(ax: Axes, found: Records, key: str = "kl") -> None:
    """Draw the relative entropy of each run that has one, with two standard errors on either side."""
    lowest, highest, noise = math.inf, 0.0, math.inf
    for case, run in found.items():
        if run.series(key) is None:
            continue
        (t, kl), error = series(run, key), series(run, f"{key}_stderr")[1]
        ax.fill_between(t, kl - 2 * error, kl + 2 * error, color=LINES[case]["color"], alpha=0.2, linewidth=0)
        failed = t[-1] < run.config["t_end"] - 1e-6
        ax.plot(t, kl, label=NAMES[case] + (f" (folds at $t = {t[-1]:g}$)" if failed else ""), **LINES[case])
        ax.plot(t[-1:] if failed else [], kl[-1:] if failed else [], "x", color=LINES[case]["color"], markersize=9)
        lowest, highest = min(lowest, float((kl - 2 * error).min())), max(highest, float(kl.max()))
        noise = min(noise, float(error.min()))
    some = next(iter(found.values()))
    time_axis(ax, some.time_span, r"$\int f \; \log (f / f_\infty)$")
    honest_scale(ax, lowest, highest, noise)


def kl_row(run: RunRecord) -> dict[str, Any]:
    """Relative entropy at the start and the end, the least value in standard errors, the largest rise in a step.

    ``kl_rate`` is the rate of the exponential that it falls by while it is above ten standard errors.
    """
    if run.series("kl") is None:
        names = ("kl_start", "kl_end", "kl_stderr_end", "kl_least", "kl_least_in_stderr", "kl_largest_rise", "kl_rate")
        return {**dict.fromkeys(names), "wall_seconds": number(float(series(run, "wall_seconds")[1][-1]))}
    (t, kl), error = series(run, "kl"), series(run, "kl_stderr")[1]
    above = int(np.argmax(kl < 10 * error)) if (kl < 10 * error).any() else len(kl)
    numbers = {
        "kl_start": kl[0],
        "kl_end": kl[-1],
        "kl_stderr_end": error[-1],
        "kl_least": kl.min(),
        "kl_least_in_stderr": float((kl / error).min()),
        "kl_largest_rise": float(np.diff(kl).max()) if len(kl) > 1 else None,
        "kl_rate": -float(np.polyfit(t[:above], np.log(kl[:above]), 1)[0]) if above > 2 else None,
        "wall_seconds": series(run, "wall_seconds")[1][-1],
    }
    return {key: number(None if value is None else float(value)) for key, value in numbers.items()}


def stationary_mean(run: RunRecord, observable: Observable) -> float:
    """Return the stationary mean of a function of the first position and velocity, by the trapezoidal rule."""
    f = run.problem.equilibrium()
    assert isinstance(f, PhaseProduct)
    period = f.x[0].period
    low, high = (0.0, period) if period is not None else (-FARTHEST, FARTHEST)
    x = torch.linspace(low, high, NODES, dtype=torch.float64)
    v = torch.linspace(-FARTHEST, FARTHEST, NODES // 4, dtype=torch.float64)
    density = f.x[0].log_prob(x).exp()[:, None] * f.v[0].log_prob(v).exp()
    value = observable(x[:, None].expand_as(density), v.expand_as(density))
    return float(torch.trapezoid(torch.trapezoid(value * density, v), x))


def expectations(found: Records, times: Sequence[float], observables: Mapping[str, Observable]) -> list[dict[str, Any]]:
    """Return a row for each time and function: its mean and standard error in each run, and the stationary mean."""
    taken = {case: at_times(run, times) for case, run in found.items()}
    some, rows = next(iter(found)), []
    for k, snapshot in enumerate(taken[some]):
        for name, observable in observables.items():
            row: dict[str, Any] = {"t": f"{snapshot.t:g}", "mean_of": name}
            row["stationary"] = number(stationary_mean(found[some], observable))
            for case, snapshots in taken.items():
                value = observable(snapshots[k].x[:, 0], snapshots[k].v[:, 0])
                row[case] = number(float(value.mean()))
                row[f"{case}_stderr"] = number(float(value.std()) / math.sqrt(len(value)))
            rows.append(row)
    return rows


def marginal_figure(found: Records, t: float, title: str) -> Figure:
    """The marginals at ``t`` of all runs, and the relative entropy over time."""
    fig = Figure(figsize=(14, 5), layout="constrained")
    x, v, kl = fig.subplots(1, 3)
    snapshots = {case: at_times(run, [t])[0] for case, run in found.items() if case in SHOWN}
    shown = {case: found[case] for case in snapshots}
    draw_line(x, shown, snapshots, 0)
    draw_line(v, shown, snapshots, 1)
    some = next(iter(snapshots.values()))
    x.set_title(f"Positions at $t = {some.t:g}$")
    v.set_title(f"Velocities at $t = {some.t:g}$")
    draw_kl(kl, found)
    kl.set_title(r"Distance from equilibrium, $\pm 2$ standard errors")
    legend_below(fig, 3)
    fig.suptitle(heading(title, found), x=0.01, ha="left")
    return fig


def draw_example(options: argparse.Namespace, config: str, part: int) -> None:
    """One of the two figures of an example: phase space with a table of means (0), or what it relaxes to (1)."""
    example = EXAMPLES[config]
    cases = {case: CASES[case] for case in (("features", "langevin") if options.smoke else CASES)}
    found, errors = with_failures(runs_of(config, cases, options, TRIAL), options)
    if part == 0:
        rows = expectations(
            {case: run for case, run in found.items() if case != "features_trace"}, example.times, example.observables
        )
        shown = {case: run for case, run in found.items() if case in SHOWN}
        title = heading(example.title, shown)
        publish(options, example.names[0], rows, lambda: phase_figure(shown, example.times, title))
        return
    rows = [{"run": case, **kl_row(run), "status": errors.get(case, "done")} for case, run in found.items()]
    publish(options, example.names[1], rows, lambda: marginal_figure(found, example.times[-1], example.title))
