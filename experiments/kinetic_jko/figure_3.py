"""Figure 3 of arXiv:2603.23901, Example 2: two beams in a rippled parabola (1D), phase space.

The table compares means over the particles with those of Langevin particles and of the stationary density (quadrature).

    python experiments/kinetic_jko/figure_3.py
    python experiments/kinetic_jko/figure_3.py --smoke
"""

from __future__ import annotations

from drawing import draw_example
from study import command_line

CONFIG = "vfp_double_well_1d"


def main() -> None:
    draw_example(command_line(__doc__, __file__, CONFIG), CONFIG, 0)


if __name__ == "__main__":
    main()
