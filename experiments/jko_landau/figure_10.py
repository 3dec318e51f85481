r"""Figure 10 of Huang and Wang, arXiv:2409.12296: Rosenbluth's problem in 3D to t = 500 with steps of 1 and 5, entropy.

The entropy is that of the printed density, of mass :math:`\rho`: :math:`\rho H + \rho \log \rho`, at equilibrium
:math:`\rho \log \rho - \tfrac{3}{2} \rho \log (2 \pi e T)`. A run whose step folds space ends there: it is drawn as far
as it went, and the table says why it ended. In the table, columns without ``printed`` are of the normalised density.

    python experiments/jko_landau/figures.py 10
    python experiments/jko_landau/figures.py 10 --smoke
"""

from __future__ import annotations

import math

from matplotlib.figure import Figure
from study import LINES, NAMES, Records, Runs, command_line, equilibrium_entropy, example_runs, heading, relaxation

from graphlandau.cli.study import number, publish, series, with_failures
from graphlandau.plotting import RunRecord
from graphlandau.plotting.style import REFERENCE, time_axis

EXAMPLE = "rosenbluth_3d_long"
# Steps, and what is run with each: the closed form shows what is left of a deviation when nothing has to be trained.
SHOWN = {1: ("network",), 5: ("network", "closed_form")}


def runs(smoke: bool) -> Runs:
    """A run for each case and time step."""
    found: Runs = {}
    for dt, cases in SHOWN.items():
        found |= example_runs(EXAMPLE, cases, smoke, "--dt", str(dt), suffix=f"-{dt}")
    return found


def printed(run: RunRecord, entropy: float) -> float:
    """The entropy of the printed density, from that of the normalised one."""
    mass = run.problem.mass
    return mass * entropy + mass * math.log(mass)


def draw(found: Records, errors: dict[str, str]) -> Figure:
    """A panel for each time step."""
    fig = Figure(figsize=(12, 4.8), layout="constrained")
    some = next(iter(found.values()))
    level, longest = printed(some, equilibrium_entropy(some)), some.config["t_end"]
    for ax, (dt, cases) in zip(fig.subplots(1, len(SHOWN)), SHOWN.items(), strict=True):
        for case in cases:
            run = found[f"{case}-{dt}"]
            t, entropy = series(run, "entropy")
            values = [printed(run, float(h)) for h in entropy]
            failed = f"{case}-{dt}" in errors
            ax.plot(t, values, label=NAMES[case] + (f": ends at $t = {t[-1]:g}$" if failed else ""), **LINES[case])
            if failed:
                ax.plot(t[-1:], values[-1:], "x", color=LINES[case]["color"], markersize=9, markeredgewidth=2)
        ax.plot([0, longest], [level] * 2, **REFERENCE, label=r"equilibrium $H_\infty$")
        time_axis(ax, (0, longest), r"$\int \rho f \, \log (\rho f) \, dv$", rf"$\tau = {dt}$")
        low, high = ax.get_ylim()
        ax.set_ylim(low, high + 0.35 * (high - low))
        ax.legend(loc="upper right")
    fig.suptitle(heading("Rosenbluth's problem in 3D, Coulomb", found), x=0.01, ha="left")
    return fig


def main() -> None:
    options = command_line(__doc__, __file__, EXAMPLE)
    found, errors = with_failures(runs(options.smoke), options)
    rows = []
    for name, run in found.items():
        last = float(series(run, "entropy")[1][-1])
        numbers = {
            "mass": run.problem.mass,
            "printed_entropy": printed(run, last),
            "printed_equilibrium": printed(run, equilibrium_entropy(run)),
        }
        rows.append({"run": name, **relaxation(run, errors.get(name, ""))})
        rows[-1] |= {key: number(x) for key, x in numbers.items()}
    publish(options, "figure_10", rows, lambda: draw(found, errors))


if __name__ == "__main__":
    main()
