"""Figures 4 to 25 of Kim, Son, Kim and Lee, arXiv:2603.10874; those of one problem share their runs.

python experiments/pinn_pm/figures.py 14
python experiments/pinn_pm/figures.py 4 5 --smoke
python experiments/pinn_pm/figures.py --list
"""

from __future__ import annotations

from collections.abc import Callable

from drawing import density_error_figure, density_figure, score_figure, structure_figure, transport_figure
from study import command_line

from graphlandau.cli.study import Figure, make_figures

# Times that the paper shows.
TIMES = {
    "bkw_2d": (1, 2.5, 5),
    "bkw_3d": (5.5, 5.75, 6),
    "mixture_3d": (2.5, 15, 40),
    "rosenbluth_3d_wide": (5, 10, 20),
    "bimaxwellian_2d": (10, 20, 40),
    "truncated_2d": (1, 2.5, 5),
}
# Figure, what it shows, how it is drawn, the problem.
TABLE: dict[str, tuple[str, Callable[..., None], str]] = {
    "4": ("BKW in 2D, slices of the density", density_figure, "bkw_2d"),
    "5": ("BKW in 2D, particles of the flow and the exact characteristics", transport_figure, "bkw_2d"),
    "6": ("BKW in 2D, scores against velocities", score_figure, "bkw_2d"),
    "7": ("BKW in 2D, energy, entropy and score error", structure_figure, "bkw_2d"),
    "8": ("BKW in 2D, relative L2 error of the density", density_error_figure, "bkw_2d"),
    "9": ("BKW in 3D, slices and marginals of the density", density_figure, "bkw_3d"),
    "10": ("BKW in 3D, particles of the flow and the exact characteristics", transport_figure, "bkw_3d"),
    "11": ("BKW in 3D, scores against velocities", score_figure, "bkw_3d"),
    "12": ("BKW in 3D, energy, entropy and score error", structure_figure, "bkw_3d"),
    "13": ("BKW in 3D, relative L2 error of the density", density_error_figure, "bkw_3d"),
    "14": ("A mixture of Gaussians in 3D, slices of the density", density_figure, "mixture_3d"),
    "15": ("A mixture of Gaussians in 3D, scores against velocities", score_figure, "mixture_3d"),
    "16": ("A mixture of Gaussians in 3D, energy and entropy", structure_figure, "mixture_3d"),
    "17": ("Rosenbluth's problem in 3D, slices of the density", density_figure, "rosenbluth_3d_wide"),
    "18": ("Rosenbluth's problem in 3D, scores against velocities", score_figure, "rosenbluth_3d_wide"),
    "19": ("Rosenbluth's problem in 3D, energy and entropy", structure_figure, "rosenbluth_3d_wide"),
    "20": ("Two Maxwellians in 2D, slices of the density", density_figure, "bimaxwellian_2d"),
    "21": ("Two Maxwellians in 2D, scores against velocities", score_figure, "bimaxwellian_2d"),
    "22": ("Two Maxwellians in 2D, energy and entropy", structure_figure, "bimaxwellian_2d"),
    "23": ("A Gaussian without its core in 2D, slices of the density", density_figure, "truncated_2d"),
    "24": ("A Gaussian without its core in 2D, scores against velocities", score_figure, "truncated_2d"),
    "25": ("A Gaussian without its core in 2D, energy and entropy", structure_figure, "truncated_2d"),
}
AT_TIMES = (density_figure, transport_figure, score_figure)


def make(number: str) -> None:
    """Make one of them; Figure 9 shows marginals too."""
    _, draw, problem = TABLE[number]
    options = command_line(__doc__, __file__, problem)
    times = [TIMES[problem]] if draw in AT_TIMES else []
    draw(options, f"figure_{number}", problem, *times)
    if number == "9":
        density_figure(options, "figure_9_marginals", problem, TIMES[problem], "marginal")


FIGURES = {number: Figure(title, lambda number=number: make(number)) for number, (title, _, _) in TABLE.items()}

if __name__ == "__main__":
    make_figures(__doc__, FIGURES)
