"""What the tests of several processes compute, alone and together; as a script, one of these processes."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from graphlandau.base import distributed
from graphlandau.base.state import particle_state
from graphlandau.cli.config import compose, require_agreement
from graphlandau.cli.main import main
from graphlandau.graphs.partition import Partition
from graphlandau.methods import SBTM, Blob, Collisions, Fit, Step
from graphlandau.nn import BlobScore, ClosedFormScore, LandauDrift, MLPScore
from graphlandau.nn.pairs import dense_pair_sum, maxwell_gram
from graphlandau.problems import BKW, BiMaxwellian
from graphlandau.run.folder import RunFolder
from graphlandau.run.simulation import Simulation
from graphlandau.training.descent import Descent

# Not a multiple of the number of processes: shards of different sizes.
N = 61


def particles() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Velocities, scores, weights and uneven blocks."""
    generator = torch.Generator().manual_seed(5)
    v = torch.randn(N, 3, generator=generator, dtype=torch.float64)
    s = -v + 0.3 * torch.randn(N, 3, generator=generator, dtype=torch.float64)
    weight = torch.rand(N, generator=generator, dtype=torch.float64)
    return v, s, weight / weight.sum(), torch.randint(0, 5, (N,), generator=generator)


def with_derivatives(function: Callable[..., Any], *inputs: Tensor, second: bool = True) -> dict[str, Tensor]:
    """Values without and with a graph, the gradient of a nonlinear loss, and the gradient of one of that."""
    with torch.no_grad():
        found = {"value": _flat(function(*inputs))}
    inputs = tuple(x.clone().requires_grad_() for x in inputs)
    recorded = _flat(function(*inputs))
    first = torch.autograd.grad(recorded.sin().sum(), inputs, create_graph=second)
    found |= {"recorded": recorded.detach(), "gradient": _flat(first).detach()}
    if second:
        found["second"] = _flat(torch.autograd.grad(_flat(first).sin().sum(), inputs))
    return found


def _flat(x: Tensor | tuple[Tensor, ...]) -> Tensor:
    return torch.cat([y.reshape(-1) for y in (x if isinstance(x, tuple) else (x,))])


def pairs(backend: str, gamma: float) -> dict[str, Tensor]:
    """Drift of all pairs and of blocks, and its partials at other places."""
    v, s, weight, batch = particles()
    drift, away = LandauDrift(gamma, 1.0, backend=backend), v.roll(1, 0) + 0.1
    second = backend != "keops"

    def partials(at: Tensor, v: Tensor, s: Tensor, weight: Tensor) -> tuple[Tensor, ...]:
        return drift.partials(v, s, weight=weight, at=(at, s))

    cases = {
        "all": with_derivatives(lambda v, s, w: drift(v, s, weight=w), v, s, weight, second=second),
        "blocks": with_derivatives(lambda v, s, w: drift(v, s, batch=batch, weight=w), v, s, weight, second=second),
        "partials": with_derivatives(partials, away, v, s, weight, second=second),
        "fixed sources": with_derivatives(lambda at: drift.partials(v, s, at=(at, s)), away, second=False),
    }
    return {f"{case}: {name}": x for case, found in cases.items() for name, x in found.items()}


def other_sums() -> dict[str, Tensor]:
    """Blob score, Gram matrix of Maxwell molecules, and a sum inside a transform of torch.func."""
    v, s, weight, _ = particles()
    whole = Partition.from_batch(None, v)
    drift = LandauDrift(-2.0, 1.0, backend="dense")
    found = {f"blob: {k}": x for k, x in with_derivatives(lambda v, w: BlobScore(0.7)(v, weight=w), v, weight).items()}
    mesh = LandauDrift(-1.0, 1.0, backend="mesh", tolerance=5e-2)  # so few particles want a coarse lattice
    found |= {f"mesh: {k}": x for k, x in with_derivatives(mesh, v, s, second=False).items()}
    found |= {f"gram: {k}": x for k, x in with_derivatives(maxwell_gram, v, torch.cat([s, v**2], 1), weight).items()}
    found["targets"] = dense_pair_sum(lambda x, y: x[0] * y[0] * y[1], (v[:11],), (s, weight[:, None]), whole)
    found["transform"] = torch.func.jvp(lambda v: drift(v, s), (v,), (s,))[1]
    return found


def rows() -> dict[str, Tensor]:
    """The two pairs of transposes in one function: means of all rows, and each row with them."""
    v, s, weight, _ = particles()

    def function(v: Tensor, s: Tensor, weight: Tensor) -> Tensor:
        mine = [distributed.shard(x) for x in (v, s, weight[:, None])]
        mean = distributed.partial_gradient(distributed.sum_partial((mine[2] * mine[0] ** 3).sum(0)))
        return distributed.replicate((mine[1] + mean) * mine[0] * mean, N)

    found = with_derivatives(function, v, s, weight)
    with torch.no_grad():
        found["by rows"] = _flat(distributed.by_rows(lambda v, s: (v * s, s.sin().sum(1)), v, s))
    trained = torch.ones(3, dtype=torch.float64, requires_grad=True)
    (found["by rows, trained"],) = torch.autograd.grad(
        distributed.by_rows(lambda v: (trained * v) ** 2, v).sum(), trained
    )
    return found


