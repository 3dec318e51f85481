"""What the figures of this folder share: the six problems of the paper and the methods that are compared on them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from graphlandau.cli.study import read_command_line, records
from graphlandau.plotting import RunRecord

# The methods. The first two are one training: the flow queried, and its score followed in steps of time.
CASES = ("pinn_particle", "pinn_score", "sbp", "blob", "closed_form")
NAMES = {
    "pinn_particle": "PINN-PM, flow",
    "pinn_score": "PINN-PM, score in steps",
    "sbp": "SBP (network at every step)",
    "blob": "blob",
    "closed_form": "closed form",
}
# Appendix B of the paper: three layers of 32, 25 gradient steps at every time step, here each on 2,048 particles.
SBP = ["--method", "sbtm", "--score", "mlp", "--score.width", "32", "--score.depth", "3", "--score.activation", "silu"]
SBP += ["--method.steps", "25", "--method.learning_rate", "1e-4", "--method.hold_out", "false"]
CLOSED_FORM = ["--method", "sbtm", "--score", "closed_form"]

# The bandwidth of the blob method in Table 1.
BANDWIDTHS = {
    "bkw_2d": "0.15",
    "bkw_3d": "0.15",
    "bimaxwellian_2d": "0.3",
    "rosenbluth_3d_wide": "0.3",
    "mixture_3d": "0.15",
    "truncated_2d": "0.3",
}
# Where a training with the paper's networks takes hours on two cores: those of its group A, fewer iterations.
GROUP_A = ["velocity_width=32", "velocity_depth=2", "time_width=16", "time_depth=1", "width=128", "depth=4"]
SMALLER = [f"--{group}.{size}" for group in ("score", "flow") for size in GROUP_A]
REDUCED_TRAINING: dict[str, list[str]] = {
    "bkw_2d": [],
    "bkw_3d": [*SMALLER, "--method.iterations", "4000"],
    "bimaxwellian_2d": ["--method.iterations", "3000"],
    "rosenbluth_3d_wide": ["--method.iterations", "3000"],
    "mixture_3d": [*SMALLER, "--method.iterations", "4000"],
    "truncated_2d": [*SMALLER, "--method.iterations", "3000"],
}
# Where Table 1 (the configurations *_stepping) is too much for two cores: fewer particles, larger steps, fewer rows.
REDUCED: dict[str, list[str]] = {
    "bkw_2d": ["--metrics_every", "10"],
    "bkw_3d": [],
    "bimaxwellian_2d": ["--particles", "10000", "--dt", "0.1", "--metrics_every", "10"],
    "rosenbluth_3d_wide": ["--particles", "10000", "--dt", "0.1", "--metrics_every", "10"],
    "mixture_3d": ["--particles", "10000", "--dt", "0.25", "--metrics_every", "5"],
    "truncated_2d": ["--particles", "10000", "--metrics_every", "10"],
}
# All pairs of the particles of Table 1 take the blob method half an hour.
FEWER_FOR_BLOB = {"bkw_2d": ["--particles", "10000"], "bkw_3d": ["--particles", "16000"]}
# A few particles and steps, to see that it runs.
SMOKE: dict[str, list[str]] = {
    "bkw_2d": ["--particles", "300", "--t_end", "0.2", "--dt", "0.1", "--snapshots", "3"],
    "bkw_3d": ["--particles", "300", "--t_end", "5.6", "--dt", "0.05", "--snapshots", "3"],
    "bimaxwellian_2d": ["--particles", "300", "--t_end", "1", "--dt", "0.5", "--snapshots", "3"],
    "rosenbluth_3d_wide": ["--particles", "300", "--t_end", "1", "--dt", "0.5", "--snapshots", "3"],
    "mixture_3d": ["--particles", "300", "--t_end", "1", "--dt", "0.5", "--snapshots", "3"],
    "truncated_2d": ["--particles", "300", "--t_end", "0.2", "--dt", "0.1", "--snapshots", "3"],
}
SMALL_NETWORKS = [f"--{group}.{size}" for group in ("score", "flow") for size in ("width", "velocity_width")]
SMALL_TRAINING = ["--method.iterations", "30", "--method.training_particles", "100", "--method.save_every", "10"]

Runs = dict[str, list[str]]


def trained_file(runs: Path) -> Path:
    """Return the file of the trained pair of a problem."""
    return runs / "pinn_particle" / "training" / "trained.safetensors"


def problem_runs(name: str, cases: Sequence[str], runs: Path, smoke: bool) -> Runs:
    """Return the arguments of the runs of one problem by case; those of ``runs`` are where a trained pair is."""
    common = ["--figures", "false"]
    arguments: Runs = {}
    for case in cases:
        if case.startswith("pinn"):
            given = ["--config", f"pinn_pm/{name}", *common]
        else:
            given = ["--config", f"pinn_pm/{name}_stepping", *common]
        if case == "pinn_score":
            given += ["--method.trained", str(trained_file(runs)), "--method.transport", "score"]
            given += ["--dt", "0.01"]
        if case == "sbp":
            given += SBP
        if case == "closed_form":
            given += CLOSED_FORM
        if case == "blob":
            given += ["--method", "blob", "--method.bandwidth", BANDWIDTHS[name], "--log_det", "none"]
        if smoke:
            given += SMOKE[name]
            if case.startswith("pinn"):
                given += [word for key in SMALL_NETWORKS for word in (key, "16")]
                given += SMALL_TRAINING
        elif case == "pinn_particle":
            given += REDUCED_TRAINING[name]
        else:
            given += REDUCED[name]
            given += ["--particles", "10000"] if case == "pinn_score" else []
            given += FEWER_FOR_BLOB.get(name, []) if case == "blob" else []
        arguments[case] = given
    return arguments


def compare(name: str, cases: Sequence[str], options: argparse.Namespace) -> dict[str, RunRecord]:
    """Return the records of the runs of one problem; what is not finished is run, the training first."""
    ordered = [case for case in CASES if case in cases]
    found: dict[str, RunRecord] = {}
    if "pinn_score" in ordered and not trained_file(options.runs).exists():
        found |= records(problem_runs(name, ["pinn_particle"], options.runs, options.smoke), options)
    found |= records(problem_runs(name, ordered, options.runs, options.smoke), options)
    return {case: found[case] for case in ordered}


def command_line(doc: str | None, script: str, name: str) -> argparse.Namespace:
    """Read the command line of a script whose runs are those of the problem ``name``."""
    return read_command_line(doc, script, runs=name)
