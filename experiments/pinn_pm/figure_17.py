"""Figure 17 of arXiv:2603.10874: Rosenbluth's problem in 3D, slices of the density.

python experiments/pinn_pm/figure_17.py
python experiments/pinn_pm/figure_17.py --smoke
"""

from __future__ import annotations

from drawing import density_figure
from study import command_line

PROBLEM, TIMES = "rosenbluth_3d_wide", (5, 10, 20)


def main() -> None:
    density_figure(command_line(__doc__, __file__, PROBLEM), "figure_17", PROBLEM, TIMES)


if __name__ == "__main__":
    main()
