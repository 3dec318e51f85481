"""Public codes of others beside this one: the same particles, the same sums, in one run on one machine.

    python benchmarks/peers.py --peer huang_wang=../Score-based-particle-methods-for-Landau-equation
    python benchmarks/peers.py --peer ilin_hu=../Vlasov-Landau-SBTM --quick

A peer is a local checkout; its functions are imported from there and called as they are, nothing of it is copied here.

``huang_wang``: github.com/Hv1000/Score-based-particle-methods-for-Landau-equation (PyTorch, needs scikit-learn) of
Huang and Wang, J. Comput. Phys. 2025. Compared are the collisions with log-determinants in random batches of 1,280
(``odefunc`` of its class), and whole runs of BKW in 2D: its training and its steps against SBTM with a residual
network and against the closed form.

``ilin_hu``: github.com/Vilin97/Vlasov-Landau-SBTM (JAX, needs flax and optax) of Ilin, Hu and Wang. Compared is its
collision operator (``src.solver.collision``) in float32, with all particles in one cell, where it is homogeneous.

Times are medians of repeats after one warm-up that compiles; the codes take turns, on the same processors. ``ratio``
is their seconds over ours; ``difference`` the relative difference of the two results, ``their_error`` and
``our_error`` the relative Fisher divergences at the end of a run. At the end the peer's wins are listed.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from measure import Row, Table, announce, command_line, folder, particles, take_turns

from graphlandau.cli.arguments import read_arguments
from graphlandau.cli.config import compose
from graphlandau.nn import LandauDrift
from graphlandau.nn.pairs import expected_calls
from graphlandau.nn.score import as_score_model
from graphlandau.problems import BKW

BATCH = 1_280


def import_from(peer: str, path: Path, module: str, needed: tuple[str, ...]) -> ModuleType:
    """Import a module of a checkout; one line that says why if that cannot be."""
    file = path / (module.replace(".", "/") + ".py")
    if not file.is_file():
        raise SystemExit(
            f"error: peer {peer}: {path} holds no {file.relative_to(path)} (a checkout of another layout?)"
        )
    sys.path.insert(0, str(path.resolve()))
    try:
        found = importlib.import_module(module)
    except ImportError as error:
        raise SystemExit(f"error: peer {peer}: {file} cannot be imported here ({error})") from error
    finally:
        sys.path.pop(0)
    missing = [name for name in needed if not hasattr(found, name)]
    if missing:
        raise SystemExit(f"error: peer {peer}: {file} has no {', '.join(missing)} (a checkout of another version?)")
    return found


def one_processor_each() -> None:
    """Let every library here use as many processors as torch has threads."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: torch.get_num_threads()])


def compared(peer: str, task: str, n: int, ours: str, theirs_s: float, ours_s: float, **more: Any) -> Row:
    """A row of the table."""
    winner = peer if theirs_s < ours_s else "graphlandau"
    row: Row = {"peer": peer, "task": task, "N": n, "ours": ours, "their_s": theirs_s, "our_s": ours_s}
    return {**row, "ratio": theirs_s / ours_s, "winner": winner, **more}


def difference(theirs: torch.Tensor, ours: torch.Tensor) -> float:
    """Relative difference in the root mean square."""
    return float((theirs - ours).norm() / theirs.norm())


# Huang and Wang


