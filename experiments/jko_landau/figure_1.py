r"""Figure 1 of Huang and Wang, arXiv:2409.12296: BKW in 2D, energy, entropy, and its decay to the equilibrium.

The decay is shown to the entropy of the exact equilibrium (solid), and to that of the Maxwellian of the particles' own
temperature (dotted): their energy is that of a sample, and with it the entropy at which they end.

    python experiments/jko_landau/figures.py 1
    python experiments/jko_landau/figures.py 1 --smoke
"""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from study import (
    LINES,
    Records,
    command_line,
    draw_energy,
    draw_entropy,
    equilibrium_entropy,
    example,
    heading,
    maxwellian_entropy,
    relaxation,
)

from graphlandau.cli.study import number, publish, series
from graphlandau.plotting.entropy import exact_entropy
from graphlandau.plotting.style import EXACT, legend_below, time_axis, widen_decades

EXAMPLE, SHOWN = "bkw_2d", ("network", "closed_form")


def draw(found: Records) -> Figure:
    """The three panels of the paper."""
    fig = Figure(figsize=(13.5, 4.4), layout="constrained")
    energy, entropy, decay = fig.subplots(1, 3)
    draw_energy(energy, found)
    draw_entropy(entropy, found)
    some = next(iter(found.values()))
    level = equilibrium_entropy(some)
    for case, run in found.items():
        t, value = series(run, "entropy")
        for above, dashes in ((value - level, "-"), (value - maxwellian_entropy(run), ":")):
            decay.plot(t[above > 0], above[above > 0], dashes, **LINES[case])
    truth = exact_entropy(some)
    assert truth is not None
    decay.plot(truth[0], np.array(truth[1]) - level, **EXACT)
    time_axis(decay, some.time_span, r"$H - H_\infty$", "Decay to the equilibrium")
    widen_decades(decay)
    decay.plot([], [], "-", color="0.4", label=r"$H_\infty$ exact")
    decay.plot([], [], ":", color="0.4", label=r"$H_\infty$ of the particles' temperature")
    legend_below(fig)
    fig.suptitle(heading("BKW in 2D", found), x=0.01, ha="left")
    return fig


def main() -> None:
    options = command_line(__doc__, __file__, EXAMPLE)
    found = example(EXAMPLE, SHOWN, options)
    rows = []
    for case, run in found.items():
        (t, entropy), exact = series(run, "entropy"), series(run, "entropy_exact")[1]
        rates = {
            "decay_rate": entropy - maxwellian_entropy(run),
            "decay_rate_exact": exact - equilibrium_entropy(run),
        }
        fitted = {key: number(-float(np.polyfit(t[x > 0], np.log(x[x > 0]), 1)[0])) for key, x in rates.items()}
        error = number(float(np.abs(entropy - exact).max()))
        rows.append({"run": case, **relaxation(run), "largest_entropy_error": error, **fitted})
    publish(options, "figure_1", rows, lambda: draw(found))


if __name__ == "__main__":
    main()
