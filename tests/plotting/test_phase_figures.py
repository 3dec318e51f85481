"""Figures of kinetic runs: what is drawn is what the folder holds, theory has its slope, densities their mass."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from pathlib import Path

import h5py
import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.patches import StepPatch

from graphlandau.plotting import RunRecord, figures_of, plot_run
from graphlandau.plotting.field import fitted_mode
from graphlandau.plotting.histogram import line_bins, line_histogram, phase_bins
from graphlandau.plotting.known import equilibrium_free_energy, relative_entropies
from graphlandau.plotting.phase_conservation import momentum_error
from graphlandau.plotting.phase_snapshot import phase_snapshot, phase_snapshots
from graphlandau.plotting.phase_space import LEVELS
from graphlandau.plotting.relaxation import honest_scale
from graphlandau.plotting.style import headline

ALWAYS = {"overview", "phase_space", "marginals"}
EXPECTED = {
    "landau_damping": ALWAYS | {"field", "conservation"},
    "two_stream": ALWAYS | {"field", "conservation"},
    "vfp_gaussian_1d": ALWAYS | {"relaxation"},
    "vfp_gaussian_3d": ALWAYS | {"relaxation"},
    "vfp_double_well_1d": ALWAYS | {"relaxation"},
    "vpfp_1d3v": ALWAYS | {"field", "relaxation", "conservation"},
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


def _without(folder: Path, *names: str) -> Path:
    with (folder / "metrics.csv").open(newline="") as file:
        rows = [{k: x for k, x in row.items() if not k.startswith(names)} for row in csv.DictReader(file)]
    with (folder / "metrics.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return folder


def test_files_are_pictures(kinetic_dir: RunDir) -> None:
    style = dict(matplotlib.rcParams)
    files = plot_run(kinetic_dir("vpfp_1d3v"))
    assert dict(matplotlib.rcParams) == style
    assert files[0].name == "overview.png"
    assert {file.stem for file in files} == EXPECTED["vpfp_1d3v"]
    for file in files:
        picture = imread(file)
        assert min(picture.shape[:2]) >= 400
        assert picture[..., :3].std() > 0.01


@pytest.mark.parametrize("name", EXPECTED)
def test_figures_that_make_no_sense_are_left_out(kinetic_dir: RunDir, name: str) -> None:
    run = RunRecord(kinetic_dir(name))
    assert {key for key, draw in figures_of(run).items() if draw(run) is not None} == EXPECTED[name]


def test_missing_columns_leave_their_figures_out(kinetic_dir: RunDir) -> None:
    """A method without a log-density, and one that is seen before its first step is done."""
    run = RunRecord(
        _without(kinetic_dir("vfp_gaussian_1d"), "kl", "free", "entropy", "drift_error", "collision", "map", "momentum")
    )
    assert {key for key, draw in figures_of(run).items() if draw(run) is not None} == ALWAYS
    folder = kinetic_dir("landau_damping")
    lines = (folder / "metrics.csv").read_text().splitlines(keepends=True)
    (folder / "metrics.csv").write_text("".join(lines[:2]) + lines[2][:7])
    (folder / "summary.json").unlink()
    run = RunRecord(folder)
    assert {key for key, draw in figures_of(run).items() if draw(run) is not None} == EXPECTED["landau_damping"]
    assert not _curves(_axes(drawn("field", run)), "fit")


@pytest.mark.parametrize(
    ("name", "figure", "column"),
    [
        ("landau_damping", "field", "e2"),
        ("landau_damping", "field", "mode_amplitude"),
        ("landau_damping", "overview", "mode_amplitude"),
        ("vpfp_1d3v", "field", "e2"),
        ("vpfp_1d3v", "relaxation", "kl"),
        ("vfp_double_well_1d", "relaxation", "free_energy"),
        ("vfp_double_well_1d", "overview", "kl"),
        ("vfp_gaussian_3d", "relaxation", "drift_error"),
    ],
)
def test_lines_are_the_metrics(kinetic_dir: RunDir, name: str, figure: str, column: str) -> None:
    folder = kinetic_dir(name)
    (curve,) = _curves(_axes(drawn(figure, RunRecord(folder))), column)
    np.testing.assert_array_equal(curve, _column(folder, column))


def test_energies_are_drawn_from_their_start(kinetic_dir: RunDir) -> None:
    folder = kinetic_dir("vfp_double_well_1d")
    axes = _axes(drawn("overview", RunRecord(folder)))
    for name in ("kinetic", "potential", "energy", "free_energy"):
        (curve,) = _curves(axes, name)
        expected = _column(folder, name)
        np.testing.assert_array_equal(curve[:, 1], expected[:, 1] - expected[0, 1])
    assert not _curves(_axes(drawn("overview", RunRecord(kinetic_dir("two_stream")))), "free_energy")


@pytest.mark.parametrize("name", ["landau_damping", "two_stream"])
def test_theory_has_the_slope_of_the_dispersion_relation(kinetic_dir: RunDir, name: str) -> None:
    run = RunRecord(kinetic_dir(name))
    axes = _axes(drawn("field", run))
    (theory,), (fitted,) = _curves(axes, "theory"), _curves(axes, "fit")
    rate, fit = run.problem.rate(), fitted_mode(run)
    assert rate is not None
    assert fit is not None
    np.testing.assert_allclose(np.diff(np.log(theory[:, 1])) / np.diff(theory[:, 0]), rate.real, rtol=1e-9)
    # It passes through the fit where that begins. The synthetic mode follows the theory exactly, so both are one line:
    # least squares stop at a gradient of 1e-8.
    np.testing.assert_allclose(np.interp(fitted[0, 0], theory[:, 0], np.log(theory[:, 1])), math.log(fitted[0, 1]))
    np.testing.assert_allclose(np.log(fitted[1, 1] / fitted[0, 1]) / (fit.t_last - fit.t_first), rate.real, rtol=1e-5)
    (text,) = [
        text.get_text()
        for ax in axes
        if (legend := ax.get_legend())
        for text in legend.get_texts()
        if "theory" in text.get_text()
    ]
    assert f"{abs(rate.real):.4f}" in text
    assert (r"\omega" in text) == (name == "landau_damping")


@pytest.mark.parametrize(("name", "rows"), [("landau_damping", 40), ("two_stream", 15)])
def test_theory_is_drawn_without_a_fit_and_the_reason_said(kinetic_dir: RunDir, name: str, rows: int) -> None:
    folder = kinetic_dir(name)
    metrics = folder / "metrics.csv"
    metrics.write_text("".join(metrics.read_text().splitlines(keepends=True)[: 1 + rows]))
    run = RunRecord(folder)
    rate = run.problem.rate()
    assert rate is not None
    assert fitted_mode(run) is None
    axes = _axes(drawn("field", run))
    (theory,) = _curves(axes, "theory")
    np.testing.assert_allclose(np.diff(np.log(theory[:, 1])) / np.diff(theory[:, 0]), rate.real, rtol=1e-9)
    # It touches the mode: at one time the two are equal.
    size = _column(folder, "mode_amplitude")
    off = np.log(np.interp(size[:, 0], *theory.T)) - np.log(np.maximum(size[:, 1], 1e-300))
    assert np.abs(off).min() < 2e-3
    (why,) = [text.get_text() for ax in axes for text in ax.texts if text.get_gid() == "why"]
    assert why.startswith("no rate fitted: ")


def test_without_a_rate_no_theory_is_drawn(kinetic_dir: RunDir) -> None:
    run = RunRecord(kinetic_dir("vpfp_1d3v"))
    assert run.problem.rate() is None
    assert not _curves(_axes(drawn("field", run)), "theory")


def test_field_closes_around_the_box(kinetic_dir: RunDir) -> None:
    run = RunRecord(kinetic_dir("landau_damping"))
    curves = _curves(_axes(drawn("field", run)), "field")
    for curve, snapshot in zip(curves, phase_snapshots(run, 3), strict=True):
        assert snapshot.field is not None
        np.testing.assert_array_equal(curve[:-1, 1], snapshot.field[:, 0])
        assert curve[-1, 1] == curve[0, 1]
        np.testing.assert_allclose(curve[[0, -1], 0], [0, run.problem.lengths[0]], rtol=1e-12)


@pytest.mark.parametrize("name", ["landau_damping", "vfp_gaussian_3d", "vfp_double_well_1d"])
def test_histograms_have_mass_one(kinetic_dir: RunDir, name: str) -> None:
    run = RunRecord(kinetic_dir(name))
    panels = [ax for ax in _axes(drawn("phase_space", run)) if ax.images]
    assert len(panels) == 4
    for ax in panels:
        (image,) = ax.images
        density, (left, right, bottom, top) = np.asarray(image.get_array()), image.get_extent()
        assert density.sum() * (right - left) * (top - bottom) / density.size == pytest.approx(1, rel=1e-12)


def test_histograms_are_where_the_particles_are(kinetic_dir: RunDir) -> None:
    run = RunRecord(kinetic_dir("vfp_gaussian_1d"))
    bins = phase_bins(run, [0])
    snapshot = phase_snapshot(run, 0)
    f = bins.density(snapshot)
    cell = (bins.x[1] - bins.x[0]) * (bins.v[1] - bins.v[0])
    x, v = ((edges[1:] + edges[:-1]) / 2 for edges in (bins.x, bins.v))
    # The symmetric shares move no mean; a particle is at most half a bin from the centre of its bin.
    assert (x @ f).sum() * cell == pytest.approx(float(snapshot.x.mean()), abs=0.5 * (x[1] - x[0]))
    assert (f @ v).sum() * cell == pytest.approx(float(snapshot.v.mean()), abs=0.5 * (v[1] - v[0]))


def test_histogram_of_a_box_is_a_ring(kinetic_dir: RunDir) -> None:
    """Particles moved on by some bins, around the box, move the histogram by as many."""
    run = RunRecord(kinetic_dir("landau_damping"))
    bins, snapshot = phase_bins(run, [0]), phase_snapshot(run, 0)
    length, width = run.problem.lengths[0], bins.x[1] - bins.x[0]
    before = bins.density(snapshot)
    snapshot.x.add_(5 * width).remainder_(length)
    np.testing.assert_allclose(bins.density(snapshot), np.roll(before, 5, axis=0), atol=1e-12)


def _streaming(folder: Path, n: int) -> RunRecord:
    """A run whose particles only stream: a quiet start of the problem's, moved on by v t."""
    run = RunRecord(folder)
    length = run.problem.lengths[0]
    x, v = run.problem.initial.sample(n, generator=torch.Generator().manual_seed(3), loading="quiet")
    with h5py.File(folder / "snapshots.h5", "r+") as file:
        for name in file:
            t = file[name].attrs["t"] / 4  # up to t = 6: longer filaments are finer than the bins
            file[name].attrs["t"] = t
            del file[name]["pos"], file[name]["v"]
            file[name]["pos"], file[name]["v"] = torch.remainder(x + v * t, length).numpy(), v.numpy()
    return RunRecord(folder)


