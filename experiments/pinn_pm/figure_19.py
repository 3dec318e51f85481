"""Figure 19 of arXiv:2603.10874: Rosenbluth's problem in 3D, energy and entropy.

python experiments/pinn_pm/figure_19.py
python experiments/pinn_pm/figure_19.py --smoke
"""

from __future__ import annotations

from drawing import structure_figure
from study import command_line

PROBLEM = "rosenbluth_3d_wide"


def main() -> None:
    structure_figure(command_line(__doc__, __file__, PROBLEM), "figure_19", PROBLEM)


if __name__ == "__main__":
    main()