def huang_wang(path: Path, table: Table, quick: bool, repeats: int) -> None:
    """Collisions in random batches, and whole runs of BKW in 2D."""
    code = import_from("huang_wang", path, "ScoreLandau_BKW", ("ScoreMatching",))
    for n in (1_280,) if quick else (2_560, 25_600):
        if not table.find(peer="huang_wang", task="collisions", N=n, ours="LandauDrift"):
            table.add(_batches(code, n, repeats))
    for n, t_end in ((400, 0.02),) if quick else ((6_400, 1.0),):
        ours = {
            "sbtm residual": "--score residual --method.initial_tolerance 0.01",
            "closed form": "--score closed_form",
        }
        task = f"bkw_2d to t = {t_end:g}, dt = 0.01"
        waiting = [name for name in ours if not table.find(peer="huang_wang", task=task, N=n, ours=name)]
        if not waiting:
            continue
        theirs_s, their_error = _run_theirs(code, n, t_end)
        for name in waiting:
            run = f"--problem bkw_2d --method sbtm {ours[name]} --particles {n} --dt 0.01 --t_end {t_end:g}"
            more = f"--baselines false --snapshots 2 --metrics_every 1000000 --threads {torch.get_num_threads()}"
            summary = compose(read_arguments(f"{run} {more}".split())).simulation().run().summary
            errors = {"their_error": their_error, "our_error": summary["rel_fisher_divergence"]}
            table.add(compared("huang_wang", task, n, name, theirs_s, summary["wall_seconds"], **errors))


def _matching(code: ModuleType, v: np.ndarray, t: float, net: torch.nn.Module | None = None) -> Any:
    """Their score matching, of the network of their script; with ``net`` from the step before."""
    matching = code.ScoreMatching(v, t, 0.01, 1 / 16, 2, 2, 32, 5, True)
    if net is not None:
        matching.net = net
    return matching


def _batches(code: ModuleType, n: int, repeats: int) -> Row:
    """Drift and growth of the log-determinant in blocks of 1,280, of one network of theirs."""
    v = BKW(d=2).sample(n, generator=torch.Generator().manual_seed(0)).float()
    theirs = _matching(code, v.numpy(), 0.0)
    score, drift = as_score_model(theirs.net, 2), LandauDrift(0.0, 1 / 16)
    batch = torch.arange(n) // BATCH

    def by_them() -> torch.Tensor:
        rows = torch.cat([v, torch.zeros(n, 1)], dim=1)
        return torch.cat([theirs.odefunc(part) for part in rows.split(BATCH)]) / 16

    @torch.no_grad()
    def by_us() -> torch.Tensor:
        s, jacobian = score.value_and_jacobian(v)
        divergence = drift.divergence(v, s, jacobian, batch=batch)
        return torch.cat([drift(v, s, batch=batch), divergence[:, None]], dim=1)

    with expected_calls(1000):
        times, refusals = take_turns({"theirs": by_them, "ours": by_us}, repeats)
    if refusals:
        raise SystemExit(f"error: {refusals}")
    same = difference(by_them(), by_us())
    pair = times["theirs"][1], times["ours"][1]
    return compared("huang_wang", "collisions", n, "LandauDrift", *pair, difference=same)


def _run_theirs(code: ModuleType, n: int, t_end: float) -> tuple[float, float]:
    """Their script's loop on our initial particles: seconds, and the relative Fisher divergence at the end."""
    problem = BKW(d=2)
    v = problem.sample(n, generator=torch.Generator().manual_seed(0)).numpy()
    f, net = problem.log_prob(torch.from_numpy(v)).exp().numpy(), None
    steps = round(t_end / 0.01)
    torch.manual_seed(0)
    began = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        for k in range(steps + 1):
            model = _matching(code, v, k * 0.01, net)
            if net is None:
                model.L2_train(lr=1e-3, tol=1e-4)
            else:
                model.ism_train(lr=5e-4, max_epoch=50)
            net = model.net
            if k < steps:
                v, f = model.updateRBM(v=v, f=f, B=BATCH)
    seconds = time.perf_counter() - began
    assert net is not None  # there is at least one step
    x = torch.from_numpy(v).float()
    exact = problem.score(x.double(), t_end)
    with torch.no_grad():
        error = (net(x).double() - exact).square().sum() / exact.square().sum()
    return seconds, float(error)


# Ilin, Hu and Wang


