"""What the figures of this folder share: the examples of the paper, the fields that are compared, the drawing."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from graphlandau.cli.study import number, read_command_line, records, series
from graphlandau.diagnostics import effective_particles, equilibrium_distance_mc
from graphlandau.plotting import RunRecord, Snapshot
from graphlandau.plotting.entropy import exact_entropy
from graphlandau.plotting.style import DENSITY_MAP, EXACT, NIGHT, REFERENCE, case_lines, time_axis

# The fields and steps that are compared. "network" is the configuration itself, trained as in the paper: a perceptron,
# or, for Rosenbluth's problem, a network on top of the Gaussian score instead of its residual network.
CASES: dict[str, list[str]] = {
    "network": [],
    "closed_form": ["--score", "closed_form"],
    "network_exact": ["--log_det", "exact"],
    "closed_form_exact": ["--score", "closed_form", "--log_det", "exact"],
    "blob": ["--method", "blob", "--log_det", "linear"],
}
NAMES = {
    "network": "JKO, network",
    "closed_form": "JKO, closed form",
    "network_exact": "JKO, network, exact determinant",
    "closed_form_exact": "JKO, closed form, exact determinant",
    "blob": "blob",
}
LINES = case_lines(CASES, (2.6, 1.5, 1.5, 1.5, 1.5))

# A few particles and steps of each example, to see that it runs.
SMOKE: dict[str, list[str]] = {
    "bkw_2d": ["--particles", "400", "--t_end", "0.1", "--snapshots", "6"],
    "bkw_3d": ["--particles", "400", "--t_end", "5.6", "--snapshots", "3"],
    "bimaxwellian_2d": ["--particles", "300", "--t_end", "0.8", "--snapshots", "9"],
    "rosenbluth_3d": ["--particles", "400", "--t_end", "0.8", "--snapshots", "3"],
    "rosenbluth_3d_long": ["--particles", "400", "--t_end", "10"],
    "anisotropic_10d": ["--particles", "400", "--t_end", "0.01"],
}
SMALL = ["--method.minibatch", "200", "--method.initial_steps", "50"]

Runs = dict[str, list[str]]
Records = Mapping[str, RunRecord]
Densities = tuple[str, Sequence[np.ndarray]]


def example_runs(name: str, cases: Sequence[str], smoke: bool, *more: str, suffix: str = "") -> Runs:
    """Return the arguments of an example of the paper by case and suffix; ``more`` comes last."""
    base = ["--config", f"jko_landau/{name}", "--figures", "false", "--checkpoint_every", "100"]
    runs = {}
    for case in cases:
        given = [*base, *CASES[case]]
        if smoke:
            given += SMOKE[name] + ([] if case == "blob" else SMALL)
            given += ["--batch_size", "200"] if "rosenbluth" in name or "10d" in name else []
        runs[case + suffix] = [*given, *more]
    return runs


def example(
    name: str,
    cases: Sequence[str],
    options: argparse.Namespace,
    *more: str,
    suffix: str = "",
) -> dict[str, RunRecord]:
    """Return the records of an example of the paper for some cases; what is not finished is run."""
    return records(example_runs(name, cases, options.smoke, *more, suffix=suffix), options)


def command_line(doc: str | None, script: str, name: str) -> argparse.Namespace:
    """Read the command line of a script whose runs are those of the example ``name``."""
    return read_command_line(doc, script, runs=name)


def heading(name: str, found: Records) -> str:
    """What a figure is of: the example and its number of particles."""
    return f"{name}, {next(iter(found.values())).config['particles']:,} particles"


def maxwellian_entropy(run: RunRecord) -> np.ndarray:
    r"""Return :math:`-\frac{d}{2} \log(2 \pi e T)` with the particles' own temperature, at every row."""
    return -run.problem.d / 2 * np.log(2 * np.pi * np.e * series(run, "temperature")[1])


def equilibrium_entropy(run: RunRecord) -> float:
    """Return the entropy of the equilibrium of the problem.

    Raises:
        ValueError: If it knows none.
    """
    equilibrium = run.problem.equilibrium()
    if equilibrium is None:
        raise ValueError(f"the equilibrium of {run.problem.name} is not known")
    return equilibrium.entropy()


