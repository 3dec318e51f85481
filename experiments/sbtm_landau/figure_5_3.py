"""Figure 5.3 of Ilin, Hu and Wang 2025: unequal temperatures in 3D, Maxwell molecules, exact covariance.

python experiments/sbtm_landau/figures.py 5.3            # n = 100 to 12,800
python experiments/sbtm_landau/figures.py 5.3 --smoke
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from study import CASES, Records, against_particles, over_time, scan

from graphlandau.cli.study import publish, read_command_line, records, table
from graphlandau.plotting.covariance import exact_covariance

SIZES = [100, 400, 1600, 6400, 12_800]
KEYS = ["cov_frobenius_error", "cov_sample_error", "energy_rel_drift", "entropy_dissipation"]


def draw(found: Records, sizes: Sequence[int], title: str) -> Figure:
    """Two temperatures and the dissipation over time, the covariance error against n."""
    fig = Figure(figsize=(13.5, 7.8), layout="constrained")
    axes = fig.subplots(2, 2).flat
    ends = [sizes[0], sizes[-1]]
    some = next(iter(found.values()))
    times = np.linspace(*some.time_span, 201)
    exact = exact_covariance(some, times)
    for k in (0, 1):
        label = rf"$\Sigma_{{{k + 1}{k + 1}}}$"
        over_time(axes[k], found, ends, f"cov_{k + 1}_{k + 1}", label, label)
        if exact is not None:
            axes[k].plot(times, exact[:, k, k], color="black", linestyle="--")
    against_particles(axes[2], found, sizes, "cov_frobenius_error", "Covariance error", r"$\|\Sigma - \Sigma_*\|_F$")
    over_time(axes[3], found, ends, "entropy_dissipation", "Entropy decay rate", r"$\langle s \cdot U \rangle$")
    fig.legend(*axes[2].get_legend_handles_labels(), loc="outside lower center", ncols=5)
    fig.suptitle(title, x=0.01, ha="left")
    return fig


def main() -> None:
    options = read_command_line(__doc__, __file__, SIZES, [60, 120])
    sizes = options.sizes
    runs = scan("figure_5_3", CASES, sizes, *(["--t_end", "0.2", "--dt", "0.05"] if options.smoke else []))
    found = records(runs, options)
    title = "Unequal temperatures in 3D, Maxwell molecules (exact: dashed)"
    publish(options, "figure_5_3", table(found, KEYS), lambda: draw(found, sizes, title))


if __name__ == "__main__":
    main()
