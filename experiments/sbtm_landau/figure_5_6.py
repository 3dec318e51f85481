"""Figure 5.6 of Ilin, Hu and Wang 2025: seconds for one estimate of the score against n, with fitted exponents.

The state is one of BKW in 3D, the estimators are those of the other figures; medians of repeats, in one process, on
the threads that torch takes. The closed form chooses its ridge at every 25th estimate: its time is the mean of 25.
An exponent is fitted to the largest three sizes of a line.

    python experiments/sbtm_landau/figures.py 5.6            # n = 100 to 102,400
    python experiments/sbtm_landau/figures.py 5.6 --smoke
"""

from __future__ import annotations

import statistics
import time

import torch
from study import CASES, COLOURS, MARKERS, NAMES

from graphlandau.base.state import particle_state
from graphlandau.cli.config import compose
from graphlandau.cli.study import cost_figure, growth_exponent, publish, read_command_line
from graphlandau.methods import LandauTransport
from graphlandau.nn.pairs import expected_calls
from graphlandau.problems import Problem

SIZES = [100, 400, 1600, 6400, 25_600, 102_400]
# Estimates that are not timed, since they may compile or choose more often, and those that are.
CALLS = {"closed_form": (26, 25)}
LONGEST = 60.0
TITLE = "One estimate of the score, BKW in 3D"


def estimator(case: str) -> tuple[LandauTransport, Problem]:
    """Return the method of a case, from the configuration of Figure 5.2."""
    given = {"config": ["sbtm_landau/figure_5_2"], "method.initial_steps": ["0"]}
    arguments = CASES[case]
    given |= {key.removeprefix("--"): [value] for key, value in zip(arguments[::2], arguments[1::2], strict=True)}
    if case.startswith("blob") or case == "closed_form":
        given.pop("method.initial_steps")
    config = compose(given)
    method = config.simulation().method
    assert isinstance(method, LandauTransport)
    return method, config.problem


def seconds(case: str, n: int) -> float:
    """Return the time of one estimate."""
    skipped, timed = CALLS.get(case, (1, 5))
    method, problem = estimator(case)
    state = particle_state(problem.sample(n, generator=torch.Generator().manual_seed(0)).float(), t=problem.t_start)
    times = []
    with torch.no_grad(), expected_calls(400):
        state = method.initialise(state, problem)
        for _ in range(skipped + timed):
            began = time.perf_counter()
            method.score(state)
            times.append(time.perf_counter() - began)
    return statistics.mean(times[skipped:]) if case in CALLS else statistics.median(times[skipped:])


def main() -> None:
    options = read_command_line(__doc__, __file__, SIZES, [100, 200, 400])
    measured: dict[str, dict[int, float]] = {case: {} for case in CASES}
    rows = []
    for n in options.sizes:  # all cases at one size before the next: what slows the machine slows them alike
        for case, times in measured.items():
            if not times or max(times.values()) * (n / max(times)) ** 2 < LONGEST:
                times[n] = seconds(case, n)
                rows.append({"case": case, "n": n, "seconds": f"{times[n]:.3g}", "threads": torch.get_num_threads()})
                print(f"{case:<16}{n:>8,}  {times[n]:.3g} s", flush=True)
    rows += [
        {"case": case, "n": "exponent", "seconds": f"{growth_exponent(times):.2f}"} for case, times in measured.items()
    ]
    looks = {case: (NAMES[case], COLOURS[case], MARKERS[case]) for case in measured}
    publish(options, "figure_5_6", rows, lambda: cost_figure(measured, looks, TITLE))


if __name__ == "__main__":
    main()
