"""The figures of Huang and Wang, arXiv:2409.12296, and studies beside them; those of one example share their runs.

python experiments/jko_landau/figures.py 7
python experiments/jko_landau/figures.py 4 5 --smoke
python experiments/jko_landau/figures.py --list
"""

from __future__ import annotations

from graphlandau.cli.study import Figure, make_figures, module_main

FIGURES = {
    "1": Figure("BKW in 2D, energy, entropy, and its decay to the equilibrium", module_main("figure_1")),
    "2": Figure("BKW in 2D, particles coloured by the exact and the carried density", module_main("figure_2")),
    "3": Figure("BKW in 2D, relative L2 error of the kernel density estimate over time", module_main("figure_3")),
    "4": Figure("BKW in 3D, energy and entropy", module_main("figure_4")),
    "5": Figure("BKW in 3D, slices of the kernel density estimate against the exact one", module_main("figure_5")),
    "6": Figure("Two Maxwellians in 2D, Coulomb, slices of JKO and blob", module_main("figure_6")),
    "7": Figure("Two Maxwellians in 2D, Coulomb, energy and entropy", module_main("figure_7")),
    "8": Figure("Two Maxwellians in 2D, Coulomb, the particles until equilibrium", module_main("figure_8")),
    "9": Figure("Rosenbluth's problem in 3D, slices of the kernel density estimate", module_main("figure_9")),
    "10": Figure("Rosenbluth's problem in 3D to t = 500 with steps of 1 and 5, entropy", module_main("figure_10")),
    "11": Figure("Seconds for one estimate of the field against N", module_main("figure_11")),
    "12": Figure("Unequal temperatures in 10D, three entries of the covariance", module_main("figure_12")),
    "13": Figure("Unequal temperatures in 10D, error of the covariance", module_main("figure_13")),
    "stability": Figure(
        "Entropy against time for four large steps, beyond Figure 10",
        module_main("figure_stability"),
    ),
    "examples": Figure(
        "Every example of Section 5 of Huang and Wang, arXiv:2409.12296, at the paper's size: a table of the numbers",
        module_main("examples"),
    ),
}

if __name__ == "__main__":
    make_figures(__doc__, FIGURES)
