"""Figure 23 of arXiv:2603.10874: a Gaussian without its core in 2D, slices of the density.

python experiments/pinn_pm/figure_23.py
python experiments/pinn_pm/figure_23.py --smoke
"""

from __future__ import annotations

from drawing import density_figure
from study import command_line

PROBLEM, TIMES = "truncated_2d", (1, 2.5, 5)


def main() -> None:
    density_figure(command_line(__doc__, __file__, PROBLEM), "figure_23", PROBLEM, TIMES)


if __name__ == "__main__":
    main()
