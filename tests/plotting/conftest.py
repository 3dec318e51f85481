"""Synthetic run folders: exact samples at every snapshot, metrics from formulas."""

from __future__ import annotations

import csv
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
import yaml

from graphlandau.problems import (
    BKW,
    Anisotropic,
    BiMaxwellian,
    KineticProblem,
    LandauDamping,
    Problem,
    Rosenbluth,
    Truncated,
    TwoStream,
    VFPDoubleWell,
    VFPGaussian,
    VPFPBeams,
)

PROBLEMS: dict[str, tuple[type[Problem], dict[str, Any]]] = {
    "bkw_2d": (BKW, {"d": 2}),
    "bkw_3d": (BKW, {"d": 3}),
    "anisotropic_3d": (Anisotropic, {"d": 3}),
    "anisotropic_10d": (Anisotropic, {"d": 10}),
    "anisotropic_coulomb_3d": (Anisotropic, {"d": 3, "gamma": -3.0}),
    "rosenbluth_3d": (Rosenbluth, {}),
    "truncated_2d": (Truncated, {}),
    "bimaxwellian_2d": (BiMaxwellian, {}),
}


def _particles(problem: Problem, t: float, n: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Samples and scores: exact where the density is known, else of the exact covariance or the equilibrium."""
    if problem.density(t) is not None:
        v = problem.sample(n, generator=generator, t=t)
        s = problem.score(v, t)
        return v, s + 0.03 * s.std() * torch.randn(s.shape, generator=generator, dtype=s.dtype)
    equilibrium, sigma = problem.equilibrium(), problem.covariance(t)
    assert equilibrium is not None
    sigma = equilibrium.covariance if sigma is None else sigma
    v = torch.randn(n, problem.d, generator=generator, dtype=torch.float64) @ torch.linalg.cholesky(sigma).T
    return v, -torch.linalg.solve(sigma, v.T).T


def _row(problem: Problem, t: float, step: int, v: torch.Tensor, rng: np.random.Generator) -> dict[str, Any]:
    since = t - problem.t_start
    row: dict[str, Any] = {"step": step, "t": t, "wall_seconds": 0.1 * step, "mass": 1.0}
    row |= {"energy": float(v.square().sum(1).mean()) / 2, "energy_rel_drift": 2e-6 * since}
    row |= {"momentum_abs_drift": 1e-17 * step, "entropy": -2.8 - 0.05 * (1 - np.exp(-since))}
    row |= {"entropy_dissipation": -0.05 * np.exp(-since), "fourth_moment": 8.0}
    sample, truth = torch.cov(v.T), problem.covariance(t)
    for a in range(problem.d):
        for b in range(a, problem.d if problem.d <= 3 else a + 1):
            row[f"cov_{a + 1}_{b + 1}"] = float(sample[a, b])
    row |= {"cov_trace": float(sample.trace()), "temperature": float(sample.trace()) / problem.d}
    row["equilibrium_distance"] = 0.3 * np.exp(-since)
    if truth is not None:
        row["cov_frobenius_error"] = float((sample - truth).norm())
        row["cov_sample_error"] = 1e-4 * (1 + since)
    if isinstance(problem, BKW):
        row |= {
            "rel_fisher_divergence": 1e-3 * (1 + rng.random()),
            "kl": 1e-4 * rng.standard_normal(),
            "kl_stderr": 2e-4,
        }
        row["entropy"] = problem.density(t).entropy() + 2e-3
        at_density_time = step % 10 == 0
        row["rel_l2_density"] = 0.04 + 0.002 * since if at_density_time else ""
        row["rel_l2_density_exact_score"] = 0.038 + 0.002 * since if at_density_time else ""
        row["rel_l2_density_fresh"] = 0.05 if at_density_time else ""
    return row


def write_run(name: str, folder: Path, *, particles: int, snapshots: int = 6) -> Path:
    """Write a run folder for one of the benchmark problems, with ten steps between two snapshots."""
    cls, init_args = PROBLEMS[name]
    problem = cls(**init_args)
    folder.mkdir(parents=True)
    chosen = {"class_path": f"graphlandau.problems.{cls.__name__}", "init_args": init_args}
    (folder / "config.yaml").write_text(yaml.safe_dump({"problem": chosen, "seed": 0}))
    summary = {"problem": name, "method": "sbtm", "score": "closed_form", "particles": particles}
    (folder / "summary.json").write_text(json.dumps(summary))
    generator, rng = torch.Generator().manual_seed(0), np.random.default_rng(0)
    times = np.linspace(problem.t_start, problem.t_end, 10 * (snapshots - 1) + 1).tolist()
    rows = []
    with h5py.File(folder / "snapshots.h5", "w") as file:
        file.attrs.update(problem=name, d=problem.d)
        for step, t in enumerate(times):
            v, s = _particles(problem, t, particles, generator)
            rows.append(_row(problem, t, step, v, rng))
            if step % 10 == 0:
                group = file.create_group(f"{step:08d}")
                group.attrs.update(t=t, step=step)
                group["v"], group["s"] = v.numpy(), s.numpy()
    write_metrics(folder, rows)
    return folder


def write_metrics(folder: Path, rows: list[dict[str, Any]]) -> None:
    """Write ``metrics.csv``."""
    with (folder / "metrics.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def read_metrics(folder: Path) -> list[dict[str, str]]:
    """Read ``metrics.csv`` independently of the code under test."""
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="session")
def _written(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    base = tmp_path_factory.mktemp("runs")

    def written(name: str) -> Path:
        folder = base / name
        return folder if folder.exists() else write_run(name, folder, particles=400)

    return written


@pytest.fixture
def run_dir(_written: Callable[[str], Path], tmp_path: Path) -> Callable[[str], Path]:
    """Return a function that gives a fresh copy of a synthetic run folder by the name of its problem."""
    return lambda name: Path(shutil.copytree(_written(name), tmp_path / name))


@pytest.fixture
def without_columns() -> Callable[..., Path]:
    """Return a function that removes columns from the metrics of a run folder."""

    def remove(folder: Path, *prefixes: str) -> Path:
        rows = read_metrics(folder)
        write_metrics(folder, [{k: x for k, x in row.items() if not k.startswith(prefixes)} for row in rows])
        return folder

    return remove


# Particles with positions

KINETIC_PROBLEMS: dict[str, tuple[type[KineticProblem], dict[str, Any]]] = {
    "landau_damping": (LandauDamping, {}),
    "two_stream": (TwoStream, {}),
    "vfp_gaussian_1d": (VFPGaussian, {"d": 1}),
    "vfp_gaussian_3d": (VFPGaussian, {"d": 3}),
    "vfp_double_well_1d": (VFPDoubleWell, {"d": 1}),
    "vpfp_1d3v": (VPFPBeams, {"d": 3}),
}
FIELD_CELLS = 16


def mode(rate: complex, t: float) -> float:
    """Amplitude of sin(kx) in a mode at exactly the rate of linear theory, until it saturates."""
    if rate.real > 0:
        return min(1e-3 * (math.exp(rate.real * t) + 0.3 * math.cos(1.1 * t)), 0.5)
    return 0.02 * math.exp(rate.real * t) * math.cos(rate.imag * t)


def _kinetic_row(problem: KineticProblem, t: float, step: int, rate: complex) -> dict[str, Any]:
    decay = math.exp(-t)
    row: dict[str, Any] = {"step": step, "t": t, "wall_seconds": 0.1 * step, "kinetic": 1 + decay}
    if problem.self_consistent:
        row |= {"e2": 0.1 + decay, "field_energy": (0.1 + decay) / 2}
    if problem.potential is not None:
        row["potential"] = 0.5 - 0.2 * decay
    row |= {"energy": 1.2 + decay}
    for a in range(problem.d):
        row["momentum" + (f"_{a + 1}" if a else "")] = 0.3 * math.exp(-problem.epsilon * t)
    if problem.epsilon == 0:
        row["energy_rel_drift"] = 1e-8 * step
    row |= {"entropy": -1 - decay, "free_energy": 0.5 + 2 * decay}
    if problem.stationary() is not None:
        # Below zero at the end, as an estimate may be.
        row |= {"kl": 2 * decay - 1e-3, "kl_stderr": 2e-3}
    if problem.self_consistent:
        # E_k of b sin(kx) is -i b.
        row |= {"mode_amplitude": abs(mode(rate, t)), "mode_re": 0.0, "mode_im": -mode(rate, t), "mode_noise": 0.0}
    if problem.density(problem.t_end) is not None:
        row["drift_error"] = 0.01 * (1 + decay) if step else ""
    if problem.epsilon > 0:
        row |= {"collision_free_energy_change": (-1) ** (step == 7) * -0.01 * decay if step else 0.0}
        row |= {"map_energy_change": 1e-4 * math.cos(step) if step else 0.0}
    return row


def write_kinetic_run(name: str, folder: Path, *, particles: int = 600, snapshots: int = 4, steps: int = 240) -> Path:
    """Write a run folder for one of the kinetic benchmark problems."""
    cls, init_args = KINETIC_PROBLEMS[name]
    problem = cls(**init_args)
    folder.mkdir(parents=True)
    chosen = {"class_path": f"graphlandau.problems.{cls.__name__}", "init_args": init_args}
    (folder / "config.yaml").write_text(yaml.safe_dump({"problem": chosen, "seed": 0}))
    summary = {"problem": name, "method": "some_method", "control": "affine", "particles": particles}
    (folder / "summary.json").write_text(json.dumps(summary))
    rate = problem.rate() or complex(-0.1, 1.2)
    generator = torch.Generator().manual_seed(0)
    rows = []
    with h5py.File(folder / "snapshots.h5", "w") as file:
        file.attrs.update(problem=name, d=problem.d)
        for step, t in enumerate(np.linspace(problem.t_start, problem.t_end, steps + 1).tolist()):
            if step % (steps // (snapshots - 1)) == 0:
                density = problem.density(t) or problem.equilibrium() or problem.initial
                x, v = density.sample(particles, generator=generator)
                group = file.create_group(f"{step:08d}")
                group.attrs.update(t=t, step=step)
                group["pos"], group["v"] = x.numpy(), v.numpy()
                if problem.self_consistent:
                    phase = 2 * math.pi * np.arange(FIELD_CELLS) / FIELD_CELLS
                    group["field"] = (mode(rate, t) * np.sin(phase))[:, None]
            rows.append(_kinetic_row(problem, t, step, rate))
    write_metrics(folder, rows)
    return folder


@pytest.fixture(scope="session")
def _written_kinetic(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    base = tmp_path_factory.mktemp("kinetic")

    def written(name: str) -> Path:
        folder = base / name
        return folder if folder.exists() else write_kinetic_run(name, folder)

    return written


@pytest.fixture
def kinetic_dir(_written_kinetic: Callable[[str], Path], tmp_path: Path) -> Callable[[str], Path]:
    """Return a function that gives a fresh copy of a synthetic kinetic run by the name of its problem."""
    return lambda name: Path(shutil.copytree(_written_kinetic(name), tmp_path / name))
