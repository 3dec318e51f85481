"""Figure 6 of arXiv:2603.23901, Example 3: two beams in a periodic potential, marginals at the end, relative entropy.

The table has the relative entropy at the start and the end, its least value in standard errors, its largest rise.

    python experiments/kinetic_jko/figure_6.py
    python experiments/kinetic_jko/figure_6.py --smoke
"""

from __future__ import annotations

from drawing import draw_example
from study import command_line

CONFIG = "vfp_periodic_1d"


def main() -> None:
    draw_example(command_line(__doc__, __file__, CONFIG), CONFIG, 1)


if __name__ == "__main__":
    main()
