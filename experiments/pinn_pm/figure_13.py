"""Figure 13 of arXiv:2603.10874: BKW in 3D, relative L2 error of the density.

python experiments/pinn_pm/figure_13.py
python experiments/pinn_pm/figure_13.py --smoke
"""

from __future__ import annotations

from drawing import density_error_figure
from study import command_line

PROBLEM = "bkw_3d"


def main() -> None:
    density_error_figure(command_line(__doc__, __file__, PROBLEM), "figure_13", PROBLEM)


if __name__ == "__main__":
    main()
