"""Figure 24 of arXiv:2603.10874: a Gaussian without its core in 2D, scores against velocities.

python experiments/pinn_pm/figure_24.py
python experiments/pinn_pm/figure_24.py --smoke
"""

from __future__ import annotations

from drawing import score_figure
from study import command_line

PROBLEM, TIMES = "truncated_2d", (1, 2.5, 5)


def main() -> None:
    score_figure(command_line(__doc__, __file__, PROBLEM), "figure_24", PROBLEM, TIMES)


if __name__ == "__main__":
    main()
