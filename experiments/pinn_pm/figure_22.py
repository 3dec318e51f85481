"""Figure 22 of arXiv:2603.10874: two Maxwellians in 2D, energy and entropy.

python experiments/pinn_pm/figure_22.py
python experiments/pinn_pm/figure_22.py --smoke
"""

from __future__ import annotations

from drawing import structure_figure
from study import command_line

PROBLEM = "bimaxwellian_2d"


def main() -> None:
    structure_figure(command_line(__doc__, __file__, PROBLEM), "figure_22", PROBLEM)


if __name__ == "__main__":
    main()
