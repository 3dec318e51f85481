"""Figure 20 of arXiv:2603.10874: two Maxwellians in 2D, slices of the density.

The caption in the paper is that of Figure 21.

    python experiments/pinn_pm/figure_20.py
    python experiments/pinn_pm/figure_20.py --smoke
"""

from __future__ import annotations

from drawing import density_figure
from study import command_line

PROBLEM, TIMES = "bimaxwellian_2d", (10, 20, 40)


def main() -> None:
    density_figure(command_line(__doc__, __file__, PROBLEM), "figure_20", PROBLEM, TIMES)


if __name__ == "__main__":
    main()
