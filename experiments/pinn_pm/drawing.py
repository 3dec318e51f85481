"""What the figures of this folder draw, each for several problems: slices, transport, scores, diagnostics, errors.

The runs of a problem are finished first. Pictures and tables are written by the names of the figures.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from study import CASES, NAMES, compare, trained_file
from torch import Tensor

from graphlandau.cli.study import number, publish, series, snapshots_at
from graphlandau.diagnostics import relative_l2_error, relative_trajectory_error
from graphlandau.methods import TrainedFlow
from graphlandau.plotting import RunRecord, Snapshot
from graphlandau.plotting.comparison import draw_panel
from graphlandau.plotting.density import axis_marginal, axis_points, axis_slice
from graphlandau.plotting.entropy import exact_dissipation
from graphlandau.plotting.errors import DENSITY_CURVES
from graphlandau.plotting.exact import marginal, slice_along, smoothed_curve, smoothed_slice
from graphlandau.plotting.score import draw_score, robust_limits
from graphlandau.plotting.style import EXACT, REFERENCE, SMOOTHED, case_lines, legend_below, time_axis, velocity_axis
from graphlandau.problems import Problem
from graphlandau.run.protocols import density_error, density_protocol

Records = Mapping[str, RunRecord]

TITLES = {
    "bkw_2d": "BKW in 2D",
    "bkw_3d": "BKW in 3D",
    "bimaxwellian_2d": "Two Maxwellians in 2D, Coulomb",
    "rosenbluth_3d_wide": "Rosenbluth's problem in 3D, Coulomb",
    "mixture_3d": "Mixture of Gaussians in 3D, Coulomb",
    "truncated_2d": "Gaussian without its core in 2D, Coulomb",
}
LINES = case_lines(CASES, (3.0, 2.4, 1.9, 1.5, 1.1))
FLOW = "pinn_particle"

# Samples of the flow for a density estimate, as in the paper (protocol P2), and in a trial.
SAMPLES, SMOKE_SAMPLES = 100_000, 2000
# Particles drawn in the transport snapshots, and how many of them with arrows.
SHOWN, ARROWS = 400, 60
# Slices are drawn as far as a curve is above this share of the highest.
VISIBLE = 0.003
# The grids of the paper's density errors; it does not say how far the one in 3D reaches.
GRIDS = {"bkw_2d": (2.5, 100), "bkw_3d": (2.5, 30)}
# The baseline of many samples, beside that of fewer.
MANY: dict[str, Any] = {"marker": "v", "color": "0.7"}


def sample_count(options: argparse.Namespace) -> int:
    """Samples of the flow for a density estimate."""
    return SMOKE_SAMPLES if options.smoke else SAMPLES


def heading(problem: str, found: Records, samples: int | None = None) -> str:
    """What a figure is of: the problem, the particles or ``samples`` of the flow, the particles of the others."""
    counts = {case: run.config["particles"] for case, run in found.items()}
    if samples is None and len(set(counts.values())) == 1:
        return f"{TITLES[problem]}: {counts[FLOW]:,} particles of each method"
    ours = f"{counts[FLOW]:,} particles" if samples is None else f"{samples:,} samples"
    theirs = " or ".join(f"{n:,}" for n in sorted({n for case, n in counts.items() if case != FLOW}))
    return f"{TITLES[problem]}: {ours} of the flow, {theirs} particles of the other methods"


def at_times(run: RunRecord, times: Sequence[float]) -> list[Snapshot]:
    """Return the snapshots at ``times``, of which the last is the end of the run: in a trial, at the same shares."""
    start = run.times[0]
    return snapshots_at(run, [(t - start) / (times[-1] - start) for t in times])


def known(problem: Problem) -> bool:
    """Whether the solution is known at all times."""
    return problem.density(problem.t_end) is not None


# Density slices and marginals


@dataclass(frozen=True)
class Panel:
    """Densities along one axis at one time: of each method, and the exact one where known, also smoothed."""

    t: float
    component: int
    estimates: dict[str, Tensor]
    exact: Tensor | None
    smoothed: Tensor | None


def panels(
    some: RunRecord, positions: Mapping[str, Sequence[Tensor]], times: Sequence[float], what: str
) -> list[Panel]:
    """Return the panels of a figure, the times of the first axis first; ``what`` is ``"slice"`` or ``"marginal"``."""
    x, h, found = axis_points(some), some.problem.bandwidth, []
    estimate = axis_slice if what == "slice" else axis_marginal
    for a in range(some.problem.d):
        for k, t in enumerate(times):
            estimates = {case: estimate(some, v[k], a) for case, v in positions.items()}
            density, exact, smoothed = some.problem.density(t), None, None
            if density is not None and what == "slice":
                exact, smoothed = slice_along(density, x, a), smoothed_slice(density, x, a, h)
            elif density is not None:
                exact = marginal(density, x, a, some.half_width)
                smoothed = smoothed_curve(exact, x, h)
            found.append(Panel(t, a, estimates, exact, smoothed))
    return found


def draw_panels(found: Sequence[Panel], some: RunRecord, what: str, title: str) -> Figure:
    """A row for each axis, a column for each time."""
    d, x = some.problem.d, axis_points(some)
    columns = len(found) // d
    fig = Figure(figsize=(4.3 * columns, 2.7 * d + 1.2), layout="constrained")
    grid = fig.subplots(d, columns, sharey="row", squeeze=False)
    curves = torch.stack([f for panel in found for f in panel.estimates.values()])
    half = 1.05 * float(x[(curves > VISIBLE * curves.max()).any(0)].abs().max())
    for ax, panel in zip(grid.flat, found, strict=True):
        a = panel.component
        for case, f in panel.estimates.items():
            ax.plot(x, f, label=NAMES[case], **LINES[case])
        if panel.exact is not None:
            ax.plot(x, panel.smoothed, **SMOOTHED, label=f"exact, smoothed (width {some.problem.bandwidth:g})")
            ax.plot(x, panel.exact, **EXACT, label="exact")
        where = ", ".join(f"v_{a + 1}" if b == a else "0" for b in range(d))
        name = f"$f({where})$" if what == "slice" else f"$f_{a + 1}(v_{a + 1})$"
        first = ax is grid[a, 0]
        velocity_axis(ax, min(half, some.half_width), a, name if first else "", "" if a else f"$t = {panel.t:.4g}$")
    for ax in grid[:, 0]:
        ax.set_ylim(bottom=0)
    legend_below(fig, 4)
    fig.suptitle(title, x=0.01, ha="left")
    return fig


def density_rows(
    found: Sequence[Panel], some: RunRecord, taken: Mapping[str, Sequence[Snapshot]]
) -> list[dict[str, Any]]:
    """Return peak and value at the origin, and relative L2 errors along the axis: from the flow, and where known."""
    centre, rows = len(axis_points(some)) // 2, []
    # The steps of a method may not meet the times of the flow: its snapshot is then the nearest that they do meet.
    own = {case: {there.t: here.t for there, here in zip(taken[FLOW], taken[case], strict=True)} for case in taken}
    for panel in found:
        for case, f in panel.estimates.items():
            numbers = {"peak": f.max(), "at_origin": f[centre]}
            if panel.exact is not None and panel.smoothed is not None:
                numbers["error"] = relative_l2_error(f, panel.exact)
                numbers["error_smoothed"] = relative_l2_error(f, panel.smoothed)
            numbers["from_flow"] = relative_l2_error(f, panel.estimates[FLOW])
            row = {"run": case, "t": f"{own[case][panel.t]:g}", "axis": panel.component + 1}
            rows.append(row | {key: number(float(value)) for key, value in numbers.items()})
    return rows


def density_figure(
    options: argparse.Namespace, figure: str, problem: str, times: Sequence[float], what: str = "slice"
) -> None:
    """Slices along the axes or marginals of all methods at some times, and the exact ones where known.

    The flow's are from samples drawn for the density (protocol P2), those of the others from their particles. In the
    table ``from_flow`` is the relative difference from the flow.
    """
    found = compare(problem, CASES, options)
    some, count = found[FLOW], sample_count(options)
    taken = {case: at_times(run, times) for case, run in found.items()}
    at = [snapshot.t for snapshot in taken[FLOW]]
    positions = {case: [snapshot.v for snapshot in snapshots] for case, snapshots in taken.items()}
    flow = TrainedFlow.load(trained_file(options.runs)).flow
    v0 = some.problem.sample(count, generator=torch.Generator().manual_seed(0)).to(next(flow.parameters()))
    positions[FLOW] = [flow.at(v0, t).double() for t in at]
    curves = panels(some, positions, at, what)
    title = f"{heading(problem, found, count)}, kernel width {some.problem.bandwidth:g}"
    publish(options, figure, density_rows(curves, some, taken), lambda: draw_panels(curves, some, what, title))


# Transport


def draw_transport(ax: Axes, v: Tensor, s: Tensor, exact: Tensor, exact_s: Tensor, half: float, t: float) -> None:
    """Draw where the flow and the exact characteristics put the same particles, in the plane of two components."""
    colour, few = LINES[FLOW]["color"], max(1, len(v) // ARROWS)
    # Rings around dots: each is seen where they agree.
    ax.scatter(exact[:, 0], exact[:, 1], s=24, facecolors="none", edgecolors="0.35", linewidths=0.7)
    ax.scatter(v[:, 0], v[:, 1], s=6, color=colour, linewidths=0)
    # A score of the thermal size is an arrow of one twelfth of the half width.
    scale = 12 * float(exact_s.square().mean().sqrt()) / half
    arrows: dict[str, Any] = {"angles": "xy", "scale_units": "xy", "scale": scale}
    for x, y, look in (
        (v, s, {"color": colour, "width": 0.005}),
        (exact, exact_s, {"color": "black", "width": 0.0018, "zorder": 5}),
    ):
        ax.quiver(x[::few, 0], x[::few, 1], y[::few, 0], y[::few, 1], **arrows, **look)
    velocity_axis(ax, half, 0, "$v_2$ (dimensionless)", f"$t = {t:.4g}$")
    ax.set(ylim=(-half, half), box_aspect=1)


def transport_figure(options: argparse.Namespace, figure: str, problem: str, times: Sequence[float]) -> None:
    """Where the flow puts particles at some times, and where the exact characteristics do; with the scores there.

    In the table, over all particles: ``rel_trajectory_error`` is squared and relative, ``largest_distance`` that of a
    particle from its characteristic, and ``rel_fisher_divergence`` the error of the score at the flow's particles.
    """
    run = compare(problem, [FLOW], options)[FLOW]
    v0, d = run.snapshot(0).v, run.problem.d
    taken, rows, drawn = at_times(run, times), [], []
    for snapshot in taken:
        v, exact = snapshot.v, run.problem.characteristics(v0, snapshot.t)
        if exact is None:
            raise ValueError(f"the characteristics of {problem} are not known")
        truth = run.problem.score(v, snapshot.t)
        numbers = {
            "rel_trajectory_error": relative_trajectory_error(v, exact),
            "largest_distance": (v - exact).norm(dim=1).max(),
            "rel_fisher_divergence": (snapshot.s - truth).square().sum() / truth.square().sum(),
        }
        rows.append({"t": f"{snapshot.t:g}", **{key: number(float(x)) for key, x in numbers.items()}})
        there = [x[:SHOWN] for x in (v, snapshot.s, exact, run.problem.score(exact, snapshot.t))]
        drawn.append((there, snapshot.t))
    half = 1.1 * float(torch.stack([x[:, :2].abs().max() for there, _ in drawn for x in (there[0], there[2])]).max())

    def draw() -> Figure:
        fig = Figure(figsize=(4.5 * len(drawn), 5.4), layout="constrained")
        for ax, ((v, s, exact, exact_s), t) in zip(fig.subplots(1, len(drawn), sharey=True), drawn, strict=True):
            draw_transport(ax, v, s, exact, exact_s, half, t)
            ax.set_ylabel(ax.get_ylabel() if t == drawn[0][1] else "")
        ring: dict[str, Any] = {"markerfacecolor": "none", "markeredgecolor": "0.35", "linestyle": "", "marker": "o"}
        colour = LINES[FLOW]["color"]
        handles = [
            Line2D([], [], color=colour, marker="o", markersize=3, linestyle="", label="learned flow"),
            Line2D([], [], markersize=6, label="exact characteristics", **ring),
            Line2D([], [], color=colour, linewidth=2, label="learned score (arrow)"),
            Line2D([], [], color="black", linewidth=1, label="exact score (arrow)"),
        ]
        fig.legend(handles=handles, loc="outside lower center", ncols=4)
        number_shown = min(SHOWN, len(v0))
        plane = "" if d == 2 else ", projected on the first two components"
        fig.suptitle(f"{TITLES[problem]}: {number_shown} particles of the flow{plane}", x=0.01, ha="left")
        return fig

    publish(options, figure, rows, draw)


# Scores


def score_rows(case: str, snapshot: Snapshot, problem: Problem) -> list[dict[str, Any]]:
    """Return the means that integration by parts gives any score, and its relative squared error where known."""
    v, s = snapshot.v, snapshot.s
    density = problem.density(snapshot.t)
    truth = None if density is None else density.score(v)
    rows = []
    for a in range(problem.d):
        numbers: dict[str, Tensor | None] = {"mean_s": s[:, a].mean(), "mean_s_v": (s * (v - v.mean(0)))[:, a].mean()}
        numbers["rms_s"] = s[:, a].square().mean().sqrt()
        if truth is not None:
            numbers["rel_squared_error"] = (s - truth)[:, a].square().sum() / truth[:, a].square().sum()
        row = {"run": case, "t": f"{snapshot.t:g}", "component": a + 1}
        rows.append(row | {key: number(None if x is None else float(x)) for key, x in numbers.items()})
    return rows


def draw_scores(found: Records, taken: Mapping[str, Sequence[Snapshot]], title: str) -> Figure:
    """A column for each method; rows by component and time, each with one scale."""
    some = next(iter(found.values()))
    d, times = some.problem.d, [snapshot.t for snapshot in next(iter(taken.values()))]
    rows = d * len(times)
    fig = Figure(figsize=(2.6 * len(found) + 0.4, 1.65 * rows + 1.1), layout="constrained")
    grid = fig.subplots(rows, len(found), sharex=True, sharey="row", squeeze=False)
    half = float(torch.cat([s.v for snapshots in taken.values() for s in snapshots]).abs().quantile(0.999))
    for r, axes in enumerate(grid):
        a, k = divmod(r, len(times))
        low, high = np.array([robust_limits(snaps[k].s[:, a].numpy()) for snaps in taken.values()]).T
        limits = float(low.min()), float(high.max())
        for ax, (case, run) in zip(axes, found.items(), strict=True):
            draw_score(ax, run, taken[case][k], a, LINES[case]["color"], limits)
            ax.set_title(NAMES[case] if r == 0 else "")
            ax.set_title("", loc="right")
            ax.set(xlabel="", ylabel="", xlim=(-half, half))
        axes[0].set_ylabel(f"$s_{a + 1}$, $t = {times[k]:.4g}$")
    for ax in grid[-1]:
        ax.set_xlabel("$v_a$ for $s_a$ (dimensionless)")
    drawn = {line.get_gid() for ax in fig.axes for line in ax.get_lines()}
    meanings = {
        "exact": Line2D([], [], label="exact score on the axis", **EXACT),
        "gaussian": Line2D([], [], label="score of the Maxwellian of equal energy", **REFERENCE),
    }
    handles = [Line2D([], [], color="0.3", marker="o", linestyle="", label="particles nearest to the axis")]
    fig.legend(
        handles=handles + [x for key, x in meanings.items() if key in drawn], loc="outside lower center", ncols=3
    )
    fig.suptitle(title, x=0.01, ha="left")
    return fig


def score_figure(options: argparse.Namespace, figure: str, problem: str, times: Sequence[float]) -> None:
    r"""Components of the score against those of the velocity at some times, a column for each method.

    Drawn are the particles nearest to the axis of the component, where the exact score is a curve. In the table, over
    all particles, ``mean_s`` :math:`\langle s_a \rangle` is 0 and ``mean_s_v`` :math:`\langle s_a (v_a - \langle v_a
    \rangle) \rangle` is -1 for the score of the particles' own density, up to the noise of the sample.
    """
    found = compare(problem, CASES, options)
    taken = {case: at_times(run, times) for case, run in found.items()}
    rows = [row for case, snaps in taken.items() for s in snaps for row in score_rows(case, s, found[case].problem)]
    publish(options, figure, rows, lambda: draw_scores(found, taken, heading(problem, found)))


# Structural diagnostics


def structure_row(t: np.ndarray, rate: np.ndarray) -> dict[str, Any]:
    r"""Return whether the entropy falls at every row of the metrics, and whether it does so ever more slowly.

    The first always holds: :math:`\langle s \cdot U \rangle = -\tfrac12 \sum_{ij} w_i w_j |s_i - s_j|^2_A \le 0` for
    any score. The second is no law either, but what the exact solutions with a known rate do.
    """
    rises = np.diff(rate)
    return {
        "entropy_falls": bool((rate > 0).all()),
        "rate_monotone": bool((rises <= 0).all()),
        "rate_largest_rise": number(float(rises.max() / rate[0])) if len(t) > 1 else None,
    }


def structure_figure(options: argparse.Namespace, figure: str, problem: str) -> None:
    """Drift of the energy, decay rate of the entropy, and where the solution is known the errors of the score.

    In the table, over all rows of the metrics (``trajectory_error_largest``: all snapshots), ``rate_largest_rise`` is
    between two rows, relative to the first rate. The largest rise is negative where the rate falls throughout.
    """
    found = compare(problem, CASES, options)
    some = next(iter(found.values()))
    rows: list[dict[str, Any]] = []
    for case, run in found.items():
        energy, (t, s_dot_u) = series(run, "energy_rel_drift")[1], series(run, "entropy_dissipation")
        numbers = {"energy_drift_largest": energy.max(), "energy_drift_end": energy[-1]}
        for key, name in (("rfd", "rel_fisher_divergence"), ("trajectory_error", "rel_trajectory_error")):
            if known(run.problem):
                values = series(run, name)[1]
                numbers |= {f"{key}_largest": values.max(), f"{key}_end": values[-1]}
        rows.append({"run": case} | {key: number(float(x)) for key, x in numbers.items()} | structure_row(t, -s_dot_u))
    truth = exact_dissipation(some)
    if truth is not None:
        rows.append({"run": "exact"} | structure_row(truth[0], np.array(truth[1])))

    def draw() -> Figure:
        shown = ["energy_rel_drift", "entropy_dissipation"]
        shown += ["rel_fisher_divergence", "rel_trajectory_error"] if known(some.problem) else []
        fig = Figure(figsize=(10.5, 1.9 * len(shown) + 1), layout="constrained")
        labelled = {NAMES[case]: run for case, run in found.items()}
        for ax, name in zip(fig.subplots(len(shown) // 2, 2).flat, shown, strict=True):
            draw_panel(ax, labelled, name, [LINES[case] for case in found])
        legend_below(fig, 3)
        fig.suptitle(heading(problem, found), x=0.01, ha="left")
        return fig

    publish(options, figure, rows, draw)


# Density error


def density_fresh(run: RunRecord, grid: tuple[float, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return the times of a run and the error of as many fresh exact samples at each."""
    generator, n = torch.Generator().manual_seed(1), run.config["particles"]
    drawn = [(float(t), run.problem.sample(n, generator=generator, t=float(t))) for t in run.times]
    return run.times, np.array([density_error(run.problem, v, t, grid) for t, v in drawn])


