"""Runs of one problem in one figure: errors, relaxation, entropy, field and conservation over time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from graphlandau.base.errors import InvalidArgument
from graphlandau.plotting.covariance import exact_covariance
from graphlandau.plotting.entropy import exact_dissipation, exact_entropy
from graphlandau.plotting.relaxation import DRIFT_ERROR, exact_free_energy, exact_kl, honest_scale
from graphlandau.plotting.style import EXACT, PALETTE, styled, time_axis, widen_decades
from graphlandau.problems import KineticProblem
from graphlandau.run.record import RunRecord

__all__ = ["KINETIC_PANELS", "PANELS", "Panel", "draw_panel", "figure", "panels_of"]

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


@styled()
def figure(runs: Mapping[str, RunRecord], title: str) -> Figure:
    """Draw a panel for each metric that one of the runs has, a line for each run, exact curves dashed.

    Args:
        runs: Runs of one problem by their labels.
        title: What they have in common.

    Raises:
        ValueError: If there are more runs than lines that can be told apart.
    """
    most = len(_LINES) * len(PALETTE)
    if len(runs) > most:
        raise InvalidArgument("run_dir", f"must be at most {most} runs, the lines that can be told apart", len(runs))
    found = [
        n for n, panel in panels_of(runs).items() if any(_curve(run, n, panel) is not None for run in runs.values())
    ]
    columns = 2 if len(found) == 4 else min(3, max(1, len(found)))
    rows = -(-len(found) // columns)
    handles = [Line2D([], [], label=label.replace("$", r"\$"), **_style(k)) for k, label in enumerate(runs)]
    per_line = max(1, min(4, 150 * columns // 3 // (8 + max(map(len, runs)))))
    fig = Figure(figsize=(4.4 * columns, 3.5 * rows + 0.7 + 0.22 * -(-len(runs) // per_line)), layout="constrained")
    axes = list(fig.subplots(rows, columns, squeeze=False).flat)
    for ax, name in zip(axes, found, strict=False):
        draw_panel(ax, runs, name)
    for ax in axes[len(found) :]:
        ax.set_axis_off()
    if any(line.get_gid() == "exact" for ax in axes for line in ax.get_lines()):
        handles.append(Line2D([], [], label="exact", **EXACT))
    fig.legend(handles=handles, loc="outside lower center", ncols=per_line)
    fig.suptitle(title, x=0.01, ha="left")
    return fig
