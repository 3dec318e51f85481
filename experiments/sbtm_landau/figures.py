"""The figures of Section 5 of Ilin, Hu and Wang 2025.

python experiments/sbtm_landau/figures.py 5.3
python experiments/sbtm_landau/figures.py all --smoke
python experiments/sbtm_landau/figures.py --list
"""

from __future__ import annotations

from graphlandau.cli.study import Figure, make_figures, module_main

FIGURES = {
    "5.1": Figure("The learning rate, and training for as long as it pays", module_main("figure_5_1")),
    "5.2": Figure("The BKW solution in 3D, six measures of accuracy against n", module_main("figure_5_2")),
    "5.3": Figure("Unequal temperatures in 3D, Maxwell molecules, exact covariance", module_main("figure_5_3")),
    "5.4": Figure("Unequal temperatures in 10D, where the blob fails", module_main("figure_5_4")),
    "5.5": Figure("Unequal temperatures in 3D, Coulomb collisions, to t = 300 with dt = 1", module_main("figure_5_5")),
    "5.6": Figure("Seconds for one estimate of the score against n, with fitted exponents", module_main("figure_5_6")),
}

if __name__ == "__main__":
    make_figures(__doc__, FIGURES)
