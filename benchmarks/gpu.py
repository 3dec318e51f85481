"""Every backend of the Landau drift on a GPU, beside the ceilings of that GPU measured in the same run.

    python benchmarks/gpu.py                         # results/gpu.csv and .png, less than 8 minutes on one GPU
    python benchmarks/gpu.py --device cpu --quick    # the whole script, small, where there is no GPU

Arithmetic ceilings are a large matrix product (float32, tf32, bf16) and a compiled kernel of independent chains of
multiply-adds, which is what a sum over pairs can reach; the bandwidth ceiling is a copy. ``fraction`` is the share of
the multiply-adds for ``dense`` and ``keops``, whose operations are counted by the formula, and of the copy for
``moments`` and ``mesh``, for which only the least traffic is counted (particles read twice, drifts written once).
``precision`` is that of matrix products, float32 otherwise: ``tf32`` and ``bf16`` change only backends that have some;
they are marked as allowed where the error is below the tolerance. Errors as in drift.py. At the end it says what
``backend="auto"`` should take at each N, and what it does take.

A call that is expected to outlast the time that is left (``--seconds``) is left out, and the table says so.
"""

from __future__ import annotations

import contextlib
import functools
import operator
import sys
import time
from collections.abc import Callable, Iterator

import torch
from matplotlib.figure import Figure
from measure import (
    Reference,
    Row,
    Table,
    announce,
    command_line,
    draw,
    folder,
    machine,
    particles,
    seconds_of,
    take_turns,
)

from graphlandau.nn import LandauDrift
from graphlandau.nn.pairs import compile_available, expected_calls, keops_available
from graphlandau.nn.pairs.compiled import FUSE_EVERYTHING
from graphlandau.plotting.style import PALETTE, legend

SIZES = (10_000, 100_000, 1_000_000)
LARGEST = 4_000_000  # dense and moments only, one call
CASES = ((3, -3.0), (2, -3.0), (3, 0.0))
PRECISIONS = ("float32", "tf32", "bf16")
LOOKS = dict(zip(("dense", "keops", "moments", "mesh"), zip(PALETTE, "ovDP", strict=False), strict=True))
CHAINS, LINKS = 8, 16


