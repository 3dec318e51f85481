"""Figure 25 of arXiv:2603.10874: a Gaussian without its core in 2D, energy and entropy.

python experiments/pinn_pm/figure_25.py
python experiments/pinn_pm/figure_25.py --smoke
"""

from __future__ import annotations

from drawing import structure_figure
from study import command_line

PROBLEM = "truncated_2d"


def main() -> None:
    structure_figure(command_line(__doc__, __file__, PROBLEM), "figure_25", PROBLEM)


if __name__ == "__main__":
    main()
