r"""Stability of large steps, beyond Figure 10 of Huang and Wang, arXiv:2409.12296: entropy against time for four steps.

Rosenbluth's problem in 3D to t = 100 with 1,600 particles in random batches of 800. The field is a closed form, so that
no training is left unfinished, minimised over the very batches that move the particles; with the logarithm of the
determinant to first order in the step, which makes the step explicit, and exact. A run whose step folds space ends
there: it is drawn as far as it went, and the table says why it ended. Entropies are those of the normalised density.

    python experiments/jko_landau/figures.py stability
    python experiments/jko_landau/figures.py stability --smoke
"""

from __future__ import annotations

from typing import Literal

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from study import Records, Runs, command_line, equilibrium_entropy, example_runs, heading, relaxation

from graphlandau.cli.study import publish, series, with_failures
from graphlandau.plotting.style import PALETTE, REFERENCE, time_axis

EXAMPLE = "rosenbluth_3d_long"
CASES: dict[str, tuple[str, Literal["-", "--"]]] = {
    "closed_form": ("linear determinant", "-"),
    "closed_form_exact": ("exact determinant", "--"),
}
STEPS, SMOKE_STEPS = (0.2, 1, 5, 20), (5, 20)


def runs(smoke: bool) -> Runs:
    """A run for each determinant and time step."""
    size = (
        ["--batch_size", "200", "--t_end", "20"]
        if smoke
        else ["--batch_size", "800", "--method.minibatch", "800", "--t_end", "100"]
    )
    more = size if smoke else [*size, "--particles", "1600"]
    found: Runs = {}
    for dt in SMOKE_STEPS if smoke else STEPS:
        found |= example_runs(EXAMPLE, list(CASES), smoke, *more, "--dt", str(dt), suffix=f"-{dt:g}")
    return found


def draw(found: Records, errors: dict[str, str]) -> Figure:
    """One panel; a line that leaves the range between start and equilibrium by far is cut."""
    fig = Figure(figsize=(9.5, 5.8), layout="constrained")
    ax = fig.subplots()
    some = next(iter(found.values()))
    span = (0.0, float(some.config["t_end"]))
    colours = dict(zip(dict.fromkeys(run.config["dt"] for run in found.values()), PALETTE, strict=False))
    for name, run in found.items():
        dashes, colour = CASES[name.partition("-")[0]][1], colours[run.config["dt"]]
        t, entropy = series(run, "entropy")
        ax.plot(t, entropy, dashes, color=colour)
        if name in errors:
            ax.plot(t[-1:], entropy[-1:], "x", color=colour, markersize=9, markeredgewidth=2, clip_on=False)
    start, level = float(series(some, "entropy")[1][0]), equilibrium_entropy(some)
    ax.plot(span, [level] * 2, **REFERENCE)
    time_axis(ax, span, r"$H = \langle \log f \rangle$, normalised density")
    ax.set_ylim(level - 0.35 * (start - level), start + 0.35 * (start - level))
    handles = [Line2D([], [], color=colour, label=rf"$\tau = {dt:g}$") for dt, colour in colours.items()]
    handles += [Line2D([], [], color="black", linestyle=dashes, label=name) for name, dashes in CASES.values()]
    handles.append(Line2D([], [], label="equilibrium", **REFERENCE))
    if errors:
        handles.append(Line2D([], [], color="black", marker="x", linestyle="", label="the run ends: a step is refused"))
    fig.legend(handles=handles, loc="outside lower center", ncols=4)
    fig.suptitle(heading("Rosenbluth's problem in 3D, JKO, closed form", found), x=0.01, ha="left")
    return fig


def main() -> None:
    options = command_line(__doc__, __file__, "stability")
    found, errors = with_failures(runs(options.smoke), options)
    rows = [{"run": name, **relaxation(run, errors.get(name, ""))} for name, run in found.items()]
    publish(options, "figure_stability", rows, lambda: draw(found, errors))


if __name__ == "__main__":
    main()
