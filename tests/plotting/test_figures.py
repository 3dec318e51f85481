"""Figures of a run: what is drawn is what the folder holds, exact curves are the problem's formulas."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import imread

from graphlandau.plotting import RunRecord, figures_of, plot_run
from graphlandau.plotting.style import log_axis

ALWAYS = {"overview", "density", "particles", "score", "covariance", "conservation", "entropy"}
EXPECTED = {
    "bkw_2d": ALWAYS | {"errors"},
    "bkw_3d": ALWAYS | {"errors"},
    "anisotropic_3d": ALWAYS,
    "anisotropic_10d": ALWAYS,
    "anisotropic_coulomb_3d": ALWAYS,
    "rosenbluth_3d": ALWAYS,
    "truncated_2d": ALWAYS,
    "bimaxwellian_2d": ALWAYS,
}
RunDir = Callable[[str], Path]


def drawn(name: str, run: RunRecord) -> Figure | None:
    """A figure of a run."""
    return figures_of(run)[name](run)


def _axes(figure: Figure | None) -> list[Axes]:
    assert figure is not None
    return figure.axes


def _curves(axes: list[Axes], gid: str) -> list[np.ndarray]:
    return [np.asarray(line.get_xydata()) for ax in axes for line in ax.get_lines() if line.get_gid() == gid]


def _column(folder: Path, name: str) -> np.ndarray:
    with (folder / "metrics.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row[name]]
    return np.array([[float(row["t"]), float(row[name])] for row in rows])


@pytest.mark.parametrize("name", ["bkw_2d", pytest.param("anisotropic_10d", marks=pytest.mark.slow)])
def test_files_are_pictures(run_dir: RunDir, name: str) -> None:
    style = dict(matplotlib.rcParams)
    files = plot_run(run_dir(name))
    assert dict(matplotlib.rcParams) == style
    assert files[0].name == "overview.png"
    assert {file.stem for file in files} == EXPECTED[name]
    for file in files:
        picture = imread(file)
        assert min(picture.shape[:2]) >= 400
        assert picture[..., :3].std() > 0.01


@pytest.mark.parametrize("name", EXPECTED)
def test_figures_that_make_no_sense_are_left_out(run_dir: RunDir, name: str) -> None:
    run = RunRecord(run_dir(name))
    names = {key for key, draw in figures_of(run).items() if draw(run) is not None}
    assert names == EXPECTED[name]


@pytest.mark.parametrize(
    ("figure", "column"),
    [
        ("errors", "rel_fisher_divergence"),
        ("errors", "rel_l2_density"),
        ("errors", "rel_l2_density_exact_score"),
        ("errors", "rel_l2_density_fresh"),
        ("errors", "kl"),
        ("entropy", "entropy"),
        ("covariance", "cov_1_1"),
        ("covariance", "cov_2_2"),
        ("covariance", "cov_frobenius_error"),
        ("covariance", "cov_sample_error"),
        ("overview", "rel_fisher_divergence"),
        ("overview", "rel_l2_density"),
    ],
)
def test_lines_are_the_metrics(run_dir: RunDir, figure: str, column: str) -> None:
    folder = run_dir("bkw_2d")
    (curve,) = _curves(_axes(drawn(figure, RunRecord(folder))), column)
    np.testing.assert_array_equal(curve, _column(folder, column))


def test_dissipation_is_drawn_positive(run_dir: RunDir) -> None:
    folder = run_dir("bkw_2d")
    (curve,) = _curves(_axes(drawn("entropy", RunRecord(folder))), "dissipation")
    np.testing.assert_array_equal(curve[:, 1], -_column(folder, "entropy_dissipation")[:, 1])


def test_conservation_draws_sizes_and_skips_exact_zeros(run_dir: RunDir) -> None:
    folder = run_dir("bkw_2d")
    energy, momentum = _curves(_axes(drawn("conservation", RunRecord(folder))), "drift")
    # The first row is exactly zero and has no place on a logarithmic axis; the mass never drifts: no curve.
    np.testing.assert_array_equal(energy, _column(folder, "energy_rel_drift")[1:])
    np.testing.assert_array_equal(momentum, _column(folder, "momentum_abs_drift")[1:])


def test_exact_covariance_is_the_problems(run_dir: RunDir) -> None:
    run = RunRecord(run_dir("anisotropic_3d"))
    curves = _curves(_axes(drawn("covariance", run)), "exact")
    assert len(curves) == 3
    for a, curve in enumerate(curves):
        for t, value in curve[::40]:
            # tr Sigma_0 = 3, strength 1/24: every entry relaxes to 1 at the rate 4 d C = 1/2.
            start = (1.8, 0.2, 1.0)[a]
            assert value == pytest.approx(1 - (1 - start) * np.exp(-t / 2), abs=1e-12)


@pytest.mark.parametrize("name", ["bkw_2d", "anisotropic_10d", "rosenbluth_3d", "truncated_2d"])
def test_entropy_is_drawn_with_its_least_value(run_dir: RunDir, name: str) -> None:
    run = RunRecord(run_dir(name))
    (line,) = _curves(_axes(drawn("entropy", run)), "equilibrium")
    sigma = run.problem.initial.covariance
    assert sigma is not None
    d, T = run.problem.d, float(sigma.trace()) / run.problem.d
    np.testing.assert_allclose(line[:, 1], -d / 2 * np.log(2 * np.pi * np.e * T), rtol=1e-12)
    np.testing.assert_array_equal(line[:, 0], run.time_span)


@pytest.mark.parametrize(("name", "T"), [("anisotropic_coulomb_3d", 1.0), ("truncated_2d", 1.5)])
def test_covariance_without_exact_evolution_is_drawn_with_its_limit(run_dir: RunDir, name: str, T: float) -> None:
    folder = run_dir(name)
    axes = _axes(drawn("covariance", RunRecord(folder)))
    assert not _curves(axes, "exact")
    (line,) = _curves(axes[:1], "equilibrium")
    np.testing.assert_allclose(line[:, 1], T, rtol=1e-12)
    (distance,) = _curves(axes[1:], "equilibrium_distance")
    np.testing.assert_array_equal(distance, _column(folder, "equilibrium_distance"))
    (floor,) = _curves(axes[1:], "floor")
    d, last = len(_curves(axes[:1], "cov_3_3")) + 2, _column(folder, "temperature")[-1, 1]
    np.testing.assert_allclose(floor[:, 1], last * np.sqrt((d * d + d - 2) / 400), rtol=1e-12)


@pytest.mark.parametrize("name", ["bkw_2d", "anisotropic_3d"])
def test_known_evolution_takes_the_place_of_its_limit(run_dir: RunDir, name: str) -> None:
    axes = _axes(drawn("covariance", RunRecord(run_dir(name))))
    assert _curves(axes, "exact")
    assert not _curves(axes, "equilibrium")
    assert not _curves(axes, "equilibrium_distance")


@pytest.mark.parametrize("name", ["rosenbluth_3d", "truncated_2d"])
def test_density_known_at_the_start_only(run_dir: RunDir, name: str) -> None:
    """Slices at every time, the exact one at the first; the legend says so."""
    run = RunRecord(run_dir(name))
    figure = drawn("density", run)
    axes = _axes(figure)
    assert len(axes) == 8
    for ax in axes[:4]:
        assert len(_curves([ax], "particles")) == 1
    (curve,) = _curves(axes[:4], "exact")
    v = torch.zeros(len(curve), run.problem.d, dtype=torch.float64)
    v[:, 0] = torch.from_numpy(curve[:, 0].copy())
    np.testing.assert_allclose(curve[:, 1], run.problem.log_prob(v).exp().numpy(), atol=1e-15)
    assert _curves(axes[:1], "exact")
    assert figure is not None
    assert "exact ($t = 0$ only)" in [text.get_text() for text in figure.legends[0].get_texts()]


@pytest.mark.parametrize("name", ["anisotropic_coulomb_3d", "bkw_3d", "truncated_2d"])
def test_panels_are_filled_by_the_particles(run_dir: RunDir, name: str) -> None:
    """At some time the middle 99 % of the particles in either direction span more than half of the panel."""
    run = RunRecord(run_dir(name))
    axes = _axes(drawn("particles", run))[:4]
    offsets = [np.asarray(ax.collections[0].get_offsets()) for ax in axes]
    inner = [np.diff(np.quantile(v, [0.005, 0.995], axis=0), axis=0)[0] for v in offsets]
    panels = [np.diff([ax.get_xlim(), ax.get_ylim()])[:, 0] for ax in axes]
    assert (np.max(np.array(inner) / np.array(panels), axis=0) > 0.5).all()
    # All marginals share a panel, which is as wide as the widest.
    last = _axes(drawn("density", run))[-1]
    assert last.get_xlim() == (min(low for low, _ in run.views[:3]), max(high for _, high in run.views[:3]))


@pytest.mark.parametrize(
    ("low", "high"), [(0.02, 0.13), (1.2, 2.9), (3e-8, 4e-7), (2e-3, 0.5), (1e-9, 3.0), (0.11, 0.9)]
)
def test_logarithmic_axes_have_a_few_labels(low: float, high: float) -> None:
    fig = Figure()
    ax = fig.subplots()
    log_axis(ax, low, high)
    FigureCanvasAgg(fig)
    fig.draw_without_rendering()
    seen = [t for t, y in zip(ax.get_yticklabels(), ax.get_yticks(), strict=True) if low <= y <= high and t.get_text()]
    assert 2 <= len(seen) <= 10
    assert not any(label.get_text() for label in ax.get_yticklabels(minor=True))


def test_a_mass_of_one_has_no_panel(run_dir: RunDir) -> None:
    run = RunRecord(run_dir("bkw_2d"))
    assert [ax.get_title() for ax in _axes(drawn("conservation", run))] == ["Energy", "Momentum"]
    run.metrics["mass"] = 1 + 1e-7 * run.metrics["t"]
    assert "Mass" in [ax.get_title() for ax in _axes(drawn("conservation", run))]


def test_kl_is_drawn_with_two_standard_errors(run_dir: RunDir) -> None:
    folder = run_dir("bkw_2d")
    ax = _axes(drawn("errors", RunRecord(folder)))[-1]
    kl, error = _column(folder, "kl")[:, 1], _column(folder, "kl_stderr")[:, 1]
    (band,) = ax.collections
    vertices = band.get_paths()[0].vertices
    np.testing.assert_allclose(vertices[:, 1].max(), (kl + 2 * error).max(), rtol=1e-12)
    np.testing.assert_allclose(vertices[:, 1].min(), (kl - 2 * error).min(), rtol=1e-12)


@pytest.mark.parametrize(
    ("name", "drawn_too"), [("bimaxwellian_2d", True), ("bkw_2d", False), ("anisotropic_3d", False)]
)
def test_off_diagonal_entries_are_drawn_where_they_relax(run_dir: RunDir, name: str, drawn_too: bool) -> None:
    """Beams along a diagonal have a correlation; the noise of 400 particles, 1 / 20, is none."""
    run = RunRecord(run_dir(name))
    if drawn_too:
        run.metrics["cov_1_2"] = -0.9 * run.metrics["cov_1_1"] * np.exp(-run.metrics["t"])
    curves = _curves(_axes(drawn("covariance", run)), "cov_1_2")
    assert len(curves) == drawn_too
    if drawn_too:
        np.testing.assert_array_equal(curves[0][:, 1], run.metrics["cov_1_2"])


@pytest.mark.parametrize("name", ["bkw_2d", "anisotropic_coulomb_3d"])
def test_nothing_is_called_a_floor(run_dir: RunDir, name: str) -> None:
    """What a sample gives is no bound: a method that evens its particles out lies below."""
    for draw in figures_of(run := RunRecord(run_dir(name))).values():
        figure = draw(run)
        labels = [line.get_label() for ax in (figure.axes if figure else []) for line in ax.get_lines()]
        assert not any("floor" in str(label) for label in labels)


def test_titles_say_what_was_run(run_dir: RunDir) -> None:
    folder = run_dir("anisotropic_coulomb_3d")
    config = folder / "config.yaml"
    config.write_text(config.read_text() + "dt: 0.25\n")
    title = RunRecord(folder).title
    assert title.startswith("anisotropic_coulomb_3d · sbtm · closed_form · 400 particles · $d = 3$")
    assert title.endswith(r"$\gamma = -3$ · dt = 0.25 · seed = 0")
    figure = drawn("conservation", RunRecord(folder))
    assert figure is not None
    assert "dt = 0.25" in figure.get_suptitle()


@pytest.mark.parametrize(
    ("file_format", "begin"), [("pdf", b"%PDF"), pytest.param("svg", b"<?xml", marks=pytest.mark.slow)]
)
def test_figures_of_other_formats(run_dir: RunDir, file_format: str, begin: bytes) -> None:
    files = plot_run(run_dir("bkw_2d"), file_format)
    assert {file.name for file in files} == {f"{name}.{file_format}" for name in EXPECTED["bkw_2d"]}
    assert all(file.read_bytes().startswith(begin) for file in files)


def test_another_format_is_refused(run_dir: RunDir) -> None:
    folder = run_dir("bkw_2d")
    with pytest.raises(ValueError, match=r"'figures' must be one of png, pdf, svg \(got 'gif'\)"):
        plot_run(folder, "gif")
    assert not (folder / "figures").exists()


def test_score_has_no_line_through_the_hole(run_dir: RunDir) -> None:
    """Inside |v| < 1 there is no density, hence no score; Rosenbluth's jumps at the origin."""
    run = RunRecord(run_dir("truncated_2d"))
    (curve,) = _curves(_axes(drawn("score", run))[:1], "exact")
    shown = np.isfinite(curve[:, 1])
    assert not shown[np.abs(curve[:, 0]) < 1].any()
    np.testing.assert_allclose(curve[shown, 1], -curve[shown, 0], atol=1e-12)
    (curve,) = _curves(_axes(drawn("score", RunRecord(run_dir("rosenbluth_3d"))))[:1], "exact")
    below, above = curve[curve[:, 0] < 0, 1], curve[curve[:, 0] > 0, 1]
    assert np.isnan(below[-1]) or np.isnan(above[0])


