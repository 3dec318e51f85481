"""Growth of time and memory with the number of particles, with fitted exponents.

    python benchmarks/growth.py            # results/growth.csv and .png, some 10 minutes on 2 cores
    python benchmarks/growth.py --quick

Every row is a process of its own. ``seconds`` is the least of repeats after one warm-up (what else runs on a machine
would else show as growth), ``memory_MiB`` what one call adds at its peak to a process that holds its particles and its
compiled code, ``exponent`` the least-squares slope of log seconds against log N over the last three sizes up to this
one, ``memory_exponent`` the same of the memory. ``closed_form`` is one fit of the closed-form score with its choice of
the ridge, and its values at all particles; ``step`` that with one drift. Rows that are in the table are kept;
``--anew`` measures all again.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import Any

import torch
from matplotlib.figure import Figure
from measure import (
    Row,
    Table,
    announce,
    command_line,
    draw,
    folder,
    in_child,
    memory_growth,
    particles,
    seconds_of,
)

from graphlandau.cli.study import growth_exponent
from graphlandau.nn import ClosedFormScore, LandauDrift
from graphlandau.nn.pairs import expected_calls
from graphlandau.plotting.style import PALETTE, legend

SIZES = [10_000, 30_000, 100_000, 300_000, 1_000_000]
MESH_SIZES = SIZES[2:]  # the noise of fewer needs a finer mesh than they are worth
# What is measured: backend, dimensions, gamma, the numbers of particles, the line's name.
CASES: dict[str, tuple[str, int, float, list[int], str]] = {
    "mesh_coulomb_3d": ("mesh", 3, -3.0, MESH_SIZES, "mesh, Coulomb 3D"),
    "mesh_coulomb_2d": ("mesh", 2, -3.0, MESH_SIZES, "mesh, Coulomb 2D"),
    "dense_coulomb_3d": ("dense", 3, -3.0, [1_000, 3_000, 10_000, 30_000], "dense, Coulomb 3D"),
    "moments_3d": ("moments", 3, 0.0, [*SIZES, 4_000_000], "moments, Maxwell 3D"),
    "closed_form_2d": ("closed_form", 2, 0.0, SIZES, "closed-form score, 2D"),
    "closed_form_3d": ("closed_form", 3, 0.0, SIZES, "closed-form score, 3D"),
    "step_maxwell_2d": ("step", 2, 0.0, SIZES, "a step: score and moments, 2D"),
    "step_coulomb_2d": ("step", 2, -3.0, MESH_SIZES, "a step: score and mesh, 2D"),
}
QUICK_SIZES = [500, 1_000, 2_000]
LOOKS = dict(zip(CASES, zip((*PALETTE, "0.2", "0.55"), "os^vDPXh", strict=True), strict=True))


def job(kind: str, d: int, gamma: float, n: int, repeats: int, tolerance: float) -> Row:
    """Seconds and memory of one case, in this process."""
    small, (v, s) = particles(3_000, d), particles(n, d)
    call, spent = evaluation(kind, d, gamma, tolerance), []
    with expected_calls(10**9):
        # At the tolerance of many particles the mesh of few would be finer, and would hide what is asked for.
        evaluation(kind, d, gamma, max(tolerance, 0.1))(*small)
        # Memory first: what was freed before and not given back would hide it.
        memory = memory_growth(lambda: spent.append(seconds_of(lambda: call(v, s))))
        # One call more is enough where it takes long.
        seconds = min(seconds_of(lambda: call(v, s)) for _ in range(repeats if spent[0] < 20 else 1))
    return {"seconds": seconds, "memory_MiB": memory}


def evaluation(kind: str, d: int, gamma: float, tolerance: float) -> Callable[[torch.Tensor, torch.Tensor], Any]:
    """A function of velocities and scores, to be timed."""
    backend = "auto" if kind == "step" else "moments" if gamma == 0 else kind
    drift = LandauDrift(gamma, backend=backend, tolerance=tolerance)
    if kind not in ("closed_form", "step"):
        return drift

    def fit(v: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
        score = ClosedFormScore(d)
        score.solve(v)
        return score(v) if kind == "closed_form" else drift(v, score(v))

    return fit


def with_exponents(rows: list[Row]) -> list[Row]:
    """Rows with the slopes of their last three sizes."""
    found = []
    for row in rows:
        below = [r for r in rows if r["case"] == row["case"] and r["N"] <= row["N"] and r.get("seconds")]
        slopes: Row = {}
        if len(below) >= 3 and row.get("seconds"):
            slopes["exponent"] = growth_exponent({r["N"]: r["seconds"] for r in sorted(below, key=lambda r: r["N"])})
            held = {r["N"]: r["memory_MiB"] for r in sorted(below, key=lambda r: r["N"])}
            if all(held.values()):
                slopes["memory_exponent"] = growth_exponent(held)
        found.append(row | slopes)
    return found


def figure(rows: list[Row]) -> Figure:
    """Seconds and memory against N, each line with its exponent at the large end."""
    fig = Figure(figsize=(12, 5.2), layout="constrained")
    for ax, quantity, slope, label in zip(
        fig.subplots(1, 2),
        ("seconds", "memory_MiB"),
        ("exponent", "memory_exponent"),
        ("seconds", "MiB beyond the particles"),
        strict=True,
    ):
        for case, (colour, marker) in LOOKS.items():
            own = sorted(
                ((r["N"], r[quantity], r.get(slope)) for r in rows if r["case"] == case and r.get(quantity)),
            )
            if not own:
                continue
            power = next((e for _, _, e in reversed(own) if e is not None), None)
            name = CASES[case][4] + ("" if power is None else f": $N^{{{power:.2f}}}$")
            ax.loglog([n for n, _, _ in own], [y for _, y, _ in own], color=colour, marker=marker, label=name)
        ax.set_xlabel("particles $N$")
        ax.set_ylabel(label)
        legend(ax, fontsize=8)
    fig.suptitle("Growth with the number of particles, float32", x=0.01, ha="left")
    return fig


def main() -> None:
    parser = command_line(__doc__, "growth")
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=CASES)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--tolerance", type=float, help="of the mesh (default 1e-3, 3e-2 if quick)")
    parser.add_argument("--anew", action="store_true", help="measure again what is in the table")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.job:
        print(json.dumps(job(**json.loads(options.job))))
        return
    announce()
    tolerance = options.tolerance or (3e-2 if options.quick else 1e-3)
    path = folder(options) / "growth.csv"
    table = Table(path, ("case", "N"), anew=options.anew)
    for case in options.cases:
        kind, d, gamma, sizes, _ = CASES[case]
        for n in QUICK_SIZES if options.quick else sizes:
            if table.find(case=case, N=n):
                continue
            asked = {"kind": kind, "d": d, "gamma": gamma, "n": n, "repeats": options.repeats}
            found = in_child(__file__, asked | {"tolerance": tolerance})
            table.add({"case": case, "N": n, "d": d, "gamma": gamma, **found})
    table.rows = with_exponents(table.rows)
    table.write()
    table.print()
    draw(path.with_suffix(".png"), lambda: figure(table.rows))


if __name__ == "__main__":
    main()
