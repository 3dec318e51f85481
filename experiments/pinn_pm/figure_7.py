"""Figure 7 of arXiv:2603.10874: BKW in 2D, energy, entropy and score error.

python experiments/pinn_pm/figure_7.py
python experiments/pinn_pm/figure_7.py --smoke
"""

from __future__ import annotations

from drawing import structure_figure
from study import command_line

PROBLEM = "bkw_2d"


def main() -> None:
    structure_figure(command_line(__doc__, __file__, PROBLEM), "figure_7", PROBLEM)


if __name__ == "__main__":
    main()