def test_score_without_a_solution_is_drawn_with_that_of_the_maxwellian(run_dir: RunDir) -> None:
    run = RunRecord(run_dir("truncated_2d"))
    axes = _axes(drawn("score", run))
    assert not _curves(axes[:1], "gaussian")
    (line,) = _curves(axes[1:2], "gaussian")
    np.testing.assert_allclose(line[:, 1], -line[:, 0] / 1.5, rtol=1e-12)


@pytest.mark.parametrize(("name", "gid"), [("rosenbluth_3d", "entropy"), ("anisotropic_coulomb_3d", "cov_1_1")])
def test_overview_shows_what_evolves(run_dir: RunDir, name: str, gid: str) -> None:
    """The covariance of an isotropic problem stands still; its entropy does not."""
    axes = _axes(drawn("overview", RunRecord(run_dir(name))))
    assert len(_curves(axes, gid)) == 1
    assert not _curves(axes, {"entropy": "cov_1_1", "cov_1_1": "entropy"}[gid])


def test_exact_density_is_the_problems(run_dir: RunDir) -> None:
    run = RunRecord(run_dir("bkw_3d"))
    axes = _axes(drawn("density", run))[:4]
    for ax, snapshot in zip(axes, run.snapshots(4), strict=True):
        (curve,) = _curves([ax], "exact")
        v = torch.zeros(len(curve), 3, dtype=torch.float64)
        v[:, 0] = torch.from_numpy(curve[:, 0].copy())
        np.testing.assert_allclose(curve[:, 1], run.problem.log_prob(v, snapshot.t).exp().numpy(), atol=1e-15)


