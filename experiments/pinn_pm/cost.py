"""What a learned flow costs beside methods that step in time, on BKW in 2D at equal error: a table.

Seconds of the training, of 100,000 particles at 100 query times by the trained flow, and of the same by each method
that steps in time: it is run with the fewest particles and the largest step of a small grid at which its largest
trajectory error over the run is not above that of the flow, then with 100,000 particles and that step. Errors are
those of the particles that are moved. Run it alone: two runs at once slow each other.

    python experiments/pinn_pm/cost.py
    python experiments/pinn_pm/cost.py --smoke
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any

import torch
from study import CLOSED_FORM, SBP, command_line, compare, trained_file

from graphlandau.base.tables import write_csv
from graphlandau.cli.study import records, series
from graphlandau.methods import TrainedFlow
from graphlandau.plotting import RunRecord

METHODS = {
    "closed_form": CLOSED_FORM,
    "sbp": SBP,
    "blob": ["--method", "blob", "--method.bandwidth", "0.15"],
}
# From cheap to dear.
GRID = [(n, dt) for n in (1000, 4000, 16000) for dt in ("0.25", "0.05")]
SMOKE_GRID = [(200, "0.1"), (400, "0.1")]
MANY, QUERIES, REPEATS = 100_000, 100, 5


def stepping(method: str, n: int, dt: str, t_end: str) -> list[str]:
    """Arguments of a run on BKW in 2D with nothing but the method in its time."""
    given = ["--problem", "bkw_2d", *METHODS[method], "--log_det", "none", "--particles", str(n), "--dt", dt]
    return [*given, "--t_end", t_end, "--baselines", "false", "--figures", "false", "--metrics_every", "1000"]


def largest(run: RunRecord, key: str) -> float:
    """Largest value of a metric over the snapshots."""
    return float(series(run, key)[1].max())


def query_seconds(trained: TrainedFlow, n: int) -> float:
    """Median seconds for ``n`` particles at all query times."""
    flow = trained.flow
    v0 = torch.randn(n, flow.d, generator=torch.Generator().manual_seed(0))
    times = torch.linspace(flow.t_start, flow.t_end, QUERIES, dtype=torch.float64).tolist()
    seconds = []
    for _ in range(REPEATS + 1):  # the first one warms up
        begun = time.perf_counter()
        for t in times:
            flow.at(v0, t)
        seconds.append(time.perf_counter() - begun)
    return statistics.median(seconds[1:])


def main() -> None:
    options = command_line(__doc__, __file__, "bkw_2d")
    flow = compare("bkw_2d", ["pinn_particle"], options)["pinn_particle"]
    goal, t_end = largest(flow, "rel_trajectory_error"), str(flow.config["t_end"])
    trained = TrainedFlow.load(trained_file(options.runs))
    many = 1000 if options.smoke else MANY
    rows: list[dict[str, Any]] = [
        {
            "method": "pinn_pm",
            "particles": flow.config["particles"],
            "dt": None,
            "rel_trajectory_error": f"{goal:.3g}",
            "rel_fisher_divergence": f"{largest(flow, 'rel_fisher_divergence'):.3g}",
            "training_seconds": f"{trained.training['seconds']:.3g}",
            "seconds": None,
            f"seconds_{many}": f"{query_seconds(trained, many):.3g}",
        }
    ]
    options.runs = Path(options.runs).parent / "cost"
    for method in METHODS:
        row: dict[str, Any] = {"method": method, "training_seconds": None}
        for n, dt in SMOKE_GRID if options.smoke else GRID:
            name = f"{method}-{n}-{dt}"
            run = records({name: stepping(method, n, dt, t_end)}, options)[name]
            error, seconds = largest(run, "rel_trajectory_error"), run.summary["wall_seconds"]
            row |= {"particles": n, "dt": dt, "rel_trajectory_error": f"{error:.3g}", "seconds": f"{seconds:.3g}"}
            row["rel_fisher_divergence"] = f"{largest(run, 'rel_fisher_divergence'):.3g}"
            row["reached"] = error <= goal
            if error <= goal:
                break
        name, pairs = f"{method}-{many}-{row['dt']}", method == "blob"
        row[f"seconds_{many}"] = None
        if not pairs:  # all pairs of 100,000 particles take the blob method half an hour
            run = records({name: stepping(method, many, str(row["dt"]), t_end)}, options)[name]
            row[f"seconds_{many}"] = f"{run.summary['wall_seconds']:.3g}"
        rows.append(row)
    options.out.mkdir(parents=True, exist_ok=True)
    columns = dict.fromkeys(key for row in reversed(rows) for key in row)
    write_csv(options.out / "cost.csv", [{key: row.get(key) for key in columns} for row in rows])
    for row in rows:
        print(row)


if __name__ == "__main__":
    main()
