"""Synthetic folders of kinetic runs: particles of known densities at every snapshot, metrics from formulas."""

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

from graphlandau.problems import KineticProblem, LandauDamping, TwoStream, VFPDoubleWell, VFPGaussian, VPFPBeams

PROBLEMS: dict[str, tuple[type[KineticProblem], dict[str, Any]]] = {
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


def _row(problem: KineticProblem, t: float, step: int, rate: complex) -> dict[str, Any]:
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
    cls, init_args = PROBLEMS[name]
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
            rows.append(_row(problem, t, step, rate))
    write_rows(folder, rows)
    return folder


def write_rows(folder: Path, rows: list[dict[str, Any]]) -> None:
    """Write ``metrics.csv``."""
    with (folder / "metrics.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


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
