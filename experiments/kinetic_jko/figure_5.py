"""Figure 5 of arXiv:2603.23901, Example 3: two beams in a periodic potential, phase space.

The table compares means over the particles with those of Langevin particles and of the stationary density (quadrature).

    python experiments/kinetic_jko/figure_5.py
    python experiments/kinetic_jko/figure_5.py --smoke
"""

from __future__ import annotations

from drawing import draw_example
from study import command_line

CONFIG = "vfp_periodic_1d"


def main() -> None:
    draw_example(command_line(__doc__, __file__, CONFIG), CONFIG, 0)


if __name__ == "__main__":
    main()
