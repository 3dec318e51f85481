"""Figure 8 of Huang and Wang, arXiv:2409.12296: two Maxwellians in 2D, Coulomb, the particles until equilibrium.

Above they are coloured by a kernel density estimate of Scott's bandwidth, below by the density they carry.

    python experiments/jko_landau/figures.py 8
    python experiments/jko_landau/figures.py 8 --smoke
"""

from __future__ import annotations

from figure_6 import EXAMPLE, HALF_WIDTH
from matplotlib.figure import Figure
from study import carried_density, command_line, differences, example, heading, scatter

from graphlandau.cli.study import publish, snapshots_at
from graphlandau.plotting.particles import density_at_particles

CASE = "network"
SHARES = (0.0, 0.25, 1.0)  # t = 0, 40 and 160


def main() -> None:
    options = command_line(__doc__, __file__, EXAMPLE)
    run = example(EXAMPLE, [CASE], options)[CASE]
    snapshots = snapshots_at(run, SHARES)
    estimates = [density_at_particles(run, s) for s in snapshots]
    carried = [carried_density(s) for s in snapshots]
    rows = [{"t": f"{s.t:g}", **differences(f, g)} for s, f, g in zip(snapshots, carried, estimates, strict=True)]
    title = heading("Two Maxwellians in 2D, Coulomb, the paper's network", {CASE: run})

    def draw() -> Figure:
        return scatter(snapshots, ("kernel estimate", estimates), ("carried", carried), HALF_WIDTH, title)

    publish(options, "figure_8", rows, draw)


if __name__ == "__main__":
    main()
