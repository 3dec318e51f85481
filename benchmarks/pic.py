"""Time of one particle-in-cell step: Deposit, Poisson, Gather and push, beside the same step in NumPy.

    OMP_NUM_THREADS=1 python benchmarks/pic.py              # the table in results/pic.csv
    python benchmarks/pic.py --sizes 100000 --repeats 3     # a quick look
    python benchmarks/pic.py --cases columns                # one of the three parts: steps, columns, memory

A step deposits, solves Poisson's equation, gathers, pushes (symplectic Euler) and wraps the positions. Times are
medians of repeats after one warm-up; the parts are timed inside the step and all codes take turns in one run, so that
ratios are fair. ``step_cpu_ms`` is the time of the processor in all threads, which other programs disturb
less. The NumPy step computes the same sums with bincount and fancy indexing, in float64; its field is that of the same
spectral solver written with numpy.fft, and ``error`` is how far the field is from it, relative to its maximum. Memory
is the growth of the peak of a fresh process in one deposit and gather.

The rows ``columns``: several columns deposited and gathered at order 3 with one stencil, for particles of a Gaussian in
a bounded box of 12 standard deviations, as a solver of the Landau equation on a mesh does. Sums run group by group
(``stencil_ms`` includes the time to find the groups) and, in turn with it, offset by offset; ``error`` is that of what
is gathered from what was deposited, relative to its maximum, against float64.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from graphlandau.fields import Grid, Poisson
from graphlandau.graphs import particle_cells
from graphlandau.nn import Deposit, Gather
from graphlandau.nn.pairs import stencil_sums

CELLS = {1: (128,), 2: (64, 64), 3: (32, 32, 32)}
LENGTH, DT = 4 * np.pi, 0.1
CASES = ("steps", "columns", "memory")
# Directions, cells in each, columns deposited, columns gathered.
COLUMNS = ((2, 128, 3, 5), (2, 256, 3, 5), (3, 64, 4, 9), (3, 96, 4, 9), (3, 96, 4, 27))
PARTS = ("stencil", "deposit", "poisson", "gather", "push")

State = tuple[np.ndarray, np.ndarray]
Clock = Callable[[str], None]


def stopwatch() -> tuple[dict[str, float], Clock]:
    """Seconds of each part of a step, and what is called at the end of each part."""
    spent, last = dict.fromkeys(PARTS, 0.0), time.perf_counter()

    def lap(part: str) -> None:
        nonlocal last
        now = time.perf_counter()
        spent[part] += now - last
        last = now

    return spent, lap


def particles(n: int, d: int) -> State:
    """A Maxwellian with a ripple in the density."""
    rng = np.random.default_rng(0)
    x = LENGTH * rng.random((n, d))
    return x + 0.05 * np.sin(4 * np.pi / LENGTH * x), rng.standard_normal((n, d))


def layers_step(d: int, order: int, dtype: torch.dtype, state: State) -> Callable[[Clock], np.ndarray]:
    """A step of the layers, which returns the field at the nodes."""
    grid = Grid((LENGTH,) * d, CELLS[d])
    deposit, poisson, gather = Deposit(grid, order), Poisson(grid), Gather(grid, order)
    x, v = (torch.from_numpy(a).to(dtype) for a in state)
    weight = torch.full((len(x),), grid.volume / len(x) / grid.cell_volume, dtype=dtype)

    def step(lap: Clock) -> np.ndarray:
        cells = deposit.stencil(x)
        lap("stencil")
        rho = deposit(x, weight, stencil=cells)
        lap("deposit")
        field = poisson(rho)
        lap("poisson")
        force = gather(x, field, stencil=cells)
        lap("gather")
        grid.wrap(x + DT * (v - DT * force))
        lap("push")
        return field.numpy()

    return step


def splines(z: np.ndarray, order: int) -> list[np.ndarray]:
    """B-splines at the nodes around ``z``, the distance from the middle one (even orders) or the one below (odd)."""
    u = 1 - z
    if order == 1:
        return [u, z]
    if order == 2:
        return [(0.5 - z) ** 2 / 2, 0.75 - z**2, (0.5 + z) ** 2 / 2]
    return [u**3 / 6, (4 - 6 * z**2 + 3 * z**3) / 6, (4 - 6 * u**2 + 3 * u**3) / 6, z**3 / 6]


def numpy_step(d: int, order: int, state: State) -> Callable[[Clock], np.ndarray]:
    """The same step with bincount."""
    shape = CELLS[d]
    spacing = [LENGTH / n for n in shape]
    wavenumbers = [2 * np.pi * np.fft.fftfreq(n, h) for n, h in zip(shape, spacing, strict=True)]
    k = np.stack(np.meshgrid(*wavenumbers, indexing="ij"))
    k2 = (k**2).sum(0)
    k2.flat[0] = np.inf
    for a, n in enumerate(shape):
        np.moveaxis(k[a], a, 0)[n // 2] = 0
    x, v = state
    weight = LENGTH**d / len(x) / np.prod(spacing)

    def step(lap: Clock) -> np.ndarray:
        index, value = [], []
        for a, (n, h) in enumerate(zip(shape, spacing, strict=True)):
            z = x[:, a] / h
            middle = np.floor(z if order % 2 else z + 0.5)
            first = middle.astype(np.int64) - order // 2
            index.append([(first + j) % n for j in range(order + 1)])
            value.append(splines(z - middle, order))
        lap("stencil")
        offsets = list(itertools.product(range(order + 1), repeat=d))

        def at(offset: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
            node, spread = index[0][offset[0]], value[0][offset[0]]
            for a in range(1, d):
                node, spread = node * shape[a] + index[a][offset[a]], spread * value[a][offset[a]]
            return node, spread

        rho = np.zeros(int(np.prod(shape)))
        for offset in offsets:
            node, spread = at(offset)
            rho += np.bincount(node, weight * spread, minlength=rho.size)
        lap("deposit")
        field = np.fft.ifftn(-1j * k / k2 * np.fft.fftn(rho.reshape(shape)), axes=tuple(range(1, d + 1))).real
        lap("poisson")
        flat, force = field.reshape(d, -1), np.zeros_like(x)
        for offset in offsets:
            node, spread = at(offset)
            for a in range(d):
                force[:, a] += spread * flat[a][node]
        lap("gather")
        np.mod(x + DT * (v - DT * force), LENGTH)
        lap("push")
        return np.moveaxis(field, 0, -1)

    return step


def take_turns(
    steps: dict[str, Callable[[Clock], np.ndarray]], exact: np.ndarray, n: int, d: int, order: int, repeats: int
) -> list[dict[str, object]]:
    """A row for each of the codes."""
    results = {name: step(lambda _: None) for name, step in steps.items()}
    times: dict[str, list[dict[str, float]]] = {name: [] for name in steps}
    processor: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(repeats):
        for name, step in steps.items():
            start = time.process_time()
            spent, lap = stopwatch()
            step(lap)
            processor[name].append(time.process_time() - start)
            times[name].append(spent)
    rows: list[dict[str, object]] = []
    for name, spent in times.items():
        parts = {f"{p}_ms": round(1e3 * statistics.median(s[p] for s in spent), 3) for p in PARTS}
        total = statistics.median(sum(s.values()) for s in spent)
        error = float(np.abs(results[name] - exact).max() / np.abs(exact).max())
        rows.append(
            {
                "code": name,
                "N": n,
                "d_x": d,
                "order": order,
                "step_ms": round(1e3 * total, 3),
                "step_cpu_ms": round(1e3 * statistics.median(processor[name]), 3),
                **parts,
                "cpu_ns_per_particle": round(1e9 * statistics.median(processor[name]) / n, 1),
                "error": f"{error:.1e}",
            }
        )
    return rows


def measure(n: int, d: int, order: int, repeats: int) -> list[dict[str, object]]:
    """A row for each code, whose steps take turns."""
    state = particles(n, d)
    steps = {
        "layers float32": layers_step(d, order, torch.float32, state),
        "layers float64": layers_step(d, order, torch.float64, state),
        "numpy float64": numpy_step(d, order, state),
    }
    return take_turns(steps, steps["numpy float64"](lambda _: None), n, d, order, repeats)


def columns_step(
    spread: Callable[..., torch.Tensor],
    collect: Callable[..., torch.Tensor],
    grid: Grid,
    pos: torch.Tensor,
    values: torch.Tensor,
    taken: int,
) -> Callable[[Clock], np.ndarray]:
    """Deposit, and gather ``taken`` columns of what was deposited, over and over."""

    def step(lap: Clock) -> np.ndarray:
        stencil = particle_cells(pos, grid, 3)
        if spread is stencil_sums.spread:
            _ = stencil.groups
        lap("stencil")
        nodes = spread(stencil, values)
        lap("deposit")
        out = collect(stencil, nodes[:, torch.arange(taken) % values.size(1)])
        lap("gather")
        return out.numpy()

    return step


def measure_columns(n: int, d: int, cells: int, given: int, taken: int, repeats: int) -> list[dict[str, object]]:
    """A row for each way to sum."""
    rng = np.random.default_rng(0)
    grid = Grid((12.0,) * d, cells, origin=-6.0, periodic=False)
    pos = torch.from_numpy(rng.standard_normal((n, d)).clip(-5.5, 5.5)).float()
    values = torch.from_numpy(rng.standard_normal((n, given))).float()
    by_offset = stencil_sums._spread_by_offset, stencil_sums._collect_by_offset
    name = f"columns {given} + {taken}, {cells}^{d} cells"
    steps = {
        f"{name}, group by group": columns_step(stencil_sums.spread, stencil_sums.collect, grid, pos, values, taken),
        f"{name}, offset by offset": columns_step(*by_offset, grid, pos, values, taken),
    }
    exact = columns_step(*by_offset, grid, pos.double(), values.double(), taken)(lambda _: None)
    return take_turns(steps, exact, n, d, 3, repeats)


def peak_memory(n: int, d: int, order: int, backend: str) -> float:
    """MiB that one float32 deposit and gather add to a fresh process beyond its imports and particles."""
    # VmHWM and not ru_maxrss: a child inherits the latter from the process that started it.
    code = f"""
