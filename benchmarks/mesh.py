"""Error of the mesh against the tolerance it is made for: two plasmas, kernels, dimensions, numbers of particles.

    python benchmarks/mesh.py            # results/mesh.csv and .png, some minutes on 2 cores
    python benchmarks/mesh.py --quick

``error`` is relative to the direct sum in float64 at ``targets`` random particles, ``nodes`` the lattice, ``cell`` its
width in smallest standard deviations. ``gaussian`` is anisotropic with its exact score, ``beams`` two Maxwellians of
temperature 0.3 at -1 and 1 with theirs. From these errors come the constants of the rule for the width.
"""

from __future__ import annotations

import itertools

import torch
from matplotlib.figure import Figure
from measure import Reference, Table, announce, command_line, draw, folder, seconds_of
from torch import Tensor

from graphlandau.graphs.partition import Partition
from graphlandau.nn import LandauDrift
from graphlandau.nn.mesh.landau import drift_spacing
from graphlandau.nn.mesh.lattice import Mesh
from graphlandau.plotting.style import PALETTE, legend

TOLERANCES = [3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4]


def gaussian(n: int, d: int) -> tuple[Tensor, Tensor]:
    """Standard deviations 1 but for the last, 0.6."""
    deviation = torch.ones(d, dtype=torch.float64)
    deviation[-1] = 0.6
    v = deviation * torch.randn(n, d, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return v, -v / deviation**2


def beams(n: int, d: int) -> tuple[Tensor, Tensor]:
    """Two Maxwellians at -1 and 1 in the first direction."""
    generator = torch.Generator().manual_seed(0)
    sign = torch.where(torch.rand(n, generator=generator, dtype=torch.float64) < 0.5, 1.0, -1.0)
    v = 0.3**0.5 * torch.randn(n, d, generator=generator, dtype=torch.float64)
    v[:, 0] += sign
    # The posterior mean of the sign is a hyperbolic tangent.
    mean = torch.zeros_like(v)
    mean[:, 0] = torch.tanh(v[:, 0] / 0.3)
    return v, (mean - v) / 0.3


PLASMAS = {"gaussian": gaussian, "beams": beams}


def main() -> None:
    """Measure, print, write, draw."""
    options = command_line(__doc__, "mesh").parse_args()
    announce()
    out = folder(options)
    sizes = [2_000] if options.quick else [10_000, 100_000, 1_000_000]
    table = Table(out / "mesh.csv", ("plasma", "d", "gamma", "N", "tolerance"))
    targets = 200 if options.quick else 1_000
    for (plasma, sample), d, gamma, n in itertools.product(PLASMAS.items(), (2, 3), (-3.0, -2.0, -1.0), sizes):
        if (n > 100_000 and gamma != -3.0) or table.find(plasma=plasma, d=d, gamma=gamma, N=n, tolerance=TOLERANCES[0]):
            continue
        v, s = sample(n, d)
        reference, partition = Reference(v, s, gamma, targets), Partition.from_batch(None, v)
        v, s = v.float(), s.float()
        for tolerance in TOLERANCES:
            drift = LandauDrift(gamma, backend="mesh", tolerance=tolerance)
            row = {"plasma": plasma, "d": d, "gamma": gamma, "N": n, "tolerance": tolerance}
            try:
                seconds_of(lambda drift=drift, v=v, s=s: drift(v, s))
            except ValueError as error:
                table.add(row | {"error": None, "cell": None, "nodes": str(error)[-70:], "seconds": None})
                continue
            width = drift_spacing(v, partition, gamma, tolerance)
            nodes = " x ".join(map(str, Mesh.over(v, partition, width).shape))
            cell = float(width / torch.linalg.eigvalsh(torch.cov(v.double().T))[0].sqrt())
            error = reference.errors(drift(v, s))[0]
            seconds = seconds_of(lambda drift=drift, v=v, s=s: drift(v, s))
            table.add(row | {"error": error, "cell": cell, "nodes": nodes, "seconds": seconds})
    table.print()
    draw(out / "mesh.png", lambda: picture(table, sizes))


def picture(table: Table, sizes: list[int]) -> Figure:
    """Measured against asked, a panel for each dimension."""
    figure = Figure(figsize=(8.6, 4.0), layout="constrained")
    for axes, d in zip(figure.subplots(1, 2, sharey=True), (2, 3), strict=True):
        span = [min(TOLERANCES), max(TOLERANCES)]
        axes.plot(span, span, color="0.6", lw=1, zorder=0)
        axes.annotate(
            "measured = asked", (span[1], span[1]), (-4, 3), textcoords="offset points", ha="right", color="0.4"
        )
        for (gamma, colour), (n, marker) in itertools.product(
            zip((-3.0, -2.0, -1.0), PALETTE, strict=False), zip(sizes, "osD", strict=False)
        ):
            rows = [
                row
                for row in table.rows
                if (row["d"], row["gamma"], row["N"]) == (d, gamma, n) and row["error"] is not None
            ]
            if rows:
                x, y = [row["tolerance"] for row in rows], [row["error"] for row in rows]
                label = rf"$\gamma = {gamma:g}$, {n:,} particles"
                axes.plot(x, y, marker, ms=5, color=colour, mfc=colour if n == max(sizes) else "none", label=label)
        axes.set(xscale="log", yscale="log", title=f"{d}D", xlabel="error asked for")
    figure.axes[0].set_ylabel("error measured (relative)")
    legend(figure.axes[0])
    return figure


if __name__ == "__main__":
    main()
