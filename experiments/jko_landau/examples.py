"""Every example of Section 5 of Huang and Wang, arXiv:2409.12296, at the paper's size: a table of the numbers.

The runs are those of the figures. Where the density or the covariance is known its errors, elsewhere the distance from
the equilibrium; entropies are those of the normalised density.

    python experiments/jko_landau/figures.py examples
    python experiments/jko_landau/figures.py examples --smoke
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from study import command_line, example_runs

from graphlandau.base.tables import write_csv
from graphlandau.cli.study import records, series
from graphlandau.plotting import RunRecord

# Example, cases, more options, suffix of the run folders.
EXAMPLES = [
    ("bkw_2d", ["network", "closed_form"], [], ""),
    ("bkw_3d", ["network", "closed_form"], [], ""),
    ("bimaxwellian_2d", ["network", "blob"], [], ""),
    ("rosenbluth_3d", ["network"], [], ""),
    ("rosenbluth_3d_long", ["network"], ["--dt", "1"], "-1"),
    ("rosenbluth_3d_long", ["network"], ["--dt", "5"], "-5"),
    ("anisotropic_10d", ["network", "closed_form"], [], ""),
]
KEYS = [
    "energy_rel_drift",
    "entropy",
    "entropy_exact",
    "entropy_equilibrium",
    "rel_fisher_divergence",
    "rel_l2_density",
    "rel_l2_density_exact_score",
    "rel_l2_density_fresh",
    "cov_frobenius_error",
    "cov_sample_error",
    "equilibrium_distance",
    "equilibrium_distance_mc",
]


def row(name: str, case: str, run: RunRecord) -> Mapping[str, Any]:
    """The numbers of one run at its end, and the largest rise of its entropy in a step."""
    entropy = series(run, "entropy")[1]
    size = {key: run.summary[key] for key in ("particles", "dt", "t")}
    numbers = {key: run.summary.get(key) for key in KEYS}
    numbers |= {"largest_rise": float((entropy[1:] - entropy[:-1]).max()), "wall_seconds": run.summary["wall_seconds"]}
    return {"example": name, "case": case, **size} | {k: None if x is None else f"{x:.4g}" for k, x in numbers.items()}


def main() -> None:
    options = command_line(__doc__, __file__, "*")
    # The figures of an example have their runs in a folder of its name.
    home = options.runs.parent if options.runs.name == "*" else options.runs
    rows = []
    for name, cases, more, suffix in EXAMPLES:
        options.runs = home / name
        found = records(example_runs(name, cases, options.smoke, *more, suffix=suffix), options)
        rows += [row(name, case, found[case + suffix]) for case in cases]
    out = home if options.smoke and options.out.name == "*" else options.out
    out.mkdir(parents=True, exist_ok=True)
    write_csv(out / "examples.csv", rows)
    print(out / "examples.csv")


if __name__ == "__main__":
    main()
