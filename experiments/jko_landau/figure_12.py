"""Figure 12 of Huang and Wang, arXiv:2409.12296: unequal temperatures in 10D, three entries of the covariance.

python experiments/jko_landau/figures.py 12
python experiments/jko_landau/figures.py 12 --smoke
"""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from study import NAMES, Records, command_line, example, heading

from graphlandau.cli.study import number, publish, series
from graphlandau.plotting.covariance import exact_covariance
from graphlandau.plotting.style import EXACT, PALETTE, legend_below, time_axis

EXAMPLE, SHOWN = "anisotropic_10d", ("network", "closed_form")
ENTRIES = (1, 2, 3)


def draw(found: Records) -> Figure:
    """A panel for each case."""
    fig = Figure(figsize=(11, 4.8), layout="constrained")
    axes = fig.subplots(1, len(found), sharey=True)
    for ax, (case, run) in zip(axes, found.items(), strict=True):
        for k, colour in zip(ENTRIES, PALETTE, strict=False):
            ax.plot(*series(run, f"cov_{k}_{k}"), color=colour, label=rf"$\Sigma_{{{k}{k}}}$")
        times = np.linspace(*run.time_span, 201)
        truth = exact_covariance(run, times)
        assert truth is not None
        for k in ENTRIES:
            ax.plot(times, truth[:, k - 1, k - 1], **EXACT, label="exact" if k == ENTRIES[-1] else None)
        time_axis(ax, run.time_span, r"covariance $\Sigma_{aa}$" if ax is axes[0] else "", NAMES[case])
    legend_below(fig)
    fig.suptitle(heading("Unequal temperatures in 10D, Maxwell molecules", found), x=0.01, ha="left")
    return fig


def main() -> None:
    options = command_line(__doc__, __file__, EXAMPLE)
    found = example(EXAMPLE, SHOWN, options)
    rows = []
    for case, run in found.items():
        for k in ENTRIES:
            t, values = series(run, f"cov_{k}_{k}")
            truth = exact_covariance(run, t)
            assert truth is not None
            error = values - truth[:, k - 1, k - 1]
            numbers = {"at_start": error[0], "largest": error[np.abs(error).argmax()], "at_end": error[-1]}
            rows.append({"run": case, "entry": f"{k},{k}", **{key: number(float(x)) for key, x in numbers.items()}})
    publish(options, "figure_12", rows, lambda: draw(found))


if __name__ == "__main__":
    main()
