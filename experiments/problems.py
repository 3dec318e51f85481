"""Every homogeneous benchmark to its final time: what is conserved, what relaxes, and how far it still is.

    python experiments/problems.py            # about two hours on 2 cores
    python experiments/problems.py --smoke    # a few particles and steps, to see that it runs

Closed-form scores, midpoint steps, float32. Where the particles of the papers take longer than half an hour on 2 cores
there are fewer, and sometimes longer steps; PAPER has the papers' sizes (--paper runs those). Run folders go to
runs/problems; what is finished there is not run again. The table is benchmarks/results/problems.csv.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import Any

import numpy as np

from graphlandau.base.tables import write_csv
from graphlandau.cli.sweep import run_sweep
from graphlandau.plotting import RunRecord

BASE = (
    "--method sbtm --score closed_form --integrator midpoint --metrics_every 5 --checkpoint_every 250 --figures false"
)
PAPER = {
    "bkw_2d": "--particles 22500",
    "bkw_3d": "--particles 64000 --t_end 9.5",
    "anisotropic_3d": "--particles 12800",
    "anisotropic_10d": "--particles 25600",
    "anisotropic_coulomb_3d": "--particles 12800",
    "bimaxwellian_2d": "--particles 14400",
    "rosenbluth_3d": "--particles 125000",
    "rosenbluth_3d_wide": "--particles 27000",
    "mixture_3d": "--particles 64000",
    "truncated_2d": "--particles 14400",
}
SIZES = PAPER | {
    "bkw_3d": "--particles 25600 --t_end 9.5",
    "bimaxwellian_2d": "--particles 9600",
    "rosenbluth_3d": "--particles 16000",
    "rosenbluth_3d_wide": "--particles 4000 --dt 0.02",
    "mixture_3d": "--particles 4000 --dt 0.02",
}


def row(problem: str, run: RunRecord, command: str) -> dict[str, Any]:
    """Numbers of a finished run; an entropy rise is above the lowest entropy before it."""
    entropy, summary = run.metrics["entropy"], run.summary
    density = run.problem.initial.entropy()
    log_f = run.snapshot(-1).log_f
    numbers = {
        "dt": summary["dt"],
        "t": summary["t"],
        "entropy_start_exact": density,
        "entropy_start": entropy[0],
        "entropy_end": entropy[-1],
        "entropy_equilibrium": summary["entropy_equilibrium"],
        "entropy_standard_error": None if log_f is None else float(log_f.std() / len(log_f) ** 0.5),
        "largest_entropy_rise": float((entropy - np.minimum.accumulate(entropy)).max()),
        "energy_rel_drift": float(run.metrics["energy_rel_drift"].max()),
        "temperature": summary["temperature"],
        "distance_start": float(run.metrics["equilibrium_distance"][0]),
        "equilibrium_distance": summary["equilibrium_distance"],
        "equilibrium_distance_mc": summary["equilibrium_distance_mc"],
        "cov_frobenius_error": summary.get("cov_frobenius_error"),
        "rel_fisher_divergence": summary.get("rel_fisher_divergence"),
        "wall_seconds": summary["wall_seconds"],
    }
    named = {"problem": problem, "particles": summary["particles"], "backend": summary["backend"]}
    return named | {key: None if x is None else f"{x:.4g}" for key, x in numbers.items()} | {"command": command}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="a few particles and steps")
    parser.add_argument("--paper", action="store_true", help="the papers' numbers of particles and time steps")
    parser.add_argument("--jobs", type=int, default=1, help="runs at the same time")
    parser.add_argument("--runs", type=Path, help="folder of the run folders (default runs/problems)")
    parser.add_argument("--table", type=Path, default=Path("benchmarks/results/problems.csv"))
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")

    sizes = PAPER if options.paper else SIZES
    commands = {name: f"--problem {name} {size} {BASE}" for name, size in sizes.items()}
    if options.smoke:
        few = "--problem {0} --particles 200 --checkpoint_every 250 --figures false --method sbtm --score closed_form"
        ends = {"bkw_3d": "5.6 --dt 0.05", "anisotropic_coulomb_3d": "3", "rosenbluth_3d": "0.4"}
        commands = {name: f"{few.format(name)} --t_end {ends.get(name, '0.2 --dt 0.1')}" for name in PAPER}
    folder = "problems-smoke" if options.smoke else "problems-paper" if options.paper else "problems"
    rows = run_sweep({k: x.split() for k, x in commands.items()}, options.runs or Path("runs") / folder, options.jobs)
    for failed in (r for r in rows if r["status"] != "done"):
        print(f"{failed['name']}: {failed['error']}")
    done = [r for r in rows if r["status"] == "done"]
    table = [row(r["name"], RunRecord(r["folder"]), f"graphlandau run {commands[r['name']]}") for r in done]
    target = options.table if not options.smoke else Path("runs") / folder / "problems.csv"
    target.parent.mkdir(parents=True, exist_ok=True)
    write_csv(target, table)
    print(f"{len(table)} rows in {target}")
    raise SystemExit(len(done) < len(rows))


if __name__ == "__main__":
    main()
