r"""Waves without collisions against linear theory: Landau damping for some wavenumbers, two streams at some speeds.

Particle in cell (Vlasov-Poisson) with quietly loaded particles; the rate and the frequency of :math:`|E_k|` are fitted
to the history of the run and compared with the roots of the plasma dispersion relation. Not in arXiv:2603.23901, whose
runs of Section 4.2 rest on this half of the scheme.

    python experiments/kinetic_jko/figures.py landau_damping
    python experiments/kinetic_jko/figures.py landau_damping --smoke
"""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure
from study import Records, Runs, command_line, runs_of

from graphlandau.cli.study import number, publish, records, series
from graphlandau.plotting import RunRecord
from graphlandau.plotting.field import draw_mode
from graphlandau.plotting.style import legend

WAVENUMBERS = (0.3, 0.4, 0.5, 0.6)
SPEEDS = (2.1, 2.4, 3.0, 3.6)
TRIAL = ["--particles", "2000", "--t_end", "2"]


def row(name: str, value: str, run: RunRecord) -> dict[str, Any]:
    """Rate and frequency, measured and from theory, and the relative error of the rate."""
    summary = run.summary
    measured, exact = summary["growth_rate"], summary["growth_rate_exact"]
    error = None if measured is None else abs(measured / exact - 1)
    return {
        name: value,
        "rate": number(measured),
        "rate_theory": number(exact),
        "relative_error": number(error),
        "frequency": number(summary["frequency"]),
        # Of a purely growing root rounding leaves some.
        "frequency_theory": f"{summary['frequency_exact']:.4f}",
        "largest_energy_drift": number(float(series(run, "energy_rel_drift")[1].max())),
        "wall_seconds": number(summary["wall_seconds"]),
    }


def draw(found: Records, title: str, symbol: str) -> Figure:
    """A panel for each run."""
    fig = Figure(figsize=(11.5, 3.9 * -(-len(found) // 2) + 0.3), layout="constrained")
    for ax, (name, run) in zip(fig.subplots(-(-len(found) // 2), 2, squeeze=False).flat, found.items(), strict=False):
        draw_mode(ax, run)
        ax.set_title(f"${symbol} = {name.rpartition('-')[2]}$")
        legend(ax, loc="upper right" if symbol == "k" else "upper left")
    some = next(iter(found.values()))
    fig.suptitle(f"{title}: {some.config['particles']:,} particles, {some.problem.cells} cells", x=0.01, ha="left")
    return fig


def main() -> None:
    options = command_line(__doc__, __file__)
    few = slice(1, 2) if options.smoke else slice(None)
    every = ["--checkpoint_every", "100", "--snapshots", "3"]
    waves = {f"k-{k:g}": ["--problem.k", f"{k:g}", *every] for k in WAVENUMBERS[few]}
    streams = {f"v0-{v:g}": ["--problem.v0", f"{v:g}", *every] for v in SPEEDS[few]}
    runs: Runs = runs_of("landau_damping", waves, options, TRIAL) | runs_of("two_stream", streams, options, TRIAL)
    found = records(runs, options)
    for name, key, title, symbol, part in (
        ("landau_damping", "k", "Landau damping", "k", waves),
        ("two_stream", "v0", "Two-stream instability, $k = 0.2$", "v_0", streams),
    ):
        some = {case: found[case] for case in part}
        rows = [row(key, case.rpartition("-")[2], run) for case, run in some.items()]
        publish(options, name, rows, lambda some=some, title=title, symbol=symbol: draw(some, title, symbol))


if __name__ == "__main__":
    main()