def relaxation(run: RunRecord, error: str = "") -> dict[str, str | None]:
    """Return what became of a run, for a table: where it ended, its largest rise of entropy, how near to equilibrium.

    The distance ``_mc`` is what as many independent samples of the Maxwellian would have. Entropies are those of the
    normalised density, the Maxwellian is that of the particles' own temperature; ``largest_rise`` is that between two
    rows of the metrics, negative if the entropy falls at each.
    """
    t, entropy = series(run, "entropy")
    last = {key: float(values[-1]) for key, values in run.metrics.items()}
    n = effective_particles(run.config["particles"], run.weight)
    numbers = {
        "t": t[-1],
        "largest_rise": np.diff(entropy).max() if len(entropy) > 1 else None,
        "entropy_minus_equilibrium": entropy[-1] - maxwellian_entropy(run)[-1],
        "equilibrium_distance": last["equilibrium_distance"],
        "equilibrium_distance_mc": equilibrium_distance_mc(last["temperature"], n, run.problem.d),
        "energy_rel_drift": last["energy_rel_drift"],
        "wall_seconds": last["wall_seconds"],
    }
    return {"status": error or "done", **{key: number(x) for key, x in numbers.items()}}


def draw_energy(ax: Axes, found: Records) -> None:
    r"""Draw :math:`\langle |v|^2 \rangle`, twice our energy and what the paper calls one, and its exact value."""
    for case, run in found.items():
        t, energy = series(run, "energy")
        ax.plot(t, 2 * energy, label=NAMES[case], **LINES[case])
    some = next(iter(found.values()))
    sigma, mean = some.problem.initial.covariance, some.problem.initial.mean
    assert sigma is not None
    assert mean is not None
    exact = float(sigma.trace() + mean.square().sum())
    ax.plot(some.time_span, [exact] * 2, **EXACT, label="exact")
    time_axis(ax, some.time_span, r"$\langle |v|^2 \rangle$ (twice our energy)", "Kinetic energy")
    # One hundredth of it to either side, unless the curves need more: rounding must not fill the panel.
    low, high = ax.get_ylim()
    ax.set_ylim(min(low, 0.99 * exact), max(high, 1.01 * exact))


def draw_entropy(ax: Axes, found: Records) -> None:
    """Draw the entropy, its exact value where known, and that of the equilibrium."""
    for case, run in found.items():
        ax.plot(*series(run, "entropy"), label=NAMES[case], **LINES[case])
    some = next(iter(found.values()))
    truth = exact_entropy(some)
    if truth is not None:
        ax.plot(*truth, **EXACT, label="exact")
    ax.plot(some.time_span, [equilibrium_entropy(some)] * 2, **REFERENCE, label="equilibrium")
    time_axis(ax, some.time_span, r"$H = \langle \log f \rangle$", "Entropy")


def scatter(snapshots: Sequence[Snapshot], above: Densities, below: Densities, half_width: float, title: str) -> Figure:
    """Draw the particles of a 2D run, a column for each snapshot, coloured by two densities with one scale.

    Each density is a name and its values at the particles. The scale is that of the one above and of the start.
    """
    fig = Figure(figsize=(11.5, 7.6), layout="constrained")
    grid = fig.subplots(2, len(snapshots), squeeze=False, sharex=True, sharey=True)
    norm = Normalize(0, max(float(density.max()) for density in (*above[1], below[1][0])))
    for axes, (name, densities) in zip(grid, (above, below), strict=True):
        for ax, snapshot, density in zip(axes, snapshots, densities, strict=True):
            order = np.argsort(density)  # densest on top
            v, size = snapshot.v.numpy()[order], float(np.clip(5e4 / len(density), 1.2, 22))
            ax.scatter(v[:, 0], v[:, 1], c=density[order], norm=norm, cmap=DENSITY_MAP, s=size, linewidths=0)
            ax.set_facecolor(NIGHT)
            ax.grid(visible=False)
            ax.set(xlim=(-half_width, half_width), ylim=(-half_width, half_width), aspect="equal")
            ax.set_title(f"{name}, $t = {snapshot.t:.4g}$")
        axes[0].set_ylabel("$v_2$ (dimensionless)")
    for ax in grid[-1]:
        ax.set_xlabel("$v_1$ (dimensionless)")
    scale = ScalarMappable(norm, DENSITY_MAP)
    fig.colorbar(scale, ax=grid, label="density $f(v_1, v_2)$", shrink=0.6, extend="max")
    fig.suptitle(title, x=0.01, ha="left")
    return fig


def carried_density(snapshot: Snapshot) -> np.ndarray:
    """Return the density that the particles carry.

    Raises:
        ValueError: If they carry none.
    """
    if snapshot.log_f is None:
        raise ValueError(f"the snapshot at t = {snapshot.t:g} has no log-density")
    return snapshot.log_f.exp().numpy()


def differences(density: np.ndarray, other: np.ndarray) -> dict[str, Any]:
    r"""Return :math:`\langle |f - g|^2 \rangle^{1/2} / \langle |g|^2 \rangle^{1/2}`, and the mean of the logarithms."""
    return {
        "relative_l2": number(float(np.sqrt(((density - other) ** 2).sum() / (other**2).sum()))),
        "mean_log_ratio": number(float(np.log(density / other).mean())),
    }
