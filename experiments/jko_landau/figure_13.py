"""Figure 13 of Huang and Wang, arXiv:2409.12296: unequal temperatures in 10D, error of the covariance.

Against the exact covariance the error is, for the most part, that of the sample drawn at the start. It is therefore
shown beside that against the exact evolution of the sample's own covariance, which leaves the error of the sample out.
Against N at t = 0.1 both are root mean squares over four seeds, one for the largest N.

    python experiments/jko_landau/figures.py 13
    python experiments/jko_landau/figures.py 13 --smoke
"""

from __future__ import annotations

import math

import numpy as np
from figure_12 import EXAMPLE, SHOWN
from matplotlib.figure import Figure
from study import LINES, NAMES, Records, Runs, command_line, example_runs

from graphlandau.cli.study import number, publish, records, series
from graphlandau.plotting.style import REFERENCE, time_axis, widen_decades

SIZES, SEEDS = (400, 1600, 6400), (0, 1, 2, 3)
SMOKE_SIZES, SMOKE_SEEDS = (100, 200), (0,)
ERRORS = {
    "cov_frobenius_error": ("against the exact covariance", "-"),
    "cov_sample_error": ("against that of the sample, exactly evolved", ":"),
}


def runs(smoke: bool) -> Runs:
    """The runs of the example, and those of fewer particles."""
    found = example_runs(EXAMPLE, SHOWN, smoke)
    for n in SMOKE_SIZES if smoke else SIZES:
        few = ["--particles", str(n), "--method.minibatch", str(min(640, n)), "--batch_size", str(min(1280, n))]
        for seed in SMOKE_SEEDS if smoke else SEEDS:
            found |= example_runs(EXAMPLE, SHOWN, smoke, *few, "--seed", str(seed), suffix=f"-{n}-{seed}")
    return found


def against_particles(found: Records, case: str, key: str) -> dict[int, tuple[int, float]]:
    """Return the number of seeds and the root mean square at the end by the number of particles."""
    ends: dict[int, list[float]] = {}
    for name, run in found.items():
        if name.partition("-")[0] == case:
            ends.setdefault(run.config["particles"], []).append(float(series(run, key)[1][-1]))
    return {n: (len(x), math.sqrt(sum(e * e for e in x) / len(x))) for n, x in sorted(ends.items())}


def slope(errors: dict[int, tuple[int, float]]) -> float:
    """Return the slope on logarithmic axes."""
    n, error = np.log([[n, error] for n, (_, error) in errors.items()]).T
    return float(np.polyfit(n, error, 1)[0])


def draw(found: Records) -> Figure:
    """Over time for the largest N; against N."""
    fig = Figure(figsize=(12, 5.4), layout="constrained")
    over_time, against = fig.subplots(1, 2)
    for case in SHOWN:
        for key, (name, dashes) in ERRORS.items():
            t, error = series(found[case], key)
            seen = error > 1e-10  # the second is zero at the start, up to rounding
            over_time.plot(t[seen], error[seen], dashes, label=f"{NAMES[case]},\n{name}", **LINES[case])
            errors = against_particles(found, case, key)
            line = [(n, error) for n, (_, error) in errors.items()]
            label = f"fitted: $N^{{{slope(errors):.2f}}}$"
            against.plot(*zip(*line, strict=True), dashes, marker="o", label=label, **LINES[case])
    some = found[SHOWN[0]]
    first, *_, last = against_particles(found, SHOWN[0], "cov_frobenius_error").items()
    half = [first[1][1] * (n / first[0]) ** -0.5 for n in (first[0], last[0])]
    against.plot((first[0], last[0]), half, label="$N^{-1/2}$", **REFERENCE)
    time_axis(over_time, some.time_span, r"$\| \Sigma - \Sigma_* \|_F$", f"{some.config['particles']:,} particles")
    widen_decades(over_time)
    against.set_xscale("log")
    widen_decades(against)
    against.set_xlabel("particles $N$")
    against.set_ylabel(r"$\| \Sigma - \Sigma_* \|_F$")
    against.set_title(f"$t = {some.time_span[1]:g}$, root mean square over seeds")
    against.legend()
    fig.legend(*over_time.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    fig.suptitle("Unequal temperatures in 10D, Maxwell molecules: error of the covariance", x=0.01, ha="left")
    return fig


def main() -> None:
    options = command_line(__doc__, __file__, EXAMPLE)
    found = records(runs(options.smoke), options)
    rows = []
    for case in SHOWN:
        errors = {key: against_particles(found, case, key) for key in ERRORS}
        for n, (seeds, _) in errors["cov_frobenius_error"].items():
            rows.append({"case": case, "n": n, "seeds": seeds, **{k: number(e[n][1]) for k, e in errors.items()}})
        rows.append({"case": case, "n": "slope", **{key: f"{slope(e):.2f}" for key, e in errors.items()}})
    publish(options, "figure_13", rows, lambda: draw(found))


if __name__ == "__main__":
    main()
