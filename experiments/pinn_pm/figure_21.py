"""Figure 21 of arXiv:2603.10874: two Maxwellians in 2D, scores against velocities.

python experiments/pinn_pm/figure_21.py
python experiments/pinn_pm/figure_21.py --smoke
"""

from __future__ import annotations

from drawing import score_figure
from study import command_line

PROBLEM, TIMES = "bimaxwellian_2d", (10, 20, 40)


def main() -> None:
    score_figure(command_line(__doc__, __file__, PROBLEM), "figure_21", PROBLEM, TIMES)


if __name__ == "__main__":
    main()
