"""Layers called in a bare Python loop: what the loop costs, beside compiled kernels and one compilation of each.

    python benchmarks/bare_loop.py [--quick]

A row for each layer and size, 3D, gamma = -3, float32, each in a process of its own with an empty compiler cache:
``loop`` is the time of all calls as a user makes them, ``compiling`` what the first call costs where everything is
compiled at once, ``compiled`` the time of all calls after it. ``ratio`` is loop / (compiling + compiled), of which at
most 1.5 is asked.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from measure import RESULTS

from graphlandau.base.tables import aligned, write_csv
from graphlandau.nn import BlobScore, JKOAction, LandauDrift
from graphlandau.nn.pairs import compile_mode

CASES = {5_000: 30, 20_000: 10}
QUICK = {500: 3}


def layers(n: int) -> dict[str, Callable[[], object]]:
    """A call of each layer, and of each with its gradient, for ``n`` particles."""
    generator = torch.Generator().manual_seed(0)
    v, s = torch.randn(2, n, 3, generator=generator)
    jac = torch.randn(n, 3, 3, generator=generator)
    drift, blob, action = LandauDrift(gamma=-3.0), BlobScore(bandwidth=0.3), JKOAction(gamma=-3.0)

    def gradient(function: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[], object]:
        def call() -> object:
            x = v.clone().requires_grad_()
            return torch.autograd.grad(function(x).square().sum(), x)

        return call

    return {
        "drift": lambda: drift(v, s),
        "blob": lambda: blob(v),
        "action": lambda: action(v, s, jac),
        "drift, gradient": gradient(lambda x: drift(x, s)),
        "blob, gradient": gradient(blob),
    }


def seconds(call: Callable[[], object], calls: int) -> float:
    """Time of so many calls."""
    start = time.perf_counter()
    for _ in range(calls):
        call()
    return time.perf_counter() - start


def measure(name: str, n: int, calls: int, how: str) -> dict[str, float]:
    """The times of one case, in this process."""
    call = layers(n)[name]
    if how == "loop":
        return {"loop": seconds(call, calls)}
    with compile_mode("always"):
        first = seconds(call, 1)
        rest = seconds(call, calls)
    return {"compiling": first - rest / calls, "compiled": rest}


def in_child(*arguments: object) -> dict[str, float]:
    """The same in a process of its own, in which nothing has been compiled yet."""
    with tempfile.TemporaryDirectory() as cache:
        environment = os.environ | {"TORCHINDUCTOR_CACHE_DIR": cache}
        command = [sys.executable, "-W", "ignore", __file__, "--job", json.dumps(arguments)]
        out = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    return json.loads(out.splitlines()[-1])


def main() -> None:
    """Measure every case, print and keep the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few particles, to see that it runs")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.job:
        print(json.dumps(measure(*json.loads(options.job))))
        return
    rows = []
    for n, calls in (QUICK if options.quick else CASES).items():
        for name in layers(2):
            row = {"layer": name, "n": n, "calls": calls}
            for how in ("loop", "compiled"):
                row |= in_child(name, n, calls, how)
            row["ratio"] = row["loop"] / (row["compiling"] + row["compiled"])
            rows.append({key: round(x, 3) if isinstance(x, float) else x for key, x in row.items()})
            print(aligned(rows[-1:]), flush=True)
    if not options.quick:
        write_csv(Path(RESULTS) / "bare_loop.csv", rows)


if __name__ == "__main__":
    main()
