"""The figures of Lee, Wang and Li, arXiv:2603.23901, and studies beside them.

python experiments/kinetic_jko/figures.py 3
python experiments/kinetic_jko/figures.py 1 controls --smoke
python experiments/kinetic_jko/figures.py --list
"""

from __future__ import annotations

from collections.abc import Callable

from drawing import draw_example
from study import command_line

from graphlandau.cli.study import Figure, make_figures, module_main


def example(config: str, part: int) -> Callable[[], None]:
    """Phase space (0), or marginals and relative entropy (1), of an example; both share the runs of it."""
    return lambda: draw_example(command_line(__doc__, __file__, config), config, part)


FIGURES = {
    "1": Figure("A Gaussian in a parabola, error against the time step", module_main("figure_1")),
    "2": Figure("A Gaussian in a parabola, error over time, free energy", module_main("figure_2")),
    "3": Figure("Example 2: two beams in a rippled parabola (1D), phase space", example("vfp_double_well_1d", 0)),
    "4": Figure("Example 2: marginals at the end, relative entropy", example("vfp_double_well_1d", 1)),
    "5": Figure("Example 3: two beams in a periodic potential, phase space", example("vfp_periodic_1d", 0)),
    "6": Figure("Example 3: marginals at the end, relative entropy", example("vfp_periodic_1d", 1)),
    "7": Figure("Example 4: rippled parabola in 3D, marginals", module_main("figure_7")),
    "8": Figure("Example 4: rippled parabola in 3D, relative entropies", module_main("figure_8")),
    "9": Figure("Two beams in their own field, square of the field", module_main("figure_9")),
    "10": Figure("Two beams in their own field, phase space", module_main("figure_10")),
    "11": Figure("Two beams in their own field, three velocities", module_main("figure_11")),
    "controls": Figure("Controls of one collision step", module_main("controls")),
    "as_printed": Figure("Section 4.2 with its numbers as they are printed", module_main("as_printed")),
    "landau_damping": Figure("Landau damping and two streams against linear theory", module_main("landau_damping")),
}

if __name__ == "__main__":
    make_figures(__doc__, FIGURES)
