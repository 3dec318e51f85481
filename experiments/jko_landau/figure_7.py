"""Figure 7 of Huang and Wang, arXiv:2409.12296: two Maxwellians in 2D, Coulomb, energy and entropy.

python experiments/jko_landau/figures.py 7
python experiments/jko_landau/figures.py 7 --smoke
"""

from __future__ import annotations

from figure_4 import draw
from figure_6 import EXAMPLE, SHOWN
from study import command_line, example, heading, relaxation

from graphlandau.cli.study import publish


def main() -> None:
    options = command_line(__doc__, __file__, EXAMPLE)
    found = example(EXAMPLE, SHOWN, options)
    rows = [{"run": case, **relaxation(run)} for case, run in found.items()]
    publish(options, "figure_7", rows, lambda: draw(found, heading("Two Maxwellians in 2D, Coulomb", found)))


if __name__ == "__main__":
    main()