def test_a_small_wave_is_drawn_without_its_background(kinetic_dir: RunDir) -> None:
    """The density of free particles is f_0(v) (1 + a cos k (x - v t)) / L, of which the wave alone is seen."""
    run = _streaming(kinetic_dir("landau_damping"), 30_000)
    panels = [ax for ax in _axes(drawn("phase_space", run)) if ax.images]
    assert len(panels) == 4
    for ax, snapshot in zip(panels, phase_snapshots(run, 6), strict=True):
        (image,) = ax.images
        wave = np.asarray(image.get_array()).T
        left, right, bottom, top = image.get_extent()
        x = left + (np.arange(len(wave)) + 0.5) * (right - left) / len(wave)
        v = bottom + (np.arange(wave.shape[1]) + 0.5) * (top - bottom) / wave.shape[1]
        k = 2 * math.pi / run.problem.lengths[0]
        expected = np.exp(-(v**2) / 2) * np.cos(k * (x[:, None] - v * snapshot.t))
        assert abs(wave.sum()) < 1e-9 * np.abs(wave).sum()
        assert np.corrcoef(wave.ravel(), expected.ravel())[0, 1] > 0.85


def test_a_wave_below_the_noise_and_a_large_one_are_drawn_as_densities(kinetic_dir: RunDir) -> None:
    noisy = RunRecord(kinetic_dir("landau_damping"))
    large = _streaming(kinetic_dir("two_stream"), 5000)
    with h5py.File(large.path / "snapshots.h5", "r+") as file:
        last = file[sorted(file)[-1]]
        phase = 2 * math.pi * last["pos"][()] / large.problem.lengths[0]
        last["pos"][...] = last["pos"][()] - 0.4 * large.problem.lengths[0] / (2 * math.pi) * np.sin(phase)
    for run in (noisy, large):
        for ax in _axes(drawn("phase_space", run)):
            assert all(np.asarray(image.get_array()).min() >= 0 for image in ax.images)


