"""Figure 10 of arXiv:2603.10874: BKW in 3D, particles of the flow and the exact characteristics.

python experiments/pinn_pm/figure_10.py
python experiments/pinn_pm/figure_10.py --smoke
"""

from __future__ import annotations

from drawing import transport_figure
from study import command_line

PROBLEM, TIMES = "bkw_3d", (5.5, 5.75, 6)


def main() -> None:
    transport_figure(command_line(__doc__, __file__, PROBLEM), "figure_10", PROBLEM, TIMES)


if __name__ == "__main__":
    main()