@contextlib.contextmanager
def precision(name: str, device: torch.device) -> Iterator[None]:
    """Matrix products in tf32 or bf16 inside."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if name == "tf32" else "highest")
    try:
        with torch.autocast(device.type, torch.bfloat16, enabled=name == "bf16"):
            yield
    finally:
        torch.set_float32_matmul_precision(before)


def operations(d: int, gamma: float) -> int:
    """Floating-point operations of one pair of the drift, by the formula: a root or a comparison is one."""
    differences, products, softening = 2 * d, 2 * (2 * d - 1), 3
    power = 1 if gamma == 0 else 1 + abs(int(gamma)) - 1 + 1
    return differences + products + softening * (gamma != 0) + power + 2 + 3 * d + 2 * d + d


def least_bytes(n: int, d: int) -> int:
    """Velocities and scores read twice, drifts written once, in float32."""
    return 5 * n * d * 4


def multiply_adds(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """A sum over pairs that is nothing but independent chains of multiply-adds, two operations a link."""
    difference = x[:, None] - y[None, :]
    chains = [difference * (1 + 0.1 * k) for k in range(CHAINS)]
    for _ in range(LINKS):
        chains = [c * 0.999 + 0.001 for c in chains]
    return functools.reduce(operator.add, chains).sum(1)


def best_of(call: Callable[[], object]) -> float:
    """The least seconds of seven calls after one: a ceiling is what was reached at best."""
    seconds_of(call)
    return min(seconds_of(call) for _ in range(7))


def ceilings(device: torch.device, quick: bool) -> dict[str, float]:
    """Operations per second of matrix products and of multiply-adds, bytes per second of a copy."""
    size = 512 if quick else 8192
    a = torch.randn(size, size, device=device)
    found = {}
    for name in PRECISIONS:

        def product(name: str = name) -> torch.Tensor:
            with precision(name, device):
                return a @ a

        found[f"matmul {name}"] = 2 * size**3 / best_of(product)
    if compile_available()[0]:
        x = torch.rand(2**11 if quick else 2**15, device=device)
        compiled = torch.compile(multiply_adds, options=FUSE_EVERYTHING)
        found["multiply-adds"] = 2 * CHAINS * LINKS * x.numel() ** 2 / best_of(lambda: compiled(x, x))
    y = torch.rand(2**20 if quick else 2**28, device=device)
    target = torch.empty_like(y)
    found["copy"] = 2 * y.numel() * y.element_size() / best_of(lambda: target.copy_(y))
    return found


def backends(gamma: float) -> list[str]:
    """Backends for this kernel."""
    exact = ["dense", *(["keops"] if keops_available()[0] else [])]
    return [*exact, "moments"] if gamma == 0 else [*exact, "mesh"]


class Bench:
    """Rows of the table of one device.

    Args:
        table: Where rows go.
        device: Where it is measured.
        peaks: Its ceilings.
        deadline: Time of the clock after which nothing more is begun.
        tolerance: Of the mesh, and of precisions.
    """

    def __init__(
        self, table: Table, device: torch.device, peaks: dict[str, float], deadline: float, tolerance: float
    ) -> None:
        self.table, self.device, self.peaks = table, device, peaks
        self.deadline, self.tolerance = deadline, tolerance
        self.rate: dict[tuple[str, int, float], float] = {}

    def measure(self, n: int, d: int, gamma: float, asked: list[str], repeats: int) -> None:
        """Add a row for each backend and precision at these particles."""
        v, s = (x.to(self.device) for x in particles(n, d))
        names = {"N": n, "d": d, "gamma": gamma}
        calls: dict[str, Callable[[], torch.Tensor]] = {}
        for backend in asked:
            expected = n * n / self.rate.get((backend, d, gamma), float("inf"))
            left = self.deadline - time.monotonic()
            if (repeats + 1) * expected > left:
                reason = f"left out: a call would take {expected:.0f} s, and {left:.0f} s are left"
                self.table.add({"backend": backend, "precision": "float32", **names, "note": reason})
                continue
            layer = LandauDrift(gamma, backend=backend, tolerance=self.tolerance)
            for name in PRECISIONS if backend in ("moments", "mesh") else PRECISIONS[:1]:

                def call(layer: LandauDrift = layer, name: str = name) -> torch.Tensor:
                    with expected_calls(10**9), precision(name, self.device):
                        return layer(v, s)

                calls[f"{backend} {name}"] = call
        times, refusals = take_turns(calls, repeats)
        for which, reason in refusals.items():
            backend, name = which.split()
            self.table.add({"backend": backend, "precision": name, **names, "note": reason})
        if not times:
            return
        exact = Reference(v, s, gamma)
        auto = LandauDrift(gamma, tolerance=self.tolerance).chosen_backend(n, d)
        for which, (first, seconds) in times.items():
            backend, name = which.split()
            if backend in ("dense", "keops"):
                self.rate[backend, d, gamma] = n * n / seconds
            error, largest = exact.errors(calls[which]().float())
            row: Row = {"backend": backend, "precision": name, **names, "first_s": first, "seconds": seconds}
            row |= {"pairs_per_s": n * n / seconds, **self.share(backend, n, d, gamma, seconds)}
            row |= {"error": error, "largest_error": largest, "allowed": error <= self.tolerance}
            self.table.add({**row, "auto": backend == auto or None})

    def share(self, backend: str, n: int, d: int, gamma: float, seconds: float) -> Row:
        """Which ceiling bounds a backend, and the share of it that it reaches."""
        if backend in ("dense", "keops"):
            peak = self.peaks.get("multiply-adds")
            share = None if peak is None else n * n * operations(d, gamma) / seconds / peak
            return {"bound": "arithmetic", "fraction": share}
        return {"bound": "bandwidth", "fraction": least_bytes(n, d) / seconds / self.peaks["copy"]}


def recommendation(rows: list[Row], tolerance: float) -> list[str]:
    """A line for each kernel and N: the fastest backend of those within the tolerance, and what ``auto`` takes."""
    lines = []
    for d, gamma in CASES:
        for n in sorted({r["N"] for r in rows if r.get("N")}):
            here = [r for r in rows if (r.get("N"), r.get("d"), r.get("gamma")) == (n, d, gamma) and r.get("seconds")]
            here = [r for r in here if r["precision"] == "float32" and r["error"] <= tolerance]
            if not here:
                continue
            best = min(here, key=lambda r: r["seconds"])
            taken = next((r for r in here if r.get("auto")), None)
            text = f"{d}D, gamma = {gamma:g}, N = {n:,}: {best['backend']} ({best['seconds']:.3g} s)"
            if taken is None:
                text += "; what auto takes was not measured, or is not within the tolerance"
            elif taken is best:
                text += ", as auto does"
            else:
                ratio = taken["seconds"] / best["seconds"]
                text += f"; auto takes {taken['backend']}, {ratio:.1f} times slower"
            lines.append(text)
    return lines


def figure(rows: list[Row], where: str) -> Figure:
    """Seconds against N, a panel for each kernel, with the share of the ceiling at the last mark."""
    fig = Figure(figsize=(4.4 * len(CASES), 4.6), layout="constrained")
    for ax, (d, gamma) in zip(fig.subplots(1, len(CASES), squeeze=False, sharey=True)[0], CASES, strict=True):
        for backend, (colour, marker) in LOOKS.items():
            own = sorted(
                (r["N"], r["seconds"], r["fraction"] or 0.0)
                for r in rows
                if (r["backend"], r.get("precision"), r.get("d"), r.get("gamma")) == (backend, "float32", d, gamma)
                and r.get("seconds")
            )
            if own:
                x, y, share = own[-1]
                ax.loglog([n for n, _, _ in own], [t for _, t, _ in own], color=colour, marker=marker, label=backend)
                ax.annotate(f"{100 * share:.0f} %", (x, y), (6, -3), textcoords="offset points", color=colour)
        ax.set_title(rf"{d}D, $\gamma = {gamma:g}$")
        ax.set_xlabel("particles $N$")
        legend(ax)
    fig.axes[0].set_ylabel("seconds of one drift")
    fig.suptitle(f"Backends on {where}: seconds, and the share of the ceiling", x=0.01, ha="left")
    return fig


def main() -> None:
    parser = command_line(__doc__, "gpu")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--seconds", type=float, default=400.0, help="begin nothing that would end later")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print("error: this machine has no CUDA device (try --device cpu --quick)", file=sys.stderr)
        raise SystemExit(2)
    deadline = time.monotonic() + options.seconds
    tolerance = 3e-2 if options.quick else 1e-3

    announce(device)
    path = folder(options) / ("gpu.csv" if device.type == "cuda" else "gpu_on_cpu.csv")
    table = Table(path, ("backend", "precision", "N", "d", "gamma"), anew=True)
    peaks = ceilings(device, options.quick)
    for name, value in peaks.items():
        unit = "GB/s" if name == "copy" else "GFLOP/s"
        table.add({"backend": f"ceiling: {name}", "note": f"{value / 1e9:.4g} {unit}"})
    bench = Bench(table, device, peaks, deadline, tolerance)
    for n in (500, 1_000) if options.quick else SIZES:
        for d, gamma in CASES:
            # Two dimensions need a finer mesh than a trial of few particles can afford.
            if not (options.quick and d == 2):
                bench.measure(n, d, gamma, backends(gamma), options.repeats)
    if not options.quick:
        bench.measure(LARGEST, 3, 0.0, ["moments"], options.repeats)
        bench.measure(LARGEST, 3, -3.0, ["mesh", "dense"], 1)
    table.print()
    print("\nWhat auto should take:")
    for line in recommendation(table.rows, tolerance):
        print(f"  {line}")
    draw(path.with_suffix(".png"), lambda: figure(table.rows, machine(device)))


if __name__ == "__main__":
    main()
