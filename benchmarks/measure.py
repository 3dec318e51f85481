"""What the benchmarks share: clocks, memory and jobs of fresh processes, tables that go on where they stopped."""

from __future__ import annotations

import argparse
import contextlib
import csv
import ctypes
import gc
import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import torch
from matplotlib.figure import Figure

from graphlandau.base.tables import aligned, write_csv
from graphlandau.base.vectors import dot, join
from graphlandau.graphs.partition import Partition
from graphlandau.nn.pairs import dense_pair_sum
from graphlandau.physics.landau_kernel import LandauKernel
from graphlandau.plotting.style import STYLE, save

RESULTS = Path(__file__).resolve().parent / "results"
TARGETS = 2000

Row = dict[str, Any]


def command_line(doc: str | None, name: str) -> argparse.ArgumentParser:
    """Options that every benchmark has; ``name`` is that of its table."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it runs")
    parser.add_argument("--out", type=Path, help=f"folder of {name}.csv and {name}.png (default: results, beside this)")
    return parser


def folder(options: argparse.Namespace) -> Path:
    """Where results go: small ones never over the measured ones."""
    return options.out or (Path("runs") / "benchmarks" if options.quick else RESULTS)


def machine(device: str | torch.device = "cpu") -> str:
    """What was measured on, in a few words."""
    if torch.device(device).type == "cuda":
        where = torch.cuda.get_device_name(device)
    else:
        try:
            found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
        except OSError:
            found = None
        threads = torch.get_num_threads()
        where = f"{found[1] if found else 'CPU'}, {threads} thread{'s' * (threads > 1)}"
    return f"{where}, torch {torch.__version__.split('+')[0]}"


def announce(device: str | torch.device = "cpu") -> None:
    """Print the machine, and how busy it is with other work."""
    print(f"{machine(device)}; load {os.getloadavg()[0]:.1f}", flush=True)


# Clocks


def seconds_of(call: Callable[[], Any]) -> float:
    """Seconds of one call; a GPU is waited for."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    began = time.perf_counter()
    call()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - began


def take_turns(
    calls: Mapping[str, Callable[[], Any]], repeats: int
) -> tuple[dict[str, tuple[float, float]], dict[str, str]]:
    """Seconds of the first call of each, which may compile, and the median of ``repeats`` further ones.

    The calls take turns, so that what disturbs the machine disturbs all of them and ratios stay fair. One that refuses
    its first call, or has too little memory for it, is left out; why is the second thing returned.
    """
    first: dict[str, float] = {}
    refusals: dict[str, str] = {}
    for name, call in calls.items():
        try:
            first[name] = seconds_of(call)
        except (ValueError, MemoryError, torch.OutOfMemoryError) as error:
            refusals[name] = " ".join(str(error).split())
    later: dict[str, list[float]] = {name: [] for name in first}
    for _ in range(repeats):
        for name, seconds in later.items():
            seconds.append(seconds_of(calls[name]))
    return {name: (first[name], statistics.median(later[name])) for name in first}, refusals


# Fresh processes


def memory_growth(call: Callable[[], Any]) -> float | None:
    """MiB by which ``call`` raises the memory of this process above what it holds, at the peak.

    The kernel's record of the peak is set back before; on a GPU it is that of torch's allocator. ``None`` where the
    kernel keeps no such record. To be asked in a fresh process; memory that was freed there is given back first.
    """
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        held = torch.cuda.memory_allocated()
        call()
        return (torch.cuda.max_memory_allocated() - held) / 2**20
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    status = Path("/proc/self/status")

    def kib(key: str) -> int:
        return int(re.findall(rf"{key}:\s+(\d+)", status.read_text())[0])

    try:
        Path("/proc/self/clear_refs").write_text("5")
        held = kib("VmRSS")
    except (OSError, IndexError):
        return None
    call()
    return (kib("VmHWM") - held) / 1024


def in_child(script: str, job: Mapping[str, Any]) -> Row:
    """What ``script --job JSON`` prints in its last line, as JSON; its own process, so that times are clean.

    A job that fails says why: ``{"error": ...}``.
    """
    command = [sys.executable, "-W", "ignore", script, "--job", json.dumps(job)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"ended with status {done.returncode}"]
        return {"error": lines[-1]}
    return json.loads(done.stdout.splitlines()[-1])


