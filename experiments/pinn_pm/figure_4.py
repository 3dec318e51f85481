"""Figure 4 of arXiv:2603.10874: BKW in 2D, slices of the density.

python experiments/pinn_pm/figure_4.py
python experiments/pinn_pm/figure_4.py --smoke
"""

from __future__ import annotations

from drawing import density_figure
from study import command_line

PROBLEM, TIMES = "bkw_2d", (1, 2.5, 5)


def main() -> None:
    density_figure(command_line(__doc__, __file__, PROBLEM), "figure_4", PROBLEM, TIMES)


if __name__ == "__main__":
    main()