def test_exact_score_is_the_problems(run_dir: RunDir) -> None:
    run = RunRecord(run_dir("bkw_2d"))
    axes = _axes(drawn("score", run))[:3]
    for ax, snapshot in zip(axes, run.snapshots(3), strict=True):
        (curve,) = _curves([ax], "exact")
        x, y = curve[np.isfinite(curve[:, 1])].T
        line = torch.stack([torch.from_numpy(x.copy()), torch.zeros(len(x), dtype=torch.float64)], dim=1)
        np.testing.assert_allclose(y, run.problem.score(line, snapshot.t)[:, 0].numpy(), atol=1e-12)
        assert len(x) > 200


def test_particles_are_drawn_where_they_are(run_dir: RunDir) -> None:
    run = RunRecord(run_dir("bkw_3d"))
    axes = _axes(drawn("particles", run))
    for ax, snapshot in zip(axes, run.snapshots(4), strict=False):
        shown = np.asarray(ax.collections[0].get_offsets())
        expected = snapshot.v[:, :2].numpy()
        np.testing.assert_array_equal(shown[shown[:, 0].argsort()], expected[expected[:, 0].argsort()])


def test_missing_columns_leave_their_panels_out(run_dir: RunDir, without_columns: Callable[..., Path]) -> None:
    run = RunRecord(without_columns(run_dir("bkw_2d"), "rel_", "kl", "entropy", "cov_", "mass"))
    names = {key for key, draw in figures_of(run).items() if draw(run) is not None}
    assert names == {"overview", "density", "particles", "score", "conservation"}
    assert len(_axes(drawn("conservation", run))) == 2


def test_unfinished_run_is_drawn(run_dir: RunDir) -> None:
    folder = run_dir("anisotropic_10d")
    (folder / "summary.json").unlink()
    lines = (folder / "metrics.csv").read_text().splitlines(keepends=True)
    (folder / "metrics.csv").write_text("".join(lines[:2]) + lines[2][:7])
    run = RunRecord(folder)
    assert all(len(column) == 1 for column in run.metrics.values())
    assert {key for key, draw in figures_of(run).items() if draw(run) is not None} == EXPECTED["anisotropic_10d"]
