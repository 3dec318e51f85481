"""The figure of several kinetic runs: its panels are those of the problem, its lines their metrics."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from graphlandau.plotting import RunRecord
from graphlandau.plotting.comparison import KINETIC_PANELS, figure, panels_of
from graphlandau.plotting.known import relative_entropies

RunDir = Callable[[str], Path]


def _copies(folder: Path, *names: str) -> dict[str, RunRecord]:
    return {name: RunRecord(Path(shutil.copytree(folder, folder.with_name(name)))) for name in names}


def _titles(fig: Figure) -> set[str]:
    return {ax.get_title(loc="left") for ax in fig.axes if ax.has_data()}


def _panel(fig: Figure, name: str) -> Axes:
    (ax,) = [ax for ax in fig.axes if ax.get_title(loc="left") == KINETIC_PANELS[name].title]
    return ax


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("landau_damping", {"mode_amplitude", "e2", "energy_rel_drift"}),
        ("vfp_gaussian_1d", {"kl", "free_energy", "drift_error", "energy"}),
        ("vpfp_1d3v", {"kl", "free_energy", "mode_amplitude", "e2", "energy"}),
    ],
)
def test_panels_are_of_the_problem(kinetic_dir: RunDir, name: str, shown: set[str]) -> None:
    runs = _copies(kinetic_dir(name), "a", "b")
    fig = figure(runs, "two")
    assert _titles(fig) == {KINETIC_PANELS[key].title for key in shown}
    for key in shown:
        lines = [line for line in _panel(fig, key).get_lines() if line.get_gid() == key]
        assert len(lines) == 2
        known = np.isfinite(runs["a"].metrics[key]) & (key != "energy_rel_drift" or runs["a"].metrics[key] > 0)
        # A mode that is zero to rounding has no place on a logarithmic axis.
        known &= (key != "mode_amplitude") | (runs["a"].metrics[key] > 1e-12)
        np.testing.assert_array_equal(np.asarray(lines[0].get_ydata()), runs["a"].metrics[key][known])


def test_distances_below_zero_are_seen(kinetic_dir: RunDir) -> None:
    runs = _copies(kinetic_dir("vfp_double_well_1d"), "a", "b")
    ax = _panel(figure(runs, "two"), "kl")
    assert ax.get_yscale() == "symlog"
    assert ax.get_ylim()[0] < runs["a"].metrics["kl"].min() < 0


def test_exact_lines_are_the_problems(kinetic_dir: RunDir) -> None:
    runs = _copies(kinetic_dir("vfp_gaussian_1d"), "a", "b")
    (exact,) = [line for line in _panel(figure(runs, "two"), "kl").get_lines() if line.get_gid() == "exact"]
    t, kl = np.asarray(exact.get_xydata()).T
    np.testing.assert_array_equal(kl, relative_entropies(runs["a"], t.tolist()))


def test_every_panel_has_its_own_axis(kinetic_dir: RunDir) -> None:
    panels = panels_of({"a": RunRecord(kinetic_dir("vpfp_1d3v"))})
    assert len({panel.title for panel in panels.values()}) == len({panel.y for panel in panels.values()}) == len(panels)
