"""Figure 5 of arXiv:2603.10874: BKW in 2D, particles of the flow and the exact characteristics.

python experiments/pinn_pm/figure_5.py
python experiments/pinn_pm/figure_5.py --smoke
"""

from __future__ import annotations

from drawing import transport_figure
from study import command_line

PROBLEM, TIMES = "bkw_2d", (1, 2.5, 5)


def main() -> None:
    transport_figure(command_line(__doc__, __file__, PROBLEM), "figure_5", PROBLEM, TIMES)


if __name__ == "__main__":
    main()
