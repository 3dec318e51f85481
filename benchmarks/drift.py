"""Speed, error and memory of every backend of the Landau drift.

    python benchmarks/drift.py            # results/drift.csv and .png, some 15 minutes on 2 cores
    python benchmarks/drift.py --quick    # a quick look
    python benchmarks/drift.py --sizes 1000000 --backends mesh moments

Seconds are medians of repeats after one warm-up (``first_s``, which compiles); backends take turns inside one run, so
that ratios are fair. ``pairs_per_s`` is N^2 / seconds for all of them, also for those that visit no pairs. Errors are
against the direct sum in float64 on 2,000 random targets: ``error`` relative in the root mean square, ``largest_error``
that of the worst target relative to the summed magnitude of its terms. ``auto`` marks what ``backend="auto"`` takes.
Memory is what one call adds at its peak to a fresh process that has imported, compiled and drawn its particles. Rows
that are in the table are kept; ``--anew`` measures all again.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator
from measure import (
    TARGETS,
    Reference,
    Row,
    Table,
    announce,
    command_line,
    draw,
    folder,
    in_child,
    memory_growth,
    particles,
    take_turns,
)

from graphlandau.nn import LandauDrift
from graphlandau.nn.pairs import expected_calls, keops_available
from graphlandau.plotting.style import PALETTE

SLOWEST = 30.0  # seconds a single call may be expected to take; larger rows are left out
# Pairs per second of a slow machine, for that; the others are linear in N.
EXPECTED_PAIRS = {"dense": 1e9, "dense (eager)": 5e7, "keops": 3e7}
BACKENDS = ("dense", "dense (eager)", "keops", "edges", "moments", "mesh")
COMPILED = ("dense", "keops")
MAX_EDGES = 5_000  # particles: their square is stored
SMALLEST_MEMORY = 10_000  # particles: below, memory is that of the code
SIZES = (1_000, 10_000, 100_000, 1_000_000)
CASES = (
    (3, -3.0, "float32"),
    (3, -3.0, "float64"),
    (3, -2.0, "float32"),
    (3, -1.0, "float32"),
    (3, 0.0, "float32"),
    (2, -3.0, "float32"),
    (2, -3.0, "float64"),
    (2, 0.0, "float32"),
)
LOOKS = dict(zip(BACKENDS, zip(PALETTE, "os^vDP", strict=True), strict=True))


def serves(backend: str, n: int, gamma: float) -> bool:
    """Whether a backend can be asked for this sum, in the time and memory of a benchmark."""
    if backend == "moments":
        return gamma == 0
    if backend == "mesh":
        return -3 <= gamma < 0
    if backend == "edges":
        return n <= MAX_EDGES
    works = backend != "keops" or keops_available()[0]
    return works and n * n / EXPECTED_PAIRS[backend] <= SLOWEST


def calls(
    backends: list[str], v: torch.Tensor, s: torch.Tensor, gamma: float, tolerance: float
) -> dict[str, Callable[[], torch.Tensor]]:
    """A drift by each backend; eager tiles only where asked for, compiled ones however few the pairs."""

    def call(backend: str) -> Callable[[], torch.Tensor]:
        layer = LandauDrift(gamma, backend=backend.split()[0], tolerance=tolerance)

        def evaluate() -> torch.Tensor:
            with expected_calls(1 if "eager" in backend else 10**9):
                return layer(v, s)

        return evaluate

    return {backend: call(backend) for backend in backends}


def memory(backend: str, n: int, d: int, gamma: float, dtype: str, tolerance: float) -> Row:
    """MiB that one drift adds to this process, which compiles before."""
    kind = getattr(torch, dtype)
    calls([backend], *particles(300, d, kind), gamma, tolerance)[backend]()
    return {"memory_MiB": memory_growth(calls([backend], *particles(n, d, kind), gamma, tolerance)[backend])}


def measure(
    table: Table, case: tuple[int, float, str], n: int, backends: Sequence[str], repeats: int, tolerance: float
) -> None:
    """Add the rows of one set of particles that are not in the table."""
    d, gamma, dtype = case
    names = {"N": n, "d": d, "gamma": gamma, "dtype": dtype}
    wanted = [b for b in backends if serves(b, n, gamma) and not table.find(backend=b, **names)]
    if not wanted:
        return
    v, s = particles(n, d, getattr(torch, dtype))
    chosen = calls(wanted, v, s, gamma, tolerance)
    times, refusals = take_turns(chosen, repeats if n < 100_000 else min(repeats, 3))
    for backend, reason in refusals.items():
        table.add({"backend": backend, **names, "refused": reason})
    exact = Reference(v, s, gamma)
    given = {"tolerance": tolerance}
    auto = LandauDrift(gamma, tolerance=tolerance).chosen_backend(n, d)
    for backend, (first, median) in times.items():
        error, largest = exact.errors(chosen[backend]())
        row: Row = {"backend": backend, **names, "first_s": first, "median_s": median, "pairs_per_s": n * n / median}
        row |= {"error": error, "largest_error": largest}
        if n >= SMALLEST_MEMORY:
            row |= in_child(__file__, {"backend": backend, "n": n, "d": d, "gamma": gamma, "dtype": dtype, **given})
        row["auto"] = backend == auto or None
        table.add(row)


def figure(rows: list[Row]) -> Figure:
    """Seconds against N in float32, a panel for each kernel; filled marks are what ``auto`` takes."""
    panels = [(d, gamma) for d, gamma, dtype in CASES if dtype == "float32"]
    panels = [p for p in panels if any((r["d"], r["gamma"], r["dtype"]) == (*p, "float32") for r in rows)]
    columns = min(3, len(panels))
    lines = -(-len(panels) // columns)
    fig = Figure(figsize=(4.2 * columns, 3.6 * lines + 0.6), layout="constrained")
    axes = list(fig.subplots(lines, columns, squeeze=False, sharex=True, sharey=True).flat)
    for ax, (d, gamma) in zip(axes, panels, strict=False):
        here = [r for r in rows if (r["d"], r["gamma"], r["dtype"]) == (d, gamma, "float32")]
        for backend, (colour, marker) in LOOKS.items():
            own = sorted((r["N"], r["median_s"], r["auto"]) for r in here if r["backend"] == backend)
            if not own:
                continue
            ax.loglog([x for x, _, _ in own], [y for _, y, _ in own], color=colour, label=backend)
            for x, y, filled in own:
                ax.plot(x, y, marker, color=colour, markerfacecolor=colour if filled else "white")
        ax.set_title(rf"{d}D, $\gamma = {gamma:g}$")
        ax.xaxis.set_major_locator(LogLocator())
    for ax in axes[len(panels) :]:
        ax.set_axis_off()
    for ax in axes[: len(panels)][-columns:]:
        ax.set_xlabel("particles $N$")
    for ax in axes[::columns]:
        ax.set_ylabel("seconds of one drift")
    handles = {h.get_label(): h for ax in axes for h in ax.get_lines() if not str(h.get_label()).startswith("_")}
    fig.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=len(handles))
    fig.suptitle("One drift of all particles, float32 (filled: what auto takes)", x=0.01, ha="left")
    return fig


def main() -> None:
    parser = command_line(__doc__, "drift")
    parser.add_argument("--sizes", type=int, nargs="+", help=f"numbers of particles (default {SIZES})")
    parser.add_argument(
        "--backends", nargs="+", choices=BACKENDS, help="default: all; those without a compiler if quick"
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--tolerance", type=float, help="of the mesh (default 1e-3, 1e-2 if quick)")
    parser.add_argument("--anew", action="store_true", help="measure again what is in the table")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.job:
        print(json.dumps(memory(**json.loads(options.job))))
        return
    sizes = options.sizes or ((500, 2_000) if options.quick else SIZES)
    cases = CASES[:1] + CASES[4:5] if options.quick else CASES
    backends = options.backends or ([b for b in BACKENDS if b not in COMPILED] if options.quick else list(BACKENDS))
    options.tolerance = options.tolerance or (1e-2 if options.quick else 1e-3)
    path: Path = folder(options) / "drift.csv"

    announce()
    table = Table(path, ("backend", "N", "d", "gamma", "dtype"), anew=options.anew)
    for case in cases:
        for n in sizes:
            measure(table, case, n, backends, options.repeats, options.tolerance)
    table.print()
    print(f"errors: {TARGETS} targets at most; mesh with tolerance {options.tolerance:g}")
    draw(path.with_suffix(".png"), lambda: figure(table.rows))


if __name__ == "__main__":
    main()
