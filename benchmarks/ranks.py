"""Two processes against two threads: time of the exact drift, all pairs, on the same cores.

    python benchmarks/ranks.py            # results/ranks.csv, some 3 minutes on 2 idle cores
    python benchmarks/ranks.py --quick    # a quick look

``ranks`` processes of one thread each share the sum, against one process with as many threads; they take turns, a
drift each, so that what disturbs the machine disturbs both. Seconds are medians of repeats after one warm-up, which
compiles. A drift of several processes ends when all have the rows of all. ``ratio`` is the seconds of one process over
those of several: above 1 several are faster. Times of several processes need idle cores.
"""

from __future__ import annotations

import json
import os
import socket
import statistics
import subprocess
import sys
import time
from typing import Any, TextIO

import torch
from measure import Row, Table, announce, command_line, folder, particles, seconds_of

from graphlandau.base import distributed
from graphlandau.nn import LandauDrift
from graphlandau.nn.pairs import expected_calls

CASES = ((10_000, "float32"), (30_000, "float32"), (30_000, "float64"))
QUICK = ((3_000, "float32"),)


def serve(n: int, dtype: str) -> None:
    """In a child: a drift for every line of standard input, and its seconds as a line of standard output."""
    distributed.start()
    v, s = particles(n, 3, getattr(torch, dtype))
    drift = LandauDrift(-3.0, 1.0, backend="dense")
    with torch.no_grad(), expected_calls(1_000_000):
        while sys.stdin.readline():
            print(seconds_of(lambda: drift(v, s)), flush=True)
    distributed.stop()


class Group:
    """Processes that compute one drift together whenever they are asked."""

    def __init__(self, n: int, dtype: str, ranks: int, threads: int) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        shared = {"WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        command = [sys.executable, "-W", "ignore", __file__, "--job", json.dumps([n, dtype])]
        self.processes = [
            subprocess.Popen(
                command,
                env=os.environ | shared | {"RANK": str(rank), "OMP_NUM_THREADS": str(threads)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for rank in range(ranks)
        ]

    def seconds(self) -> float:
        """Seconds of one drift: of the process that takes longest."""
        for process in self.processes:
            print(file=_open(process.stdin), flush=True)
        return max(float(_open(process.stdout).readline()) for process in self.processes)

    def end(self) -> None:
        """Let the processes finish."""
        for process in self.processes:
            _open(process.stdin).close()
        for process in self.processes:
            process.wait()


def _open(pipe: TextIO | None) -> Any:
    assert pipe is not None
    return pipe


def measure(n: int, dtype: str, ranks: int, repeats: int) -> Row:
    """Seconds of both, taking turns."""
    groups = {"one": Group(n, dtype, 1, ranks), "several": Group(n, dtype, ranks, 1)}
    first = {name: group.seconds() for name, group in groups.items()}
    times: dict[str, list[float]] = {name: [] for name in groups}
    for _ in range(repeats):
        for name, group in groups.items():
            times[name].append(group.seconds())
            time.sleep(0.05)  # a thread that waits for work spins for a while
    for group in groups.values():
        group.end()
    one, several = (statistics.median(times[name]) for name in groups)
    return {
        "particles": n,
        "dtype": dtype,
        "gamma": -3,
        "d": 3,
        "ranks": ranks,
        "one_process_s": one,
        "several_s": several,
        "ratio": statistics.median(a / b for a, b in zip(times["one"], times["several"], strict=True)),
        "pairs_per_s": n * n / several,
        "one_process_first_s": first["one"],
        "several_first_s": first["several"],
    }


def main() -> None:
    """Measure every case; rows are written as they come."""
    parser = command_line(__doc__, "ranks")
    parser.add_argument("--ranks", type=int, default=2, help="number of processes, and of the threads of the one")
    parser.add_argument("--repeats", type=int, default=11)
    parser.add_argument("--job", help="internal: the sum that this process shares")
    options = parser.parse_args()
    if options.job:
        serve(*json.loads(options.job))
        return
    announce()
    table = Table(folder(options) / "ranks.csv", ("particles", "dtype", "ranks"), anew=True)
    for n, dtype in QUICK if options.quick else CASES:
        table.add(measure(n, dtype, options.ranks, options.repeats))
    table.print()


if __name__ == "__main__":
    main()
