"""Figure 12 of arXiv:2603.10874: BKW in 3D, energy, entropy and score error.

python experiments/pinn_pm/figure_12.py
python experiments/pinn_pm/figure_12.py --smoke
"""

from __future__ import annotations

from drawing import structure_figure
from study import command_line

PROBLEM = "bkw_3d"


def main() -> None:
    structure_figure(command_line(__doc__, __file__, PROBLEM), "figure_12", PROBLEM)


if __name__ == "__main__":
    main()
