"""Figure 9 of arXiv:2603.10874: BKW in 3D, slices and marginals of the density.

python experiments/pinn_pm/figure_9.py
python experiments/pinn_pm/figure_9.py --smoke
"""

from __future__ import annotations

from drawing import density_figure
from study import command_line

PROBLEM, TIMES = "bkw_3d", (5.5, 5.75, 6)


def main() -> None:
    options = command_line(__doc__, __file__, PROBLEM)
    density_figure(options, "figure_9", PROBLEM, TIMES)
    density_figure(options, "figure_9_marginals", PROBLEM, TIMES, "marginal")


if __name__ == "__main__":
    main()