@pytest.mark.parametrize("teeth", [37, 60, 90])
def test_bins_of_a_quiet_start_show_no_comb(teeth: int) -> None:
    x = torch.from_numpy((np.arange(40_000) % teeth + 0.5) / teeth * 7.0)
    raw, quiet = (line_histogram(x, line_bins(x, 7.0, quiet=q)[0]) for q in (False, True))
    assert quiet.sum() * 7.0 / len(quiet) == pytest.approx(1)
    assert np.abs(np.diff(raw)).max() > 0.3 / 7
    # All particles alike: a bin differs from the next by less than independent ones would, or has the least count.
    noise = np.sqrt(2 * len(quiet) / 40_000) / 7
    assert len(quiet) <= 24 or np.abs(np.diff(quiet)).std() < 2 * noise


def test_contours_are_of_the_exact_density(kinetic_dir: RunDir) -> None:
    run = RunRecord(kinetic_dir("vfp_gaussian_1d"))
    panels = [ax for ax in _axes(drawn("phase_space", run)) if ax.images]
    for ax, snapshot in zip(panels, phase_snapshots(run, 6), strict=True):
        density = run.problem.density(snapshot.t)
        highest = -0.5 * math.log(float(torch.linalg.det(2 * math.pi * density.covariance)))
        (contours,) = ax.collections
        for share, path in zip(LEVELS, contours.get_paths(), strict=True):
            points = torch.from_numpy(path.vertices.copy())
            assert len(points) > 20
            # Linear interpolation on a grid of 201 points.
            off = density.log_prob(points[:, :1], points[:, 1:]) - highest - math.log(share)
            assert off.abs().max() < 0.02


