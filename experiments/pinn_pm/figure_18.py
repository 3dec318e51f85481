"""Figure 18 of arXiv:2603.10874: Rosenbluth's problem in 3D, scores against velocities.

python experiments/pinn_pm/figure_18.py
python experiments/pinn_pm/figure_18.py --smoke
"""

from __future__ import annotations

from drawing import score_figure
from study import command_line

PROBLEM, TIMES = "rosenbluth_3d_wide", (5, 10, 20)


def main() -> None:
    score_figure(command_line(__doc__, __file__, PROBLEM), "figure_18", PROBLEM, TIMES)


if __name__ == "__main__":
    main()
