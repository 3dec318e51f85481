"""What the scripts of this folder share: forms, controls and references that are compared, their runs, and tables."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence

from graphlandau.cli.study import read_command_line, records
from graphlandau.plotting import RunRecord
from graphlandau.plotting.style import case_lines

__all__ = [
    "CONFIG_3D",
    "CONTROLS",
    "FORMS",
    "LANGEVIN",
    "LINES",
    "NAMES",
    "Records",
    "Runs",
    "command_line",
    "double_well_3d",
    "runs_of",
]

Runs = dict[str, list[str]]
Records = Mapping[str, RunRecord]

# Example 4.
CONFIG_3D = "vfp_double_well_3d"

# The schemes of the paper: as printed in Eq. (18), and split by the maps (25) and (26).
FORMS: dict[str, list[str]] = {
    "joint": ["--method.form", "joint"],
    "drift_kick": ["--method.form", "split", "--method.map", "drift_kick"],
    "verlet": ["--method.form", "split", "--method.map", "verlet"],
}
NETWORK = ["--control", "mlp", "--control.width", "16", "--control.depth", "2", "--control.activation", "tanh"]
CONTROLS: dict[str, list[str]] = {
    "features": ["--control", "features"],
    "affine": ["--control", "affine"],
    "network": NETWORK,
}
LANGEVIN = ["--method", "langevin", "--method.noise", "ornstein_uhlenbeck"]

NAMES = {
    "joint": "Eq. (18), joint",
    "drift_kick": "Eq. (25), split",
    "verlet": "Eq. (26), split",
    "features": "kinetic JKO, closed-form features",
    "affine": "kinetic JKO, affine",
    "network": "kinetic JKO, network",
    "features_trace": "kinetic JKO, features, trace",
    "features_half": r"kinetic JKO, features, half $\Delta t$",
    "langevin": "Langevin",
    "kinetic_sbtm": "score matching",
    "velocity_matching": "velocity matching",
}
LINES = case_lines(
    ("features", "network", "langevin", "features_trace", "features_half", "affine"), (2.4, 1.9, 1.6, 1.5, 1.5, 1.5)
)


def command_line(doc: str | None, script: str, name: str | None = None) -> argparse.Namespace:
    """Read the command line of a script; scripts of one ``name`` share their runs."""
    return read_command_line(doc, script, runs=name)


def runs_of(
    config: str, cases: Mapping[str, Sequence[str]], options: argparse.Namespace, trial: Sequence[str], *more: str
) -> Runs:
    """Return the arguments of the runs of a configuration, one a case; ``trial`` is added in the smoke mode."""
    base = ["--config", f"kinetic_jko/{config}", "--figures", "false", *more]
    return {case: [*base, *given, *(trial if options.smoke else [])] for case, given in cases.items()}


def double_well_3d(options: argparse.Namespace) -> dict[str, RunRecord]:
    """Return the records of the runs of Example 4; what is not finished is run."""
    cases = {
        "features": CONTROLS["features"],
        "langevin": [*LANGEVIN, "--dt", "0.02", "--particles", "50000"],
    }
    trial = ["--particles", "500", "--t_end", "0.2", "--control.num_features", "8"]
    runs = runs_of(CONFIG_3D, cases, options, trial[:4])
    if options.smoke:
        runs["features"] += trial[4:]
    return records(runs, options)
