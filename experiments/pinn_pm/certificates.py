r"""What the theorems of arXiv:2603.10874 say of the trained flows, in numbers: Theorem 5 on the flow, Theorem 6 on KDE.

The table ``certificates`` has for each problem the ingredients of Theorem 5, :math:`\varepsilon_{\text{phys}}`,
:math:`\varepsilon_{\text{score}}` (for initial densities with a score) and :math:`N^{-1/2}`; where the solution is
known also the largest squared error :math:`E(t)` of the particles and the constants that it needs. They are measured,
the theorem has no numbers. The picture has the same over time for BKW in 2D.

``certificates_density`` splits the error of the density estimate at the final time by Theorem 6, against the number of
particles: what the wrong particles, the finite sample and the kernel's width add, and the bounds of the first two.

    python experiments/pinn_pm/certificates.py
    python experiments/pinn_pm/certificates.py --smoke
"""

from __future__ import annotations

import argparse
from typing import Any

import torch
from drawing import FLOW, TITLES
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from study import command_line, compare, trained_file

from graphlandau.cli.study import number, publish
from graphlandau.diagnostics import grid_axes
from graphlandau.diagnostics.certificates import DensitySplit, FlowCertificate, certify_flow, split_density_error
from graphlandau.methods import TrainedFlow
from graphlandau.plotting.style import PALETTE, REFERENCE, legend_below, time_axis, widen_decades
from graphlandau.problems import Problem

KNOWN = ("bkw_2d", "bkw_3d")
PARTICLES, TIMES = 2000, 21
SIZES, SMOKE_SIZES = (400, 1600, 6400, 25_600, 102_400), (100, 400)
SMOKE_PARTICLES, SMOKE_TIMES = 100, 3

# Over time: key of the rows, label, colour and width.
CURVES = {
    "error": (r"particles: $E(t) = \langle |v - v_*|^2 \rangle$", PALETTE[0], 2.2),
    "physics": (r"physics residual $\langle |\rho|^2 \rangle$", PALETTE[1], 1.6),
    "score_excess": (r"score excess $\langle |s - \nabla \log \, f|^2 \rangle$", PALETTE[2], 1.6),
    "score_error": (r"score error $\langle |s - s_*|^2 \rangle$", PALETTE[3], 1.6),
}
# Against the number of particles: key, label, colour, width, and the bound of the same. The total lies below its parts.
PARTS = {
    "total": ("total", "0.7", 4.5, ""),
    "trajectory": ("wrong particles", PALETTE[0], 1.6, "trajectory_bound"),
    "sampling": ("finite sample", PALETTE[1], 1.6, "sampling_bound"),
    "smoothing": ("width of the kernel", PALETTE[2], 1.6, ""),
}

Pair = tuple[TrainedFlow, Problem]


def trained_pair(name: str, options: argparse.Namespace) -> Pair:
    """Return the trained pair of a problem, and the problem; it is trained first if it is not there."""
    own = argparse.Namespace(**{**vars(options), "runs": options.runs / name})
    run = compare(name, [FLOW], own)[FLOW]
    return TrainedFlow.load(trained_file(own.runs)), run.problem


def certify(pair: Pair, smoke: bool) -> FlowCertificate | str:
    """Measure the ingredients of the error bound of a trained pair; or say why they are not defined."""
    trained, problem = pair
    particles, times = (SMOKE_PARTICLES, SMOKE_TIMES) if smoke else (PARTICLES, TIMES)
    try:
        return certify_flow(trained.flow, trained.score, problem, particles=particles, times=times)
    except ArithmeticError as error:
        return str(error).partition(";")[0]


def certificate_row(name: str, found: FlowCertificate | str) -> dict[str, Any]:
    """Return the numbers of Theorem 5."""
    if isinstance(found, str):
        return {"problem": name, "status": found}
    numbers = {
        "eps_phys": found.physics,
        "eps_score": found.score,
        "sampling": found.sampling,
        "largest_error": found.error,
        "constant": found.constant,
        "constant_without_sampling": found.constant_without_sampling,
        "largest_energy_drift": max(abs(row["energy_drift"]) for row in found.rows),
    }
    row = {"problem": name, "status": "done", "particles": found.particles}
    return row | {key: number(x) for key, x in numbers.items()}


