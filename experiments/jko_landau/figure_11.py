"""Figure 11 of Huang and Wang, arXiv:2409.12296: seconds for one estimate of the field against N.

The state is the initial one of Rosenbluth's problem in 3D. Timed is ``method.score``: training or solving, then the
field at all particles; not the drift, which all share, and no log-density. The two networks are one perceptron, trained
alike: 3 passes over mini-batches of 640 in a time step (SBTM by the implicit objective with Adam, JKO by its pairwise
one with Adamax). One call comes before, since it may compile. Medians of repeats, in one process, on the threads that
torch takes. The closed forms choose their ridge at every 25th estimate: their times are means of 25. An exponent is
fitted to the largest three sizes of a line; the blob, which is quadratic, is left out where it would take a minute.

    python experiments/jko_landau/figures.py 11            # N = 1,600 to 102,400
    python experiments/jko_landau/figures.py 11 --smoke
"""

from __future__ import annotations

import statistics
import time

import torch

from graphlandau.base.state import particle_state
from graphlandau.cli.config import compose
from graphlandau.cli.study import cost_figure, growth_exponent, publish, read_command_line
from graphlandau.methods import LandauTransport
from graphlandau.nn.pairs import expected_calls
from graphlandau.plotting.style import PALETTE

SIZES = [1600, 6400, 25_600, 102_400]
EPOCHS, MINIBATCH = 3, 640
LONGEST = 60.0
TITLE = "One estimate of the field, Rosenbluth's problem in 3D"

_MLP = {"score": "mlp", "score.width": "32", "score.depth": "3", "method.learning_rate": "1e-4"}
_MLP |= {"method.minibatch": str(MINIBATCH), "method.hold_out": "false", "method.initial_steps": "0"}
CASES: dict[str, dict[str, str]] = {
    "blob": {"method": "blob"},
    "sbtm": {"method": "sbtm", "method.objective": "implicit", **_MLP},
    "jko": {"method": "jko", "method.epochs": str(EPOCHS), **_MLP},
    "sbtm_closed_form": {"method": "sbtm", "score": "closed_form"},
    "jko_closed_form": {"method": "jko", "score": "closed_form", "method.minibatch": str(MINIBATCH)},
}
NAMES = {
    "blob": "blob",
    "sbtm": "SBTM, network",
    "jko": "JKO, network",
    "sbtm_closed_form": "SBTM, closed form",
    "jko_closed_form": "JKO, closed form",
}
COLOURS = dict(zip(CASES, PALETTE, strict=False))
MARKERS = dict(zip(CASES, "^osDv", strict=True))
# Estimates that are not timed, and those that are.
CALLS = {"sbtm_closed_form": (26, 25), "jko_closed_form": (26, 25)}


def arguments(case: str, n: int) -> dict[str, list[str]]:
    """Return the configuration of a case; as many gradient steps for SBTM as the passes of JKO have."""
    given = {"problem": "rosenbluth_3d", "log_det": "none", "batch_size": str(min(1280, n)), **CASES[case]}
    if "method.minibatch" in given:
        given["method.minibatch"] = str(min(MINIBATCH, n))
    if case == "sbtm":
        given["method.steps"] = str(EPOCHS * max(1, n // MINIBATCH))
    return {key: [value] for key, value in given.items()}


def seconds(case: str, n: int) -> float:
    """Return the time of one estimate."""
    skipped, timed = CALLS.get(case, (1, 3))
    config = compose(arguments(case, n))
    method, problem = config.simulation().method, config.problem
    assert isinstance(method, LandauTransport)
    state = particle_state(problem.sample(n, generator=torch.Generator().manual_seed(0)).float(), t=problem.t_start)
    times = []
    with torch.no_grad(), expected_calls(400):
        state = method.initialise(state, problem)
        method.evaluate(state, problem.dt)  # tells JKO its time step
        for _ in range(skipped - 1):
            method.score(state)
        for _ in range(timed):
            began = time.perf_counter()
            method.score(state)
            times.append(time.perf_counter() - began)
    return statistics.mean(times) if case in CALLS else statistics.median(times)


def main() -> None:
    options = read_command_line(__doc__, __file__, SIZES, [100, 200, 400])
    measured: dict[str, dict[int, float]] = {case: {} for case in CASES}
    rows = []
    for n in options.sizes:  # all cases at one size before the next: what slows the machine slows them alike
        for case, times in measured.items():
            if case != "blob" or not times or max(times.values()) * (n / max(times)) ** 2 < LONGEST:
                times[n] = seconds(case, n)
                rows.append({"case": case, "n": n, "seconds": f"{times[n]:.3g}", "threads": torch.get_num_threads()})
                print(f"{case:<18}{n:>8,}  {times[n]:.3g} s", flush=True)
    rows += [
        {"case": case, "n": "exponent", "seconds": f"{growth_exponent(times):.2f}"} for case, times in measured.items()
    ]
    looks = {case: (NAMES[case], COLOURS[case], MARKERS[case]) for case in measured}
    publish(options, "figure_11", rows, lambda: cost_figure(measured, looks, TITLE))


if __name__ == "__main__":
    main()
