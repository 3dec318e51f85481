"""Figure 2 of Huang and Wang, arXiv:2409.12296: BKW in 2D, particles coloured by the exact and the carried density.

python experiments/jko_landau/figures.py 2
python experiments/jko_landau/figures.py 2 --smoke
"""

from __future__ import annotations

from matplotlib.figure import Figure
from study import carried_density, command_line, differences, example, heading, scatter

from graphlandau.cli.study import publish, snapshots_at

EXAMPLE, CASE = "bkw_2d", "network"
SHARES = (0.0, 0.2, 1.0)  # t = 0, 1 and 5


def main() -> None:
    options = command_line(__doc__, __file__, EXAMPLE)
    run = example(EXAMPLE, [CASE], options)[CASE]
    snapshots = snapshots_at(run, SHARES)
    exact = [run.problem.log_prob(s.v, s.t).exp().numpy() for s in snapshots]
    carried = [carried_density(s) for s in snapshots]
    rows = [{"t": f"{s.t:g}", **differences(f, g)} for s, f, g in zip(snapshots, carried, exact, strict=True)]
    title = heading("BKW in 2D, the paper's network", {CASE: run})

    def draw() -> Figure:
        return scatter(snapshots, ("exact", exact), ("carried", carried), run.half_width, title)

    publish(options, "figure_2", rows, draw)


if __name__ == "__main__":
    main()
