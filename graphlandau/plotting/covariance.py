"""The covariance of the particles against its exact evolution."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from graphlandau.plotting.run_record import RunRecord
from graphlandau.plotting.style import EXACT, PALETTE, legend, time_axis, widen_decades

__all__ = ["draw_covariance", "draw_covariance_error", "exact_covariance", "figure"]


def exact_covariance(run: RunRecord, times: np.ndarray) -> np.ndarray | None:
    """Return the exact covariance at ``times``, shape (T, d, d), or None if the problem knows none."""
    values = [run.problem.covariance(float(t)) for t in times]
    if any(value is None for value in values):
        return None
    return np.stack([value.numpy() for value in values if value is not None])


def draw_covariance(ax: Axes, run: RunRecord) -> None:
    r"""Draw the diagonal :math:`\Sigma_{aa}(t)`; beyond d = 3 the third and later share one style."""
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
    time_axis(ax, run.time_span, r"covariance $\Sigma_{aa}$", "Covariance")
    # An isotropic problem keeps its covariance: show that as a flat line, not as magnified noise.
    low, high = ax.get_ylim()
    middle, span = (low + high) / 2, max(high - low, 0.2 * abs(high))
    ax.set_ylim(middle - 0.55 * span, middle + 0.65 * span)


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


def figure(run: RunRecord) -> Figure | None:
    """Diagonal of the covariance, and where the truth is known its error."""
    if run.series("cov_1_1") is None:
        return None
    errors = run.series("cov_frobenius_error") is not None
    fig = Figure(figsize=(10.5 if errors else 5.6, 4.4), layout="constrained")
    axes = fig.subplots(1, 2 if errors else 1, squeeze=False)[0]
    draw_covariance(axes[0], run)
    legend(axes[0])
    if errors:
        draw_covariance_error(axes[1], run)
        legend(axes[1])
    fig.suptitle(f"Covariance of the particles: {run.title}", x=0.01, ha="left")
    return fig