import re, torch
from pathlib import Path
from graphlandau.fields import Grid, Poisson
from graphlandau.nn import Deposit, Gather
peak = lambda: int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
grid = Grid((1.0,) * {d}, {CELLS[d]})
x, one = torch.rand({n}, {d}), torch.ones({n})
poisson, deposit, gather = Poisson(grid), Deposit(grid, {order}, {backend!r}), Gather(grid, {order}, {backend!r})
poisson(deposit(x[:1], one[:1]))
before = peak()
gather(x, poisson(deposit(x, one)))
print((peak() - before) / 1024)
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--dimensions", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/pic.csv"))
    options = parser.parse_args()

    print(f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    rows: list[dict[str, object]] = []

    def add(new: list[dict[str, object]]) -> None:
        for row in new:
            rows.append(row)
            print("  ".join(f"{k}={x}" for k, x in row.items()), flush=True)

    n, dimensions = max(options.sizes), options.dimensions
    if "steps" in options.cases:
        for d, order, size in itertools.product(dimensions, (1, 2, 3), options.sizes):
            add(measure(size, d, order, options.repeats))
    if "columns" in options.cases:
        for d, cells, given, taken in COLUMNS:
            if d in dimensions:
                add(measure_columns(n, d, cells, given, taken, options.repeats))
    if "memory" in options.cases:
        for d, order, backend in itertools.product(dimensions, (1, 3), ("fused", "edges")):
            if backend == "fused" or n * (order + 1) ** d <= 10**7:
                memory = round(peak_memory(n, d, order, backend))
                add([{"code": f"memory, {backend}", "N": n, "d_x": d, "order": order, "memory_MiB": memory}])

    keys = list(dict.fromkeys(key for row in rows for key in row))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with options.out.open("w", newline="") as file:
        writer = csv.DictWriter(file, keys)
        writer.writeheader()
        writer.writerows(rows)
    print(f"written to {options.out}")


if __name__ == "__main__":
    main()
