"""Speed, error and memory of every backend of the Landau drift.

    python benchmarks/drift.py                     # the table of the README, some 6 minutes on 2 cores
    python benchmarks/drift.py --sizes 1000 5000   # a quick look

Times are medians of repeats after one warm-up (which compiles); the error is measured on 200 targets against the
direct sum in float64, relative to the summed magnitude of the terms. Memory is the growth of the peak of a fresh
process over its size after the imports. Backends take turns inside one run, so that ratios are fair.
"""

from __future__ import annotations

import argparse
import csv
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch

from graphlandau.kernels import LandauKernel
from graphlandau.nn import LandauDrift
from graphlandau.nn.reduce import expected_calls, keops_available

SLOWEST = 60.0  # seconds a single call may be expected to take; larger rows are left out and say so
EXPECTED_PAIRS = {
    "dense": 1e9,
    "dense (eager)": 5e7,
    "keops": 3e7,
    "edges": 2e6,
    "moments": 1e30,
    "auto": 1e9,
}


def particles(n: int, d: int, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """Anisotropic Gaussian particles, their exact score, slightly disturbed."""
    generator = torch.Generator().manual_seed(0)
    scale = torch.linspace(0.5, 1.5, d, dtype=torch.float64).sqrt()
    v = scale * torch.randn(n, d, generator=generator, dtype=torch.float64)
    s = -v / scale**2 + 0.1 * torch.randn(n, d, generator=generator, dtype=torch.float64)
    return v.to(dtype), s.to(dtype)


def relative_error(drift: torch.Tensor, v: torch.Tensor, s: torch.Tensor, gamma: float) -> float:
    """Largest error over 200 targets against the direct float64 sum, relative to the summed magnitude of its terms."""
    targets = torch.arange(0, v.size(0), max(1, v.size(0) // 200))
    kernel, v, s, worst = LandauKernel(gamma), v.double(), s.double(), 0.0
    for i in targets.tolist():
        terms = kernel(v[i] - v, s[i] - s) / v.size(0)
        error = (drift[i].double() + terms.sum(0)).norm() / terms.norm(dim=1).sum()
        worst = max(worst, float(error))
    return worst


def measure(backend: str, n: int, d: int, gamma: float, dtype: torch.dtype, repeats: int) -> dict[str, object]:
    v, s = particles(n, d, dtype)
    layer = LandauDrift(gamma, backend=backend.split()[0])
    with expected_calls(1 if backend == "dense (eager)" else 10**9):
        start = time.perf_counter()
        drift = layer(v, s)
        first = time.perf_counter() - start
        seconds = []
        for _ in range(repeats):
            start = time.perf_counter()
            layer(v, s)
            seconds.append(time.perf_counter() - start)
    median = statistics.median(seconds)
    return {
        "backend": backend,
        "N": n,
        "d": d,
        "gamma": gamma,
        "dtype": str(dtype).removeprefix("torch."),
        "first_s": round(first, 3),
        "median_s": round(median, 5),
        "pairs_per_s": f"{n * n / median:.3g}",
        "error": f"{relative_error(drift, v, s, gamma):.1e}",
    }


def peak_memory(n: int, backend: str, gamma: float) -> float:
    """MiB that one float32 drift in 3D adds to a fresh process beyond its imports."""
    # VmHWM and not ru_maxrss: a child inherits the latter from the process that started it.
    code = f"""
import re, torch
from pathlib import Path
from graphlandau.nn import LandauDrift
peak = lambda: int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
before = peak()
v = torch.randn({n}, 3)
LandauDrift({gamma}, backend={backend!r})(v, -v)
print((peak() - before) / 1024)
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 5000, 20000, 100000])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/drift_cpu.csv"))
    options = parser.parse_args()

    cases = [
        (3, -3.0, torch.float32),
        (3, -3.0, torch.float64),
        (2, 0.0, torch.float32),
        (3, 0.0, torch.float32),
    ]
    rows: list[dict[str, object]] = []
    print(f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    for d, gamma, dtype in cases:
        backends = ["auto", "dense", "dense (eager)", "edges", *(["moments"] if gamma == 0 else [])]
        if keops_available()[0]:
            backends.append("keops")
        sizes = options.sizes + ([1_000_000] if gamma == 0 and d == 3 else [])
        for n in sizes:
            for backend in backends:
                rate = 1e30 if backend == "auto" and gamma == 0 else EXPECTED_PAIRS[backend]
                if n * n / rate > SLOWEST or (backend == "edges" and n > 5000):
                    continue
                row = measure(backend, n, d, gamma, dtype, options.repeats if n <= 20000 else 3)
                rows.append(row)
                print("  ".join(f"{k}={x}" for k, x in row.items()), flush=True)
    for n, backend, gamma in ((100_000, "dense", -3.0), (1_000_000, "moments", 0.0)):
        memory = peak_memory(n, backend, gamma)
        rows.append(
            {
                "backend": backend,
                "N": n,
                "d": 3,
                "gamma": gamma,
                "dtype": "float32",
                "memory_MiB": round(memory),
            }
        )
        print(f"memory: {backend} N={n} gamma={gamma}: {memory:.0f} MiB beyond the imports", flush=True)

    keys = [
        "backend",
        "N",
        "d",
        "gamma",
        "dtype",
        "first_s",
        "median_s",
        "pairs_per_s",
        "error",
        "memory_MiB",
    ]
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with options.out.open("w", newline="") as file:
        writer = csv.DictWriter(file, keys)
        writer.writeheader()
        writer.writerows(rows)
    print(f"written to {options.out}")


if __name__ == "__main__":
    main()
