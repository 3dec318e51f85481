r"""Figure 11 of arXiv:2603.23901: two beams in their own field, three velocities: phase space, and what is exact.

With consistent numbers. Field and density of (x, v_1) are those of one velocity, the variances of v_2 and v_3 are
:math:`T_0 + (\sigma^2 - T_0) e^{-2 \epsilon t}`, and no two coordinates across the field are correlated: ``figure_11``
has phase space, ``figure_11_checks`` the field and the variances, its table all of it, and also for a control with 16
features instead of 56.

    python experiments/kinetic_jko/figures.py 11
    python experiments/kinetic_jko/figures.py 11 --smoke
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from beams import EPSILONS, NAMES, beam_runs
from drawing import phase_figure
from matplotlib.figure import Figure
from study import Records, command_line

from graphlandau.cli.study import number, publish, series
from graphlandau.plotting import RunRecord
from graphlandau.plotting.phase_snapshot import phase_snapshot
from graphlandau.plotting.style import EXACT, PALETTE, legend, legend_below, time_axis, widen_decades

TIMES = (0, 0.4, 1.2, 4)
TITLE = "Two beams in their own field, 1D3V"


def variances(run: RunRecord) -> tuple[np.ndarray, np.ndarray]:
    """Times, and the variances of v_2 and v_3 at the snapshots, ``(2, times)``."""
    snapshots = [phase_snapshot(run, k) for k in range(len(run.times))]
    return run.times, torch.stack([snapshot.v[:, 1:].var(0) for snapshot in snapshots], 1).numpy()


def check(run: RunRecord, single: RunRecord) -> dict[str, Any]:
    """Differences from what is exact, over all snapshots, and the noise of as many independent particles."""
    times, variance = variances(run)
    exact = np.array([run.problem.transverse_variance(float(t)) for t in times])
    correlations = []
    for k in range(len(times)):
        snapshot = phase_snapshot(run, k)
        across = torch.corrcoef(torch.cat([snapshot.v, _waves(run, snapshot.x)], 1).T)
        correlations.append(float(torch.cat([across[0, 1:3], across[1, 2:], across[2, 3:]]).abs().max()))
    (t, e2), (at, other) = series(run, "e2"), series(single, "e2")
    n, kl = len(phase_snapshot(run, 0).v), run.series("kl")
    last = phase_snapshot(run, -1)
    return {
        "particles": n,
        "dt": run.config["dt"],
        "var_v2_end": number(float(variance[0, -1])),
        "var_v3_end": number(float(variance[1, -1])),
        "var_exact_end": number(float(exact[-1])),
        "var_largest_relative_error": number(float(np.abs(variance / exact - 1).max())),
        "var_relative_noise": number(math.sqrt(2 / n)),
        "largest_correlation": number(max(correlations)),
        "correlation_noise": number(1 / math.sqrt(n)),
        "mean_v1^2_end": number(float(last.v[:, 0].square().mean())),
        "mean_v1^2_end_1d1v": number(float(phase_snapshot(single, -1).v[:, 0].square().mean())),
        "e2_end": number(float(e2[-1])),
        "e2_end_1d1v": number(float(other[-1])),
        "e2_largest_difference": number(float(np.abs(np.interp(at, t, e2) - other).max() / other.max())),
        "kl_end": None if kl is None else number(float(kl[1][-1] / run.problem.mass)),
        "wall_seconds": number(float(series(run, "wall_seconds")[1][-1])),
    }


def _waves(run: RunRecord, x: torch.Tensor) -> torch.Tensor:
    return torch.cat([torch.cos(run.problem.k * x), torch.sin(run.problem.k * x)], 1)


def draw_checks(found: Records, single: Records) -> Figure:
    """The field above, the variances across it below; a column for few and one for many collisions."""
    fig = Figure(figsize=(11.5, 7.2), layout="constrained")
    grid = fig.subplots(2, len(found), squeeze=False)
    for (field, variance), (kind, run) in zip(grid.T, found.items(), strict=True):
        field.plot(*series(single[kind], "e2"), color="0.6", linewidth=4, label="1D1V")
        field.plot(*series(run, "e2"), color=PALETTE[0], label="1D3V")
        time_axis(field, run.time_span, r"$\int |E|^2 \, dx$", rf"$\epsilon = {EPSILONS[kind]:g}$")
        widen_decades(field)
        legend(field, loc="lower right" if kind == "weak" else "lower left")
        times, values = variances(run)
        for a, (value, colour, marker) in enumerate(zip(values, PALETTE[:2], "os", strict=True), start=2):
            variance.plot(times, value, marker, color=colour, label=f"variance of $v_{a}$", markersize=6 - a)
        t = np.linspace(*run.time_span, 201)
        variance.plot(t, [run.problem.transverse_variance(float(at)) for at in t], label="exact", **EXACT)
        time_axis(variance, run.time_span, "variance across the field")
    legend_below(fig)
    fig.suptitle(f"{TITLE}: {next(iter(found.values())).config['particles']:,} particles", x=0.01, ha="left")
    return fig


def main() -> None:
    options = command_line(__doc__, __file__, "vpfp_1d3v")
    kinds = ("weak",) if options.smoke else tuple(EPSILONS)
    found = {kind: beam_runs(3, kind, options, ["features"])["features"] for kind in kinds}
    reference = {kind: beam_runs(3, kind, options, ["langevin-0"])["langevin-0"] for kind in kinds}
    coarse = {} if options.smoke else beam_runs(3, "strong", options, ["features-16"])
    # The runs of Figures 9 and 10.
    options.runs = options.runs.parent / "vpfp_1d1v"
    single = {kind: beam_runs(1, kind, options, ["features"])["features"] for kind in kinds}
    rows = []
    for kind in kinds:
        rows.append({"epsilon": EPSILONS[kind], "run": "features", **check(found[kind], single[kind])})
        rows.append({"epsilon": EPSILONS[kind], "run": "langevin", **check(reference[kind], single[kind])})
    rows += [
        {"epsilon": EPSILONS["strong"], "run": case, **check(run, single["strong"])} for case, run in coarse.items()
    ]
    names = {kind: rf"$\epsilon = {EPSILONS[kind]:g}$: {NAMES['features']}" for kind in kinds}
    title = f"{TITLE}: {found['weak'].config['particles']:,} particles"
    publish(options, "figure_11", rows, lambda: phase_figure(found, TIMES, title, names))
    publish(options, "figure_11_checks", rows, lambda: draw_checks(found, single))


if __name__ == "__main__":
    main()
