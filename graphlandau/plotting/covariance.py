"""The covariance of the particles against its exact evolution, or else against equilibrium."""

from __future__ import annotations

import itertools
import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from graphlandau.diagnostics import effective_particles, equilibrium_distance_mc
from graphlandau.plotting.style import EXACT, PALETTE, REFERENCE, headline, legend, time_axis, widen_decades
from graphlandau.run.record import RunRecord

__all__ = [
    "draw_covariance",
    "draw_covariance_error",
    "draw_equilibrium_distance",
    "exact_covariance",
    "figure",
    "relaxing_off_diagonals",
]


def exact_covariance(run: RunRecord, times: np.ndarray) -> np.ndarray | None:
    """Return the exact covariance at ``times``, shape (T, d, d), or None if the problem knows none."""
    values = [run.problem.covariance(float(t)) for t in times]
    if any(value is None for value in values):
        return None
    return np.stack([value.numpy() for value in values if value is not None])


def relaxing_off_diagonals(run: RunRecord) -> list[tuple[int, int]]:
    r"""Return the entries :math:`a < b` that relax: a correlation above a tenth at some time, beyond its noise.

    The noise of a correlation of N particles is :math:`1 / \sqrt{N}`. The metrics have these entries for d <= 3.
    """
    noise = 4 / math.sqrt(effective_particles(len(run.snapshot(0).v), run.weight))
    found = []
    for a, b in itertools.combinations(range(min(run.problem.d, 3)), 2):
        entries = [run.series(f"cov_{i + 1}_{j + 1}") for i, j in ((a, b), (a, a), (b, b))]
        if any(entry is None for entry in entries):
            continue
        off, first, second = (entry[1] for entry in entries if entry is not None)
        if np.abs(off / np.sqrt(first * second)).max() > max(0.1, noise):
            found.append((a, b))
    return found


def draw_covariance(ax: Axes, run: RunRecord) -> None:
    r"""Draw the diagonal :math:`\Sigma_{aa}(t)` and what else relaxes; beyond d = 3 the third and later share a style.

    With it the exact evolution or, where only that is known, the temperature at equilibrium.
    """
    d = run.problem.d
    for a in range(d):
        series = run.series(f"cov_{a + 1}_{a + 1}")
        if series is None:
            continue
        own = d <= 3 or a < 2
        label = rf"$\Sigma_{{{a + 1}{a + 1}}}$" if own else rf"$\Sigma_{{33}}, \dots, \Sigma_{{{d},{d}}}$"
        style = {"color": PALETTE[a], "linewidth": 2.4} if own else {"color": PALETTE[2], "linewidth": 0.9}
        ax.plot(*series, label=label if own or a == 2 else None, gid=f"cov_{a + 1}_{a + 1}", **style)
    times = np.linspace(*run.time_span, 200)
    truth = exact_covariance(run, times)
    if truth is not None:
        for a in range(min(d, 3)):
            ax.plot(times, truth[:, a, a], gid="exact", **EXACT)
        ax.plot([], [], label="exact", **EXACT)
    elif (equilibrium := run.problem.equilibrium()) is not None:
        T = float(equilibrium.covariance[0, 0])
        ax.plot(run.time_span, [T] * 2, label="at equilibrium", gid="equilibrium", **REFERENCE)
    for k, (a, b) in enumerate(relaxing_off_diagonals(run)):
        name = f"cov_{a + 1}_{b + 1}"
        style = {"color": PALETTE[3 + k], "linewidth": 2.0, "linestyle": (0, (1, 1.2))}
        ax.plot(run.metrics["t"], run.metrics[name], label=rf"$\Sigma_{{{a + 1}{b + 1}}}$", gid=name, **style)
        if truth is not None:
            ax.plot(times, truth[:, a, b], gid="exact", **EXACT)
        else:
            ax.plot(run.time_span, [0.0, 0.0], gid="equilibrium_off_diagonal", **REFERENCE)
    time_axis(ax, run.time_span, r"covariance $\Sigma_{ab}$", "Covariance")
    # An isotropic problem keeps its covariance: show that as a flat line, not as magnified noise.
    low, high = ax.get_ylim()
    middle, span = (low + high) / 2, max(high - low, 0.2 * abs(high))
    # Room for the legend, whose lowest line is the limit where there is no exact curve among the others.
    ax.set_ylim(middle - 0.55 * span, middle + (1.05 if truth is None else 0.65) * span)


def draw_covariance_error(ax: Axes, run: RunRecord) -> None:
    r"""Draw :math:`\|\Sigma - \Sigma_*\|_F`, where the second starts from f_0's or from the sample's."""
    curves = {
        "cov_frobenius_error": (r"from the exact $\Sigma(t)$: with sampling error", PALETTE[0]),
        "cov_sample_error": ("from the exact evolution of\nthe particles' own $\\Sigma(t_0)$", PALETTE[1]),
    }
    for name, (label, colour) in curves.items():
        series = run.series(name)
        if series is not None:
            # The second starts from zero, which rounding turns into a number far below the axis.
            t, error = series
            seen = error > 1e-10
            ax.plot(t[seen], error[seen], color=colour, label=label, gid=name)
    time_axis(ax, run.time_span, r"$\| \Sigma - \Sigma_* \|_F$", "Covariance error")
    widen_decades(ax, above=0.25)


def draw_equilibrium_distance(ax: Axes, run: RunRecord) -> None:
    r"""Draw :math:`\|\Sigma - T I\|_F`, and what samples of the Maxwellian, as many as particles, would have."""
    series = run.series("equilibrium_distance")
    if series is not None:
        ax.plot(*series, color=PALETTE[0], label="particles", gid="equilibrium_distance")
    temperature = run.series("temperature")
    if temperature is not None:
        floor = equilibrium_distance_mc(
            float(temperature[1][-1]), effective_particles(len(run.snapshot(0).v), run.weight), run.problem.d
        )
        ax.plot(run.time_span, [floor] * 2, label="as many samples at equilibrium", gid="floor", **REFERENCE)
    time_axis(ax, run.time_span, r"$\| \Sigma - T I \|_F$", "Distance from isotropy")
    widen_decades(ax, above=0.3)


def figure(run: RunRecord) -> Figure | None:
    """Diagonal of the covariance; beside it its error where the truth is known, else the distance from isotropy."""
    if run.series("cov_1_1") is None:
        return None
    candidates = {"cov_frobenius_error": draw_covariance_error, "equilibrium_distance": draw_equilibrium_distance}
    panels = [draw for name, draw in candidates.items() if run.series(name) is not None][:1]
    fig = Figure(figsize=(10.5 if panels else 5.6, 4.4), layout="constrained")
    axes = fig.subplots(1, 1 + len(panels), squeeze=False)[0]
    for ax, draw in zip(axes, [draw_covariance, *panels], strict=True):
        draw(ax, run)
        legend(ax)
    headline(fig, f"Covariance of the particles: {run.title}")
    return fig
