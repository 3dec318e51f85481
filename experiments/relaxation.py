"""The table of the README: relaxation problems with a known answer, by every method and score.

    python experiments/relaxation.py            # the full sizes, about 25 minutes on 2 cores
    python experiments/relaxation.py --smoke    # a few particles and steps, to see that it runs

Each row is one `graphlandau run`, whose command is written beside its numbers in benchmarks/results/relaxation.csv.
Run folders go to runs/relaxation; rows that are finished there are not run again.
"""

from __future__ import annotations

import argparse
import csv
import json
import shlex
from pathlib import Path

from graphlandau.cli.main import main as graphlandau

BKW = "--problem bkw_2d --particles 22500 --t_end 5 --dt 0.01"
ANISOTROPIC_3D = "--problem anisotropic_3d --t_end 4 --dt 0.01"
SHORT_10D = "--problem anisotropic_10d --problem.strength 1 --particles 25600 --t_end 0.1 --dt 0.002 --log_det none"
LONG_10D = "--problem anisotropic_10d --particles 25600 --t_end 4 --dt 0.01 --log_det none"

RUNS = {
    "bkw_2d-closed_form": f"{BKW} --method sbtm --score closed_form",
    "bkw_2d-residual": f"{BKW} --method sbtm --score residual",
    "bkw_2d-mlp": f"{BKW} --method sbtm --score mlp",
    "anisotropic_3d-100-closed_form": f"{ANISOTROPIC_3D} --particles 100 --method sbtm --score closed_form",
    "anisotropic_3d-100-residual": f"{ANISOTROPIC_3D} --particles 100 --method sbtm --score residual",
    "anisotropic_3d-100-blob": f"{ANISOTROPIC_3D} --particles 100 --method blob",
    "anisotropic_3d-100-blob_corrected": f"{ANISOTROPIC_3D} --particles 100 --method blob --method.correct true",
    "anisotropic_3d-12800-closed_form": f"{ANISOTROPIC_3D} --particles 12800 --method sbtm --score closed_form",
    "anisotropic_3d-12800-residual": f"{ANISOTROPIC_3D} --particles 12800 --method sbtm --score residual",
    "anisotropic_10d-closed_form": f"{SHORT_10D} --method sbtm --score closed_form",
    "anisotropic_10d-residual": f"{SHORT_10D} --method sbtm --score residual",
    "anisotropic_10d-blob": f"{SHORT_10D} --method blob",
    "anisotropic_10d-blob_corrected": f"{SHORT_10D} --method blob --method.correct true",
    "anisotropic_10d-long-closed_form": f"{LONG_10D} --method sbtm --score closed_form",
}
SMOKE = "--particles 60 --dt 0.05 --t_end 0.1 --figures false"
COLUMNS = [
    "rel_fisher_divergence",
    "rel_l2_density",
    "rel_l2_density_exact_score",
    "rel_l2_density_fresh",
    "cov_frobenius_error",
    "cov_sample_error",
    "kl",
    "energy_rel_drift",
    "wall_seconds",
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="a few particles and steps")
    parser.add_argument("--only", default="", help="only rows whose name contains this")
    parser.add_argument("--out", type=Path, default=Path("runs/relaxation"), help="folder of the run folders")
    parser.add_argument("--table", type=Path, default=Path("benchmarks/results/relaxation.csv"))
    options = parser.parse_args()

    rows = []
    for name, arguments in RUNS.items():
        folder = options.out / name
        command = f"{arguments} --seed 0" + (f" {SMOKE}" if options.smoke else "")
        if options.only in name and not (folder / "summary.json").exists():
            status = graphlandau(["run", *shlex.split(command), "--out", str(folder)])
            if status != 0:
                raise SystemExit(status)
        if (folder / "summary.json").exists():
            summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
            numbers = {key: f"{summary[key]:.3g}" for key in COLUMNS if summary.get(key) is not None}
            rows.append({"name": name, **numbers, "command": f"graphlandau run {command}"})
    options.table.parent.mkdir(parents=True, exist_ok=True)
    with options.table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["name", *COLUMNS, "command"])
        writer.writeheader()
        writer.writerows(rows)
    print(f"{len(rows)} rows in {options.table}")


if __name__ == "__main__":
    main()
