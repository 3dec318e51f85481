"""Figure 11 of arXiv:2603.10874: BKW in 3D, scores against velocities.

python experiments/pinn_pm/figure_11.py
python experiments/pinn_pm/figure_11.py --smoke
"""

from __future__ import annotations

from drawing import score_figure
from study import command_line

PROBLEM, TIMES = "bkw_3d", (5.5, 5.75, 6)


def main() -> None:
    score_figure(command_line(__doc__, __file__, PROBLEM), "figure_11", PROBLEM, TIMES)


if __name__ == "__main__":
    main()