def descent() -> dict[str, Tensor]:
    """Weights of a network after steps on a loss of independent rows, with weights and noise of their own."""
    v, s, weight, _ = particles()
    torch.manual_seed(1)
    network = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3)).double()
    generator = torch.Generator().manual_seed(2)

    def loss(batch: Any) -> Tensor:
        size = batch.v.size(0)
        noise = distributed.drawn(lambda n: torch.randn(n, 3, generator=generator, dtype=torch.float64), size)
        error = (network(batch.v + 0.1 * noise) - batch.target).square().sum(1)
        return distributed.across((batch.weight * error).sum()) / distributed.across(batch.weight.sum())

    state = particle_state(v, t=0.0, weight=weight)
    state.target = s
    training = Descent(network, 1e-2, 37, torch.Generator().manual_seed(3))
    training.run(state, 20, loss, by_rows=True)
    return {"weights": _flat(tuple(p.detach() for p in network.parameters()))}


def simulation(kind: str, steps: int = 20, **options: Any) -> Simulation:
    """A run in float64."""
    if kind == "blob":
        problem, method = BiMaxwellian(), Blob(step=Step(integrator="midpoint"), collisions=Collisions(backend="dense"))
    elif kind == "closed form":
        problem, method = BKW(d=2), SBTM(ClosedFormScore(2))
    else:
        torch.manual_seed(0)
        problem = BKW(d=2)
        method = SBTM(
            MLPScore(2, width=16, depth=1),
            objective=kind,
            fit=Fit(steps=3, minibatch=101, initial_steps=30, learning_rate=1e-3),
            collisions=Collisions(batch_size=40, backend="dense"),
        )
    options = {"particles": 301, "dt": 0.01, "t_end": problem.t_start + 0.01 * steps, "dtype": torch.float64, **options}
    return Simulation(problem, method, baselines=False, **options)


def run(kind: str) -> dict[str, Tensor]:
    """Particles, log-density and what was trained at the end."""
    made = simulation(kind)
    state = made.run().state
    return {"v": state.v, "log_f": state.log_f} | {k: x for k, x in made.method.state_dict().items() if "model" in k}


COMPUTED: dict[str, Callable[[], dict[str, Tensor]]] = {
    "rows": rows,
    "dense": lambda: pairs("dense", -3.0),
    "moments": lambda: pairs("moments", 0.0),
    "other sums": other_sums,
    "descent": descent,
    **{f"run: {kind}": lambda kind=kind: run(kind) for kind in ("blob", "closed form", "implicit", "hutchinson")},
}


class Mortal(Blob):
    """A blob whose rank 1 is killed on the way."""

    def evaluate(self, state: Any, dt: float | None = None) -> Any:
        if distributed.rank() == 1 and state.t > 0.065:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().evaluate(state, dt)


def refusals() -> dict[str, str]:
    """What each of the processes is told."""

    def fails() -> None:
        raise ValueError(f"of rank {distributed.rank()}")

    cases: dict[str, Callable[[], Any]] = {
        "config": lambda: require_agreement(
            compose({"problem": ["bkw_2d"], "method": ["blob"], "particles": [str(100 + distributed.rank())]})
        ),
        "device": lambda: distributed.own_device("cuda:1"),
        "first": lambda: distributed.by_first(fails),
    }
    said = {}
    for name, function in cases.items():
        try:
            function()
        except ValueError as error:
            said[name] = str(error)
    return said


def half_a_run(folder: Path) -> None:
    """The first ten steps, up to the checkpoint there."""
    made = RunFolder.create(folder, "")
    simulation("implicit", steps=10, folder=made).run()
    made.close()


def the_rest(folder: Path) -> Tensor:
    """The particles after the other ten."""
    opened = RunFolder.open(folder)
    v = simulation("implicit", folder=opened).run().state.v
    opened.close()
    return v


def together(here: Path) -> dict[str, Any]:
    """Everything, in one of several processes."""
    half_a_run(here / "by two")
    return {
        "computed": {name: function() for name, function in COMPUTED.items()},
        "agreed": (
            distributed.agree(distributed.rank()),
            distributed.gather_objects(distributed.rank()),
            distributed.world(),
        ),
        "refused": refusals(),
        "continued": the_rest(here / "by one"),
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1] == "compute":
        distributed.start()
        torch.save(together(Path(sys.argv[2])), Path(sys.argv[2]) / f"{distributed.rank()}.pt")
        distributed.stop()
    else:
        # A command each, with a port of its own for its process group.
        first = int(os.environ["MASTER_PORT"])
        for number, line in enumerate(sys.argv[1:]):
            os.environ["MASTER_PORT"] = str(first + number)
            status = main(line.replace("RANK", os.environ["RANK"]).split())
            print(status, flush=True)
