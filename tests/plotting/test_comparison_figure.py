"""The figure of several runs: every line is a metric of its run, exact curves are the problem's formulas."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from graphlandau.plotting import RunRecord
from graphlandau.plotting.comparison import PANELS, Swept, figure

RunDir = Callable[[str], Path]


def _copies(folder: Path, *names: str) -> dict[str, RunRecord]:
    return {name: RunRecord(Path(shutil.copytree(folder, folder.with_name(name)))) for name in names}


def _curves(fig: Figure, gid: str) -> list[np.ndarray]:
    return [np.asarray(line.get_xydata()) for ax in fig.axes for line in ax.get_lines() if line.get_gid() == gid]


def _panel(fig: Figure, title: str) -> Axes:
    (ax,) = [ax for ax in fig.axes if ax.get_title(loc="left") == title]
    return ax


def test_lines_are_the_metrics(run_dir: RunDir, without_columns: Callable[..., Path]) -> None:
    runs = _copies(run_dir("bkw_2d"), "a", "b")
    without_columns(runs["b"].path, "rel_fisher")
    fig = figure(runs, "two")
    assert len(_curves(fig, "rel_fisher_divergence")) == 1
    for name in ("cov_frobenius_error", "entropy"):
        for curve, run in zip(_curves(fig, name), runs.values(), strict=True):
            np.testing.assert_array_equal(curve.T, [run.metrics["t"], run.metrics[name]])
    # On a logarithmic axis there is no place for the zero at the start, and the dissipation is -dH/dt.
    drift, dissipation = _curves(fig, "energy_rel_drift")[0], _curves(fig, "entropy_dissipation")[0]
    np.testing.assert_array_equal(drift[:, 1], runs["a"].metrics["energy_rel_drift"][1:])
    np.testing.assert_array_equal(dissipation[:, 1], -runs["a"].metrics["entropy_dissipation"])


def test_exact_lines_are_the_problems(run_dir: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = _copies(run_dir("anisotropic_3d"), "a", "b")
    for run in runs.values():
        run.metrics["equilibrium_distance"] = 1 + run.metrics["t"]
    (exact,) = _curves(figure(runs, "two"), "exact")
    # Sigma - I = diag(0.8, -0.8, 0) e^{-t/2}.
    np.testing.assert_allclose(exact[:, 1], np.sqrt(2 * 0.8**2) * np.exp(-exact[:, 0] / 2), rtol=1e-12)
    entropy, dissipation = _curves(figure(_copies(run_dir("bkw_2d"), "c", "d"), "two"), "exact")
    problem = RunRecord(run_dir("bkw_3d").with_name("c")).problem
    for t, value in entropy[::25]:
        assert value == pytest.approx(problem.density(float(t)).entropy(), abs=1e-12)
    # What is dissipated between two times is the entropy that is lost: trapezoid rule, 100 intervals.
    lost = np.trapezoid(dissipation[:, 1], dissipation[:, 0])
    assert lost == pytest.approx(entropy[0, 1] - entropy[-1, 1], rel=1e-3)


def test_panels_without_data_are_left_out(run_dir: RunDir, without_columns: Callable[..., Path]) -> None:
    folder = without_columns(run_dir("bkw_2d"), "rel_", "cov_frobenius", "entropy", "equilibrium")
    assert [ax.get_title(loc="left") for ax in figure(_copies(folder, "a", "b"), "two").axes] == ["Energy drift"]


def test_a_run_is_drawn_as_far_as_it_got(run_dir: RunDir) -> None:
    runs = _copies(run_dir("bkw_2d"), "a", "b", "c")
    for name, rows in (("b", 20), ("c", 1)):
        metrics = runs[name].path / "metrics.csv"
        metrics.write_text("".join(metrics.read_text().splitlines(keepends=True)[: 1 + rows]))
    fig = figure(runs, "three")
    assert [len(curve) for curve in _curves(fig, "entropy")] == [51, 20, 1]
    # A single point is seen; the axis is that of the run that got farthest.
    assert [line.get_marker() for line in _panel(fig, "Entropy").get_lines()][:3] == ["None", "None", "o"]
    assert _panel(fig, "Entropy").get_xlim() == (0, 5)


def test_ten_runs_and_more_are_told_apart(run_dir: RunDir, tmp_path: Path) -> None:
    run = RunRecord(run_dir("bkw_2d"))
    style = dict(matplotlib.rcParams)
    fig = figure({f"run {k}, $m=_": run for k in range(24)}, "many")
    assert dict(matplotlib.rcParams) == style
    lines = [line for line in _panel(fig, "Entropy").get_lines() if line.get_gid() == "entropy"]
    assert len({(line.get_color(), str(line._dash_pattern)) for line in lines}) == 24
    # The exact solution alone is dashed.
    assert not any(line.get_color() == "black" or line.get_linestyle() == "dashed" for line in lines)
    (legend,) = fig.legends
    assert [text.get_text() for text in legend.get_texts()][-1] == "exact"
    assert len(legend.get_texts()) == 25
    # Nothing lies outside of the picture.
    fig.savefig(tmp_path / "many.png")
    box = legend.get_window_extent()
    assert 0 <= box.x0 < box.x1 <= fig.bbox.width
    assert 0 <= box.y0 < box.y1 < _panel(fig, "Entropy").get_window_extent().y0


def test_more_lines_than_can_be_told_apart_are_refused(run_dir: RunDir) -> None:
    run = RunRecord(run_dir("bkw_2d"))
    with pytest.raises(ValueError, match=r"'run_dir' must be at most 24 runs.*\(got 25\)"):
        figure({str(k): run for k in range(25)}, "too many")


def _sweep(folder: Path, rates: dict[str, float]) -> tuple[dict[str, RunRecord], Swept]:
    """Runs of 50, 200 and 800 particles, twice, whose errors are powers of that number, but for the seed."""
    runs, values, cases = {}, {}, {}
    for case, rate in rates.items():
        for n in (50, 200, 800):
            for factor in (0.9, 1 / 0.9):
                label = f"{case}, {n}, {factor:.2f}"
                runs[label], values[label], cases[label] = RunRecord(folder), n, case
                for name in ("rel_fisher_divergence", "cov_frobenius_error"):
                    runs[label].metrics[name] = np.full_like(runs[label].metrics["t"], factor * 3 * n**rate)
    return runs, Swept("particles", values, cases)


def test_a_sweep_has_its_slopes_and_a_colour_for_each_case(run_dir: RunDir) -> None:
    rates = {"slow": -0.5, "fast": -1.25}
    runs, swept = _sweep(run_dir("bkw_2d"), rates)
    fig = figure(runs, "sweep", swept)
    ax = _panel(fig, "Relative Fisher divergence at the end")
    assert ax.get_legend() is not None
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["slow: slope -0.50", "fast: slope -1.25"]
    for curve, rate in zip(_curves(fig, "mean_rel_fisher_divergence"), rates.values(), strict=True):
        np.testing.assert_allclose(curve, [[n, 3 * n**rate] for n in (50, 200, 800)], rtol=1e-12)
    lines = [line for line in _panel(fig, "Entropy").get_lines() if line.get_gid() == "entropy"]
    assert len(lines) == 12
    assert [line.get_color() for line in lines] == [swept.colours[swept.cases[label]] for label in runs]
    assert len({line.get_color() for line in lines}) == 2


@pytest.mark.parametrize("kept", [5, 8])
def test_no_cell_is_empty(run_dir: RunDir, kept: int) -> None:
    """The legend is in the cells where panels are missing, and hides nothing."""
    runs, swept = _sweep(run_dir("bkw_2d"), {"one": -0.5})
    for name in list(PANELS)[kept:]:
        for run in runs.values():
            run.metrics.pop(name, None)
    for fig in (figure(runs, "sweep", swept), figure(runs, "runs")):
        fig.draw_without_rendering()
        empty = [ax for ax in fig.axes if not ax.has_data()]
        if not empty:
            continue
        (legend,) = fig.legends
        box = legend.get_window_extent()
        assert box.overlaps(empty[0].get_window_extent())
        assert not any(box.overlaps(ax.get_window_extent()) for ax in fig.axes if ax.has_data())


def test_the_density_error_is_compared(run_dir: RunDir) -> None:
    runs = _copies(run_dir("bkw_2d"), "a", "b")
    for curve, run in zip(_curves(figure(runs, "two"), "rel_l2_density"), runs.values(), strict=True):
        np.testing.assert_array_equal(curve.T, run.series("rel_l2_density"))


def test_every_panel_has_its_own_axis() -> None:
    assert len({panel.title for panel in PANELS.values()}) == len({panel.y for panel in PANELS.values()}) == len(PANELS)