# Particles, and the exact drift of some of them


def particles(n: int, d: int, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
    """Anisotropic Gaussian particles and their exact score, slightly disturbed."""
    generator = torch.Generator().manual_seed(0)
    scale = torch.linspace(0.5, 1.5, d, dtype=torch.float64).sqrt()
    v = scale * torch.randn(n, d, generator=generator, dtype=torch.float64)
    s = -v / scale**2 + 0.1 * torch.randn(n, d, generator=generator, dtype=torch.float64)
    return v.to(dtype), s.to(dtype)


@dataclass(frozen=True)
class _Terms:
    """What a pair adds to the drift, and the size of that."""

    kernel: LandauKernel

    def __call__(self, receiver: Sequence[Any], sender: Sequence[Any]) -> Any:
        (v_i, s_i), (v_j, s_j, w_j) = receiver, sender
        term = self.kernel.apply(v_i - v_j, s_i - s_j) * w_j
        return join([term * -1.0, dot(term, term).sqrt()])


class Reference:
    """The drift of random targets by the direct sum in float64, and the errors of others there.

    Args:
        v: Particles.
        s: Their scores.
        gamma: Exponent of the kernel, of strength 1.
        targets: Number of targets.
    """

    def __init__(self, v: torch.Tensor, s: torch.Tensor, gamma: float, targets: int = TARGETS) -> None:
        n, d = v.shape
        draw = torch.Generator().manual_seed(1)
        self.index = torch.randperm(n, generator=draw)[:targets].to(v.device)
        v, s = v.double(), s.double()
        senders = (v, s, v.new_full((n, 1), 1 / n))
        sums = dense_pair_sum(
            _Terms(LandauKernel(gamma)), (v[self.index], s[self.index]), senders, Partition.from_batch(None, v)
        )
        self.drift, self.magnitude = sums[:, :d], sums[:, d]

    def errors(self, drift: torch.Tensor) -> tuple[float, float]:
        """Relative error in the root mean square over the targets, and the largest one of a target.

        The latter is relative to the summed magnitude of the terms of its sum, as rounding is.
        """
        error = drift[self.index].double() - self.drift
        return float(error.norm() / self.drift.norm()), float((error.norm(dim=1) / self.magnitude).max())


# Tables and pictures


class Table:
    """Rows of a CSV that is written after every one; rows that are there are kept, and not measured again.

    Args:
        path: The CSV.
        keys: Columns that name a row.
        anew: Whether to drop what is there.
    """

    def __init__(self, path: Path, keys: Sequence[str], *, anew: bool = False) -> None:
        self.path, self.keys = path, keys
        self.rows: list[Row] = []
        if path.exists() and not anew:
            with path.open(newline="", encoding="utf-8") as file:
                self.rows = [{k: _value(x) for k, x in row.items()} for row in csv.DictReader(file)]

    def find(self, **names: Any) -> Row | None:
        """The row of these names, if there is one."""
        wanted = {key: _value(_text(names[key])) for key in self.keys}
        return next((row for row in self.rows if all(row.get(k) == x for k, x in wanted.items())), None)

    def add(self, row: Row) -> None:
        """Append a row, print it, and write the table."""
        self.rows.append({k: _value(_text(x)) for k, x in row.items()})
        print("  ".join(f"{k}={_text(x)}" for k, x in row.items() if x is not None and k != "command"), flush=True)
        self.write()

    def write(self) -> None:
        """Write what there is."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_csv(self.path, [{k: _text(x) for k, x in row.items()} for row in self.rows])

    def print(self) -> None:
        """Print all rows, aligned, but for commands."""
        shown = [{k: x for k, x in row.items() if k != "command"} for row in self.rows]
        print(f"\n{aligned(shown)}\n\n{len(self.rows)} rows in {self.path}")


def draw(path: Path, picture: Callable[[], Figure]) -> None:
    """Write a picture in the style of the figures of a run."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with matplotlib.rc_context(STYLE):
        print(save(picture(), path))


def _text(value: Any) -> str | None:
    if value is None:
        return None
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _value(text: str | None) -> Any:
    """The number, the truth value or the text that a cell holds; ``None`` if it is empty."""
    if text is None or text == "":
        return None
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return {"True": True, "False": False}.get(text, text)
