"""Figure 15 of arXiv:2603.10874: a mixture of Gaussians in 3D, scores against velocities.

python experiments/pinn_pm/figure_15.py
python experiments/pinn_pm/figure_15.py --smoke
"""

from __future__ import annotations

from drawing import score_figure
from study import command_line

PROBLEM, TIMES = "mixture_3d", (2.5, 15, 40)


def main() -> None:
    score_figure(command_line(__doc__, __file__, PROBLEM), "figure_15", PROBLEM, TIMES)


if __name__ == "__main__":
    main()
