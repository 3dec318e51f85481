"""Figure 16 of arXiv:2603.10874: a mixture of Gaussians in 3D, energy and entropy.

python experiments/pinn_pm/figure_16.py
python experiments/pinn_pm/figure_16.py --smoke
"""

from __future__ import annotations

from drawing import structure_figure
from study import command_line

PROBLEM = "mixture_3d"


def main() -> None:
    structure_figure(command_line(__doc__, __file__, PROBLEM), "figure_16", PROBLEM)


if __name__ == "__main__":
    main()