def test_contours_wait_for_collisions(kinetic_dir: RunDir) -> None:
    """A tenth of a collision time says nothing of the stationary density, ten of them do."""
    weak, strong = (
        _axes(drawn("phase_space", RunRecord(kinetic_dir(name)))) for name in ("vpfp_1d3v", "vfp_double_well_1d")
    )
    assert not any(ax.collections for ax in weak if ax.images)
    assert all(ax.collections for ax in strong if ax.images)


@pytest.mark.parametrize("name", ["vfp_gaussian_3d", "vfp_double_well_1d", "vpfp_1d3v"])
def test_marginals_have_mass_one(kinetic_dir: RunDir, name: str) -> None:
    run = RunRecord(kinetic_dir(name))
    axes = [ax for ax in _axes(drawn("marginals", run)) if ax.has_data()]
    assert len(axes) == run.problem.d_x + run.problem.d
    for ax in axes:
        outline = next(patch for patch in ax.patches if isinstance(patch, StepPatch) and patch.get_gid() == "particles")
        data = outline.get_data()
        assert float(data.values @ np.diff(data.edges)) == pytest.approx(1, rel=1e-12)
        (stationary,) = _curves([ax], "stationary")
        # Particles of that density, seen but for a share of 5e-4 on either side, with a tenth more of room.
        assert np.trapezoid(stationary[:, 1], stationary[:, 0]) == pytest.approx(1, abs=5e-3)


