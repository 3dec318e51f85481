r"""Figure 8 of arXiv:2603.23901, Example 4: two beams in a rippled parabola in 3D, relative entropies over time.

Left: that of the density carried along the particles, with its standard error. Middle and right: of the marginals of
positions and velocities, by 40 bins of equal stationary probability, less the :math:`39 / 2N` that a sample of the
stationary density has on average; for Langevin particles beside them.

    python experiments/kinetic_jko/figures.py 8
    python experiments/kinetic_jko/figures.py 8 --smoke
"""

from __future__ import annotations

import math

import numpy as np
import torch
from drawing import draw_kl, heading, kl_row
from matplotlib.figure import Figure
from study import CONFIG_3D, Records, command_line, double_well_3d

from graphlandau.cli.study import number, publish
from graphlandau.plotting import RunRecord
from graphlandau.plotting.phase_snapshot import phase_snapshot
from graphlandau.plotting.style import PALETTE, REFERENCE, legend, time_axis

BINS = 40
REFERENCE_CASE = "langevin"


def marginal_entropies(run: RunRecord) -> np.ndarray:
    """Relative entropies of the marginals of x_1, x_2, x_3, v_1, v_2, v_3 at all snapshots, ``(6, times)``."""
    f = run.problem.equilibrium()
    u = torch.arange(1, BINS, dtype=torch.float64) / BINS
    edges = [marginal.icdf(u) for marginal in (*f.x, *f.v)]
    found = []
    for k in range(len(run.times)):
        snapshot = phase_snapshot(run, k)
        values = torch.cat([snapshot.x, snapshot.v], 1).T.contiguous()
        n, row = values.size(1), []
        for value, edge in zip(values, edges, strict=True):
            share = torch.bincount(torch.bucketize(value, edge), minlength=BINS) / n
            row.append(float(torch.xlogy(share, share * BINS).sum()) - (BINS - 1) / (2 * n))
        found.append(row)
    return np.array(found).T


def draw(found: Records, marginals: dict[str, np.ndarray]) -> Figure:
    """Of all coordinates, of positions, of velocities."""
    fig = Figure(figsize=(14, 4.7), layout="constrained")
    whole, *parts = fig.subplots(1, 3)
    draw_kl(whole, found)
    whole.set_title(r"All coordinates, $\pm 2$ standard errors")
    legend(whole)
    for ax, name, first in zip(parts, ("x", "v"), (0, 3), strict=True):
        for a in range(3):
            for case, values in marginals.items():
                jko = case != REFERENCE_CASE
                label = f"${name}_{a + 1}$" + ("" if jko else ", Langevin")
                style = "-" if jko else (0, (1, 1.2))
                ax.plot(found[case].times, values[first + a], linestyle=style, color=PALETTE[a], label=label)
        n = next(iter(found.values())).config["particles"]
        noise = math.sqrt((BINS - 1) / 2) / n
        ax.axhline(2 * noise, **REFERENCE, label="twice the noise")
        time_axis(ax, found["features"].time_span, "relative entropy", "Positions" if name == "x" else "Velocities")
        ax.set_yscale("symlog", linthresh=4 * noise)
        ax.set_ylim(bottom=-2 * noise)
        legend(ax, ncols=2, fontsize=8, loc="upper right")
    fig.suptitle(heading("Two beams in a rippled parabola in 3D", found), x=0.01, ha="left")
    return fig


def main() -> None:
    options = command_line(__doc__, __file__, CONFIG_3D)
    found = double_well_3d(options)
    marginals = {case: marginal_entropies(run) for case, run in found.items()}
    names = [f"kl_{name}_{a}" for name in "xv" for a in (1, 2, 3)]
    rows = []
    for case, run in found.items():
        row = {"run": case, **kl_row(run)}
        row |= {f"{name}_{at}": number(float(values[k])) for name, values in zip(names, marginals[case], strict=True)
                for at, k in (("start", 0), ("end", -1))}  # fmt: skip
        rows.append(row)
    publish(options, "figure_8", rows, lambda: draw(found, marginals))


if __name__ == "__main__":
    main()