def density_error_figure(options: argparse.Namespace, figure: str, problem: str) -> None:
    """Relative L2 error of the density estimate over time: of samples of the flow, and of the others' particles.

    Beside them that of exact samples, as many as the other methods have, and as many as are drawn from the flow.
    """
    found = compare(problem, CASES, options)
    some, count, grid = found[FLOW], sample_count(options), GRIDS[problem]
    flow = TrainedFlow.load(trained_file(options.runs)).flow
    protocol = density_protocol(some.problem, flow, [float(t) for t in some.times], samples=count, grid=grid)
    at = np.array([row["t"] for row in protocol])
    errors: dict[str, tuple[np.ndarray, np.ndarray]] = {
        FLOW: (at, np.array([row["rel_l2_density"] for row in protocol]))
    }
    stepping = {case: run for case, run in found.items() if case != FLOW}
    for case, run in stepping.items():
        values = [density_error(run.problem, run.snapshot(k).v, float(t), grid) for k, t in enumerate(run.times)]
        errors[case] = run.times, np.array(values)
    other = found["sbp"]
    fresh = density_fresh(other, grid)
    many = at, np.array([row["rel_l2_density_fresh"] for row in protocol])
    rows = []
    n, baseline = other.config["particles"], "rel_l2_density_fresh"
    for name, (_, values) in {
        **errors,
        f"{baseline}, {n} samples": fresh,
        f"{baseline}, {count} samples": many,
    }.items():
        numbers = {"at_start": values[0], "mean": values.mean(), "largest": values.max(), "at_end": values[-1]}
        rows.append({"run": name, **{key: number(float(x)) for key, x in numbers.items()}})

    def draw() -> Figure:
        fig = Figure(figsize=(11.5, 5.8), layout="constrained")
        ax = fig.subplots()
        for case, curve in errors.items():
            ax.plot(*curve, label=NAMES[case], **LINES[case])
        style = DENSITY_CURVES[baseline][1]
        ax.plot(*fresh, label=f"baseline: fresh exact samples, {n:,}", **style)
        ax.plot(*many, label=f"baseline: fresh exact samples, {count:,}", **style | MANY)
        time_axis(ax, some.time_span, r"$\| f_h - f_* \| \, / \, \| f_* \|$")
        ax.set_ylim(bottom=0)
        legend_below(fig, 3)
        title = f"{heading(problem, found, count)}, kernel width {some.problem.bandwidth:g}"
        fig.suptitle(title, x=0.01, ha="left")
        return fig

    publish(options, figure, rows, draw)