def test_stationary_density_is_boltzmanns(kinetic_dir: RunDir) -> None:
    run = RunRecord(kinetic_dir("vfp_double_well_1d"))
    x, v = (_curves([ax], "stationary")[0] for ax in _axes(drawn("marginals", run)))
    phi = x[:, 0] ** 2 / 2 + np.cos(2 * np.pi * x[:, 0])
    # By quadrature, arXiv:2603.23901, Example 2.
    np.testing.assert_allclose(x[:, 1], np.exp(-phi) / 3.173556519139, rtol=1e-9)
    np.testing.assert_allclose(v[:, 1], np.exp(-(v[:, 0] ** 2) / 2) / math.sqrt(2 * math.pi), rtol=1e-12)


def test_exact_solution_takes_precedence(kinetic_dir: RunDir) -> None:
    axes = _axes(drawn("marginals", RunRecord(kinetic_dir("vfp_gaussian_3d"))))
    assert len(_curves(axes, "exact")) == 6
    assert not _curves(_axes(drawn("marginals", RunRecord(kinetic_dir("vfp_double_well_1d")))), "exact")


@pytest.mark.parametrize("name", ["vfp_gaussian_1d", "vfp_gaussian_3d"])
def test_exact_distance_is_that_of_normal_densities(kinetic_dir: RunDir, name: str) -> None:
    run = RunRecord(kinetic_dir(name))
    d, t = run.problem.d, 1.3
    density = run.problem.density(t)
    # The potential is |x|^2: variances 1/2 and 1 at equilibrium.
    precision = torch.tensor([2.0] * d + [1.0] * d, dtype=torch.float64)
    trace = (precision * density.covariance.diagonal()).sum() + (precision * density.mean.square()).sum()
    log_det = torch.logdet(density.covariance) + precision.log().sum()
    expected = float(0.5 * (trace - 2 * d - log_det))
    # Boltzmann's normalisation by quadrature is good to 1e-13.
    assert relative_entropies(run, [t]) == [pytest.approx(expected, rel=1e-10)]
    (curve,) = _curves(_axes(drawn("relaxation", run))[:1], "exact")
    np.testing.assert_array_equal(curve[:, 1], relative_entropies(run, curve[:, 0].tolist()))


def test_free_energy_of_equilibrium_is_the_partition_function(kinetic_dir: RunDir) -> None:
    r"""-T_0 M log(Z / M): Z = pi sqrt 2 for phi = x^2 in 1D1V, and V (2 pi)^{3/2} for a box of volume V = M in 1D3V."""
    found = equilibrium_free_energy(RunRecord(kinetic_dir("vfp_gaussian_1d")))
    assert found == pytest.approx(-math.log(math.sqrt(2) * math.pi), rel=1e-10)
    run = RunRecord(kinetic_dir("vpfp_1d3v"))
    expected = -run.problem.mass * 1.5 * math.log(2 * math.pi)
    assert equilibrium_free_energy(run) == pytest.approx(expected, rel=1e-12)
    (level,) = _curves(_axes(drawn("relaxation", run)), "equilibrium")
    np.testing.assert_allclose(level[:, 1], expected, rtol=1e-12)


