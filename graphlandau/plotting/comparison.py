"""Runs of one problem in one figure: errors, relaxation, entropy, field and conservation, over time and a sweep."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from graphlandau.base.errors import InvalidArgument
from graphlandau.plotting.covariance import exact_covariance
from graphlandau.plotting.entropy import exact_dissipation, exact_entropy
from graphlandau.plotting.relaxation import DRIFT_ERROR, exact_free_energy, exact_kl, honest_scale
from graphlandau.plotting.style import EXACT, PALETTE, headline, legend, styled, time_axis, widen_decades
from graphlandau.problems import KineticProblem
from graphlandau.run.record import RunRecord

__all__ = ["KINETIC_PANELS", "PANELS", "Panel", "Swept", "draw_final", "draw_panel", "figure", "panels_of"]

# With the six colours: the lines of 24 runs. Dashes are left to the exact solution.
_LINES = ("solid", (0, (1, 1.2)), (0, (6, 1.5, 1, 1.5)), (0, (6, 1.5, 1, 1.5, 1, 1.5)))

Curve = tuple[np.ndarray, np.ndarray]


def exact_isotropy_distance(run: RunRecord) -> Curve | None:
    r"""Return times and exact :math:`\| \Sigma - T I \|_F`, None where the covariance is not known."""
    times = np.linspace(*run.time_span, 101)
    sigma = exact_covariance(run, times)
    if sigma is None:
        return None
    temperature = np.trace(sigma, axis1=1, axis2=2) / run.problem.d
    return times, np.linalg.norm(sigma - temperature[:, None, None] * np.eye(run.problem.d), axis=(1, 2))


def _known(curve: tuple[np.ndarray, list[float]] | None) -> Curve | None:
    return None if curve is None else (curve[0], np.array(curve[1]))


@dataclass(frozen=True)
class Panel:
    """One metric over time: its axis, whether that is logarithmic, and the exact curve where one is known.

    ``error`` is the column of the standard error of a metric that is positive but may be estimated as negative.
    """

    title: str
    y: str
    logarithmic: bool = True
    exact: Callable[[RunRecord], Curve | None] = lambda run: None
    error: str | None = None


PANELS = {
    "rel_fisher_divergence": Panel(
        "Relative Fisher divergence", r"$\langle |s - s_*|^2 \rangle \, / \, \langle |s_*|^2 \rangle$"
    ),
    "rel_l2_density": Panel("Density error", r"$\| f_h - f_* \| \, / \, \| f_* \|$"),
    "rel_trajectory_error": Panel("Trajectory error", r"$\langle |v - v_*|^2 \rangle \, / \, \langle |v_*|^2 \rangle$"),
    "cov_frobenius_error": Panel("Covariance error", r"$\| \Sigma - \Sigma_* \|_F$"),
    "equilibrium_distance": Panel("Distance from isotropy", r"$\| \Sigma - T I \|_F$", exact=exact_isotropy_distance),
    "entropy": Panel(
        "Entropy", r"$H = \int f \; \log \, f \; dv$", logarithmic=False, exact=lambda run: _known(exact_entropy(run))
    ),
    "entropy_dissipation": Panel(
        "Entropy dissipation", "dissipation $-dH/dt$", exact=lambda run: _known(exact_dissipation(run))
    ),
    "energy_rel_drift": Panel("Energy drift", r"$|E(t) - E(t_0)| \, / \, E(t_0)$"),
}

KINETIC_PANELS = {
    "kl": Panel(
        "Distance from equilibrium (KL)",
        r"$\int f \; \log (f / f_\infty)$",
        logarithmic=False,
        exact=exact_kl,
        error="kl_stderr",
    ),
    "free_energy": Panel(
        "Free energy", r"$F = $ energy $+ \; T_0 \int f \; \log \, f$", logarithmic=False, exact=exact_free_energy
    ),
    "drift_error": Panel("Error of the control", DRIFT_ERROR),
    "mode_amplitude": Panel("Mode of the field", "$|E_k|$"),
    "e2": Panel("Square of the field", r"$\int |E|^2 \, dx$"),
    "energy": Panel("Energy", "kinetic, of the field and potential", logarithmic=False),
    "energy_rel_drift": PANELS["energy_rel_drift"],
}
# Without collisions the entropy stands still, and the drift says more of the energy.
_OF_COLLISIONS = {"kl", "free_energy", "energy"}


# What is drawn against the key of a sweep, of these as many as the runs have but no more than four.
_FINAL = (
    "rel_fisher_divergence",
    "rel_l2_density",
    "rel_trajectory_error",
    "cov_frobenius_error",
    "drift_error",
    "kl",
    "energy_rel_drift",
)
_MOST_FINAL = 4


@dataclass(frozen=True)
class Swept:
    """A number that varies in a sweep, within each case; runs with equal ones differ in their seeds at most.

    Attributes:
        key: Its name.
        values: The number of each run, by its label.
        cases: What else sets a run apart, by its label.
    """

    key: str
    values: Mapping[str, float]
    cases: Mapping[str, str]

    @property
    def colours(self) -> dict[str, str]:
        """A colour for each case."""
        return dict(zip(dict.fromkeys(self.cases.values()), PALETTE, strict=False))

    def looks(self, labels: Sequence[str]) -> list[dict[str, Any]]:
        """How the line of each run is drawn: the colour is that of its case, paler for the smaller numbers."""
        return [{"color": self.colours[self.cases[k]], "alpha": self._strength(k), "linewidth": 1.6} for k in labels]

    def _strength(self, label: str) -> float:
        found = sorted(set(self.values.values()))
        return 1 - 0.7 * (len(found) - 1 - found.index(self.values[label])) / max(len(found) - 1, 1)

    def meanings(self) -> list[Line2D]:
        """Legend entries: a colour for each case, and for each number how pale its lines are."""
        one_of = {value: label for label, value in sorted(self.values.items(), key=lambda pair: pair[1])}
        cases = [Line2D([], [], label=_plain(case), color=colour) for case, colour in self.colours.items()]
        numbers = [
            Line2D([], [], label=f"{_plain(self.key)} = {value:g}", color="0.1", alpha=self._strength(label))
            for value, label in one_of.items()
        ]
        return [*cases, *numbers]


def _plain(text: str) -> str:
    return text.replace("$", r"\$")


def panels_of(runs: Mapping[str, RunRecord]) -> dict[str, Panel]:
    """Return the panels for runs of one problem: :data:`KINETIC_PANELS` for particles with positions."""
    problem = next(iter(runs.values())).problem
    if not isinstance(problem, KineticProblem):
        return PANELS
    return {name: p for name, p in KINETIC_PANELS.items() if problem.epsilon > 0 or name not in _OF_COLLISIONS}


def _curve(run: RunRecord, name: str, panel: Panel) -> Curve | None:
    """Return what a panel shows of a run: dissipation positive, on a logarithmic axis what is not zero."""
    series = run.series(name)
    if series is None:
        return None
    t, values = series
    values = -values if name == "entropy_dissipation" else values
    # A covariance that is isotropic is so to rounding only, which would stretch the axis over many decades.
    seen = values > 1e-12 if panel.logarithmic else np.full(t.shape, True)
    return (t[seen], values[seen]) if seen.any() else None


def draw_panel(
    ax: Axes, runs: Mapping[str, RunRecord], name: str, looks: Sequence[Mapping[str, Any]] | None = None
) -> None:
    """Draw one metric of all runs, and the exact curve where one is known.

    Args:
        ax: Where.
        runs: Runs of one problem by their labels.
        name: One of :func:`panels_of` the runs.
        looks: How the line of each is drawn. Unless given, earlier ones are wider, so that one below another is seen.
    """
    panel = panels_of(runs)[name]
    widths = np.linspace(2.4, 1.5, len(runs))
    given = looks or [{"linewidth": width, **_style(k)} for k, width in enumerate(widths)]
    for (label, run), look in zip(runs.items(), given, strict=True):
        curve = _curve(run, name, panel)
        if curve is not None:
            marker = "o" if len(curve[0]) == 1 else None
            ax.plot(*curve, marker=marker, label=label, gid=name, **look)
    longest = max(runs.values(), key=lambda run: run.time_span[1])
    truth = panel.exact(longest)
    if truth is not None and ((truth[1] > 1e-12).any() or not panel.logarithmic):
        ax.plot(*truth, label="exact", gid="exact", **EXACT)
    time_axis(ax, longest.time_span, panel.y, panel.title)
    if panel.logarithmic:
        widen_decades(ax)
    errors = [e for run in runs.values() if panel.error and (e := run.series(panel.error)) is not None]
    if errors:
        drawn = np.concatenate([np.asarray(line.get_ydata(), dtype=float) for line in ax.get_lines()])
        honest_scale(ax, drawn.min(), drawn.max(), min(float(e[1].min()) for e in errors))


def _style(k: int) -> dict[str, Any]:
    return {"color": PALETTE[k % len(PALETTE)], "linestyle": _LINES[k // len(PALETTE)]}


def _final(run: RunRecord, name: str) -> float | None:
    series = run.series(name)
    return None if series is None or not series[1][-1] > 0 else float(series[1][-1])


def draw_final(ax: Axes, runs: Mapping[str, RunRecord], name: str, swept: Swept) -> None:
    """Draw the last value of a metric against the swept number: a point for each run, a line for each case.

    The line joins the geometric means; the slope in the legend is of least squares on logarithmic axes, of all points.
    """
    panel = panels_of(runs)[name]
    for case, colour in swept.colours.items():
        labels = [label for label in runs if swept.cases[label] == case and _final(runs[label], name) is not None]
        if not labels:
            continue
        x = np.array([swept.values[label] for label in labels])
        y = np.array([_final(runs[label], name) for label in labels], dtype=float)
        ax.plot(x, y, "o", color=colour, markersize=4, alpha=0.6, gid=f"final_{name}")
        places = np.unique(x)
        means = [float(np.exp(np.log(y[x == place]).mean())) for place in places]
        slope = f": slope {np.polyfit(np.log(x), np.log(y), 1)[0]:.2f}" if len(places) > 1 else ""
        ax.plot(places, means, color=colour, linewidth=1.5, label=_plain(case) + slope, gid=f"mean_{name}")
    ax.set_xscale("log")
    found = sorted(set(swept.values.values()))
    ax.set_xticks(found, [f"{value:g}" for value in found])
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set(xlabel=_plain(swept.key), ylabel=panel.y)
    ax.set_title(f"{panel.title} at the end")
    widen_decades(ax, above=0.1 + 0.12 * len(swept.colours))
    legend(ax, loc="upper right")


@styled()
def figure(runs: Mapping[str, RunRecord], title: str, swept: Swept | None = None) -> Figure:
    """Draw a panel for each metric that one of the runs has, a line for each run, exact curves dashed.

    Of a sweep the last values are drawn against its number as well, and the colours are those of the cases. The legend
    is in the cells that are left of the grid; where none is, in the first panel if it is short, else below.

    Args:
        runs: Runs of one problem by their labels.
        title: What they have in common.
        swept: The number that varies, if the runs are a sweep.

    Raises:
        ValueError: If there are more runs, or cases of a sweep, than can be told apart.
    """
    most = len(_LINES) * len(PALETTE)
    if swept is not None and len(swept.colours) < len(set(swept.cases.values())):
        raise InvalidArgument("swept", f"must have at most {len(PALETTE)} cases", len(set(swept.cases.values())))
    if swept is None and len(runs) > most:
        raise InvalidArgument("run_dir", f"must be at most {most} runs, the lines that can be told apart", len(runs))
    found = [
        n for n, panel in panels_of(runs).items() if any(_curve(run, n, panel) is not None for run in runs.values())
    ]
    final = [n for n in _FINAL if n in panels_of(runs) and any(_final(run, n) is not None for run in runs.values())]
    final = final[:_MOST_FINAL] if swept is not None else []
    # One cell is left for the legend, which has too many lines for a panel.
    if len(final) > 1 and (len(found) + len(final)) % 3 == 0:
        final.pop()
    count = max(1, len(found) + len(final))
    columns = 2 if count == 4 else min(3, count)
    rows = -(-count // columns)
    free = rows * columns - count
    if swept is None:
        handles = [Line2D([], [], label=_plain(label), **_style(k)) for k, label in enumerate(runs)]
    else:
        handles = swept.meanings()
    # The exact curve, if there is one, adds a line.
    per_line = max(1, min(4, 150 * columns // 3 // (8 + max(len(str(h.get_label())) for h in handles))))
    below = 0.0 if free or len(handles) < _SHORT else 0.3 + 0.22 * -(-len(handles) // per_line)
    fig = Figure(figsize=(max(4.4 * columns, 7.0), 3.5 * rows + 0.4 + below), layout="constrained")
    axes = list(fig.subplots(rows, columns, squeeze=False).flat)
    for ax, name in zip(axes, found, strict=False):
        draw_panel(ax, runs, name, None if swept is None else swept.looks(list(runs)))
    if swept is not None:
        for ax, name in zip(axes[len(found) :], final, strict=False):
            draw_final(ax, runs, name, swept)
    if any(line.get_gid() == "exact" for ax in axes for line in ax.get_lines()):
        handles.append(Line2D([], [], label="exact", **EXACT))
    if free:
        _legend_in_cells(fig, axes[-free:], handles)
    elif below:
        fig.legend(handles=handles, loc="outside lower center", ncols=per_line)
    else:
        legend(axes[0], handles)
    headline(fig, title)
    return fig


# A legend of fewer lines finds room in a panel.
_SHORT = 6


def _legend_in_cells(fig: Figure, cells: Sequence[Axes], handles: Sequence[Line2D]) -> None:
    """Draw the legend where panels are missing in the last row of the grid, a column in each."""
    for cell in cells:
        cell.set_axis_off()
    # A character of this font is 0.58 of its size wide, on average, and a line 1.5 of it high; a cell is 4 by 3 inches.
    longest, lines = max(len(str(h.get_label())) for h in handles), -(-len(handles) // len(cells))
    size = min(9.0, 72 * 3.4 / (0.58 * longest), 72 * 2.9 / (1.5 * lines))
    # From the upper left corner of the first cell, wherever the layout puts it.
    where = {"loc": "upper left", "bbox_to_anchor": (0.0, 1.0), "bbox_transform": cells[0].transAxes}
    fig.legend(handles=handles, ncols=len(cells), fontsize=size, **where).set_in_layout(False)