@torch.no_grad()
def split(pair: Pair, n: int, t: float) -> DensitySplit:
    """Split the density error of ``n`` fresh particles at ``t``."""
    trained, problem = pair
    assert problem.grid is not None
    v0 = problem.sample(n, generator=torch.Generator().manual_seed(0)).to(next(trained.flow.parameters()))
    true, density = problem.characteristics(v0.double(), t), problem.density(t)
    assert true is not None
    assert density is not None
    half, points = problem.grid
    # Theorem 6 is about integrals: nodes no farther apart than the kernel is wide.
    points = max(points, int(2 * half / problem.bandwidth) + 2)
    axes = grid_axes(half, points, problem.d)
    return split_density_error(trained.flow.at(v0, t).double(), true, density, axes, problem.bandwidth)


def split_rows(name: str, splits: dict[int, DensitySplit]) -> list[dict[str, Any]]:
    """Return the parts of the squared relative error, a row for each number of particles."""
    rows = []
    for n, found in splits.items():
        keys = ("total", "trajectory", "trajectory_bound", "sampling", "sampling_bound", "smoothing", "bound")
        parts = {key: number(getattr(found, key) / found.norm) for key in keys}
        rows.append({"problem": name, "particles": n, **parts})
    return rows


def draw_time(found: FlowCertificate | str, name: str) -> Figure:
    """The ingredients of Theorem 5 over time."""
    if isinstance(found, str):
        raise SystemExit(f"{name}: {found}")
    fig = Figure(figsize=(9, 5.6), layout="constrained")
    ax = fig.subplots()
    for key, (label, colour, width) in CURVES.items():
        # The start is exact to rounding: nothing that a logarithmic axis should show.
        points = [(row["t"], row[key]) for row in found.rows if row[key] is not None and row[key] > 1e-12]
        ax.plot(*zip(*points, strict=True), color=colour, linewidth=width, marker="o", markersize=3, label=label)
    time_axis(ax, (found.rows[0]["t"], found.rows[-1]["t"]), "mean square over particles (dimensionless)")
    widen_decades(ax)
    legend_below(fig, 2)
    fig.suptitle(f"{TITLES[name]}: learned flow and score at {found.particles:,} fresh particles", x=0.01, ha="left")
    return fig


def draw_split(ax: Axes, splits: dict[int, DensitySplit], title: str) -> None:
    """The parts of the density error against the number of particles; bounds are dash-dotted."""
    sizes = list(splits)
    for key, (label, colour, width, bound) in PARTS.items():
        parts = [getattr(found, key) / found.norm for found in splits.values()]
        ax.loglog(sizes, parts, color=colour, linewidth=width, marker="o", label=label)
        if bound:
            limits = [getattr(found, bound) / found.norm for found in splits.values()]
            look = REFERENCE | {"color": colour, "linewidth": 1.4}
            ax.loglog(sizes, limits, label=f"{label}, bound", **look)
    ax.set_xlabel("particles $N$")
    ax.set_ylabel(r"$\| \cdot \|^2 \, / \, \| f_* \|^2$")
    ax.set_title(title)
    widen_decades(ax)


def draw_splits(splits: dict[str, dict[int, DensitySplit]], ends: dict[str, float]) -> Figure:
    """A panel for each problem."""
    fig = Figure(figsize=(11, 5.6), layout="constrained")
    for ax, (name, found) in zip(fig.subplots(1, len(splits)), splits.items(), strict=True):
        draw_split(ax, found, f"{TITLES[name]}, $t = {ends[name]:.4g}$")
    legend_below(fig, 3)
    fig.suptitle("Squared error of the density estimate, and its parts", x=0.01, ha="left")
    return fig


def main() -> None:
    options = command_line(__doc__, __file__, ".")
    pairs = {name: trained_pair(name, options) for name in TITLES}
    found = {name: certify(pair, options.smoke) for name, pair in pairs.items()}
    rows = [certificate_row(name, certificate) for name, certificate in found.items()]
    publish(options, "certificates", rows, lambda: draw_time(found[KNOWN[0]], KNOWN[0]))
    ends = {name: pairs[name][0].flow.t_end for name in KNOWN}
    sizes = SMOKE_SIZES if options.smoke else SIZES
    splits = {name: {n: split(pairs[name], n, ends[name]) for n in sizes} for name in KNOWN}
    rows = [row for name in KNOWN for row in split_rows(name, splits[name])]
    publish(options, "certificates_density", rows, lambda: draw_splits(splits, ends))


if __name__ == "__main__":
    main()