def ilin_hu(path: Path, table: Table, quick: bool, repeats: int) -> None:
    """The collision operator, with all particles in one cell."""
    try:
        import jax  # pyright: ignore[reportMissingImports]
        import jax.numpy as jnp  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise SystemExit(f"error: peer ilin_hu: it needs JAX, which is not installed here ({error})") from error
    solver = import_from("ilin_hu", path, "src.solver", ("collision",))
    cells = 4  # the least for which a cell and its two neighbours are three
    for gamma in (-3.0, 0.0):
        for n in (500,) if quick else (1_000, 10_000, 30_000):
            task = f"collisions in 3D, gamma = {gamma:g}"
            backends = ["dense", "mesh" if gamma else "moments"]
            # A mesh to the noise of few particles is finer than they are worth; auto does not take it for them.
            backends = [b for b in backends if b != "mesh" or n >= 30_000]
            waiting = [b for b in backends if not table.find(peer="ilin_hu", task=task, N=n, ours=b)]
            if not waiting:
                continue
            v, s = particles(n, 3)
            x = jnp.full((n, 1), 0.5)
            given = (x, jnp.asarray(v.numpy()), jnp.asarray(s.numpy()), 1 / cells, 1 / cells, gamma, 1.0, cells)
            calls: dict[str, Callable[[], Any]] = {
                "theirs": lambda g=given: jax.block_until_ready(solver.collision(*g))
            }
            for backend in waiting:
                layer = LandauDrift(gamma, backend=backend)

                def by_us(layer: LandauDrift = layer, v: torch.Tensor = v, s: torch.Tensor = s) -> torch.Tensor:
                    with expected_calls(10**9):
                        return layer(v, s)

                calls[backend] = by_us
            times, refusals = take_turns(calls, repeats if n < 20_000 else 1)
            theirs = -torch.from_numpy(np.array(calls["theirs"]()))
            for backend in waiting:
                if backend in refusals:
                    print(f"{backend}: {refusals[backend]}")
                    continue
                same = difference(theirs, calls[backend]())
                pair = times["theirs"][1], times[backend][1]
                table.add(compared("ilin_hu", task, n, backend, *pair, difference=same))


PEERS = {"huang_wang": huang_wang, "ilin_hu": ilin_hu}


def read_peer(text: str) -> tuple[str, Path]:
    """NAME=PATH."""
    name, _, path = text.partition("=")
    if name not in PEERS or not path:
        raise argparse.ArgumentTypeError(f"must be NAME=PATH, NAME one of {', '.join(PEERS)} (got {text!r})")
    if not Path(path).is_dir():
        raise argparse.ArgumentTypeError(f"{name}: there is no folder {path}")
    return name, Path(path)


def main() -> None:
    parser = command_line(__doc__, "peers")
    parser.add_argument("--peer", type=read_peer, action="append", required=True, metavar="NAME=PATH")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--anew", action="store_true", help="drop the rows that are there")
    options = parser.parse_args()
    os.environ.setdefault("MPLBACKEND", "Agg")
    announce()
    one_processor_each()
    table = Table(folder(options) / "peers.csv", ("peer", "task", "N", "ours"), anew=options.anew)
    for name, path in options.peer:
        PEERS[name](path, table, options.quick, options.repeats)
    table.print()
    for name, _ in options.peer:
        rows = [row for row in table.rows if row["peer"] == name]
        lost = [row for row in rows if row["winner"] == name]
        print(f"{name} is faster in {len(lost)} of {len(rows)} rows" + (":" if lost else ""))
        for row in lost:
            print(f"  {row['task']}, N = {row['N']:,}, against {row['ours']}: {1 / row['ratio']:.2g} times")
        for row in rows:
            if row.get("their_error") is not None and row["their_error"] < row["our_error"]:
                times = row["our_error"] / row["their_error"]
                print(
                    f"{name} has the smaller error, {times:.2g} times: {row['task']}, N = {row['N']:,}, {row['ours']}"
                )


if __name__ == "__main__":
    main()