def test_steps_in_which_the_free_energy_grew_are_marked(kinetic_dir: RunDir) -> None:
    folder = kinetic_dir("vfp_double_well_1d")
    axes = _axes(drawn("relaxation", RunRecord(folder)))
    changes = _column(folder, "collision_free_energy_change")
    (grown,), (sizes,) = _curves(axes, "grown"), _curves(axes, "collision_free_energy_change")
    np.testing.assert_array_equal(grown, changes[[7]])
    # The first row, before any step, is zero and has no place on a logarithmic axis.
    np.testing.assert_array_equal(sizes[:, 1], np.abs(changes[1:, 1]))


@pytest.mark.parametrize(
    ("low", "high", "noise", "scale"),
    [(1e-2, 3.0, 1e-3, "log"), (-1e-3, 3.0, 1e-3, "symlog"), (1e-3, 3.0, 1e-3, "symlog"), (2.0, 3.0, 1e-3, "linear")],
)
def test_scale_hides_no_value(low: float, high: float, noise: float, scale: str) -> None:
    ax = Figure().subplots()
    honest_scale(ax, low, high, noise)
    assert ax.get_yscale() == scale
    bottom, top = ax.get_ylim()
    assert bottom < low < high < top
    assert scale != "linear" or bottom == 0


def test_kl_is_drawn_with_two_standard_errors(kinetic_dir: RunDir) -> None:
    folder = kinetic_dir("vfp_double_well_1d")
    ax = _axes(drawn("relaxation", RunRecord(folder)))[0]
    kl, error = _column(folder, "kl"), _column(folder, "kl_stderr")
    (band,) = ax.collections
    vertices = band.get_paths()[0].vertices
    np.testing.assert_allclose(vertices[:, 1].min(), (kl - 2 * error)[:, 1].min(), rtol=1e-12)
    np.testing.assert_allclose(vertices[:, 1].max(), (kl + 2 * error)[:, 1].max(), rtol=1e-12)
    # The synthetic estimate ends below zero, and is seen there.
    assert kl[-1, 1] < 0
    assert ax.get_ylim()[0] < (kl - 2 * error)[-1, 1]


def test_momentum_is_compared_with_its_decay(kinetic_dir: RunDir) -> None:
    run = RunRecord(kinetic_dir("vpfp_1d3v"))
    found = momentum_error(run)
    assert found is not None
    # Three equal components that decay at the rate epsilon: rounding of numbers of size 0.3, divided by the mass.
    assert found[1].max() < 1e-16
    for name in ("momentum", "momentum_2", "momentum_3"):
        run.metrics[name] = np.full_like(run.metrics["t"], 0.3)
    found = momentum_error(run)
    assert found is not None
    expected = math.sqrt(3) * 0.3 * (1 - np.exp(-0.005 * found[0])) / run.problem.mass
    np.testing.assert_allclose(found[1], expected, rtol=1e-9, atol=1e-17)
    assert momentum_error(RunRecord(kinetic_dir("vfp_gaussian_1d"))) is None


@pytest.mark.parametrize("width", [7.6, 12.8])
def test_headlines_fit(width: float) -> None:
    fig = Figure(figsize=(width, 4), layout="constrained")
    headline(fig, "Conservation: vpfp_1d1v_as_printed · velocity_matching · features · 50,000 particles · 1D1V")
    FigureCanvasAgg(fig)
    fig.draw_without_rendering()
    (title,) = [text for text in fig.texts if "Conservation" in text.get_text()]
    assert title.get_window_extent().x0 >= 0
    assert title.get_window_extent().x1 <= fig.bbox.width
    assert title.get_fontsize() == 13 or width < 10


def test_title_says_the_dimensions(kinetic_dir: RunDir) -> None:
    title = RunRecord(kinetic_dir("vpfp_1d3v")).title
    assert title == "vpfp_1d3v · some_method · affine · 600 particles · 1D3V · seed = 0"
