"""Figure 4 of Huang and Wang, arXiv:2409.12296: BKW in 3D, energy and entropy.

python experiments/jko_landau/figures.py 4
python experiments/jko_landau/figures.py 4 --smoke
"""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from study import Records, command_line, draw_energy, draw_entropy, example, heading, relaxation

from graphlandau.cli.study import number, publish, series
from graphlandau.plotting.style import legend_below

EXAMPLE, SHOWN = "bkw_3d", ("network", "closed_form")


def draw(found: Records, title: str) -> Figure:
    """The two panels of the paper."""
    fig = Figure(figsize=(10, 4.4), layout="constrained")
    energy, entropy = fig.subplots(1, 2)
    draw_energy(energy, found)
    draw_entropy(entropy, found)
    legend_below(fig)
    fig.suptitle(title, x=0.01, ha="left")
    return fig


def main() -> None:
    options = command_line(__doc__, __file__, EXAMPLE)
    found = example(EXAMPLE, SHOWN, options)
    rows = []
    for case, run in found.items():
        error = np.abs(series(run, "entropy")[1] - series(run, "entropy_exact")[1]).max()
        rows.append({"run": case, **relaxation(run), "largest_entropy_error": number(float(error))})
    publish(options, "figure_4", rows, lambda: draw(found, heading("BKW in 3D", found)))


if __name__ == "__main__":
    main()
