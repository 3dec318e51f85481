"""Figure 5.2 of Ilin, Hu and Wang 2025: the BKW solution in 3D, six measures of accuracy against n.

python experiments/sbtm_landau/figures.py 5.2            # n = 100 to 12,800
python experiments/sbtm_landau/figures.py 5.2 --smoke
"""

from __future__ import annotations

from matplotlib.figure import Figure
from study import CASES, Records, against_particles, over_time, scan

from graphlandau.cli.study import publish, read_command_line, records, table

SIZES = [100, 400, 1600, 12_800]
KEYS = ["cov_frobenius_error", "rel_fisher_divergence", "rel_l2_density", "momentum_abs_drift", "energy_rel_drift"]


def draw(found: Records, sizes: list[int]) -> Figure:
    """The six panels of the paper."""
    fig = Figure(figsize=(13.5, 7.8), layout="constrained")
    axes = fig.subplots(2, 3).flat
    ends = [sizes[0], sizes[-1]]
    over_time(axes[0], found, ends, "cov_1_1", r"$\Sigma_{11}$", r"$\Sigma_{11}$, exactly 1")
    axes[0].axhline(1.0, color="black", linestyle="--")
    against_particles(axes[1], found, sizes, "cov_frobenius_error", "Covariance error", r"$\|\Sigma - \Sigma_*\|_F$")
    against_particles(axes[2], found, sizes, "rel_fisher_divergence", "Score error", "relative Fisher divergence")
    against_particles(axes[3], found, sizes, "rel_l2_density", "Density error (KDE)", "relative $L^2$ error")
    against_particles(axes[4], found, sizes, "momentum_abs_drift", "Momentum drift", r"$|p(t) - p(t_0)|$")
    against_particles(axes[5], found, sizes, "energy_rel_drift", "Energy drift (Euler)", r"$|E(t) - E(t_0)| / E(t_0)$")
    fig.legend(*axes[2].get_legend_handles_labels(), loc="outside lower center", ncols=5)
    fig.suptitle("BKW in 3D, t = 9.5", x=0.01, ha="left")
    return fig


def main() -> None:
    options = read_command_line(__doc__, __file__, SIZES, [60, 120])
    sizes = options.sizes
    # Only first and last density: each costs a pass over the grid. The baselines are the same for all: measured once.
    more = ["--snapshots", "2", "--baselines", "false", *(["--t_end", "5.6", "--dt", "0.05"] if options.smoke else [])]
    runs = scan("figure_5_2", CASES, sizes, *more)
    found = records(runs, options)
    publish(options, "figure_5_2", table(found, KEYS), lambda: draw(found, sizes))


if __name__ == "__main__":
    main()
