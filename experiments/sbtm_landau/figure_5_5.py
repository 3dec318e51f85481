"""Figure 5.5 of Ilin, Hu and Wang 2025: unequal temperatures in 3D, Coulomb collisions, to t = 300 with dt = 1.

Both strengths: 1/24 of the paper's code, whose relaxation its figure shows, and 1 of its text, which is 24 times as
fast and is run to t = 60.

    python experiments/sbtm_landau/figures.py 5.5            # n = 100 and 12,800
    python experiments/sbtm_landau/figures.py 5.5 --smoke
"""

from __future__ import annotations

from matplotlib.figure import Figure
from study import CASES, Records, against_particles, over_time, scan

from graphlandau.cli.study import publish, read_command_line, records, table

SIZES = [100, 12_800]
KEYS = ["equilibrium_distance", "equilibrium_distance_mc", "energy_rel_drift", "entropy_dissipation"]


def draw(found: Records, sizes: list[int], title: str) -> Figure:
    """Two temperatures and the dissipation over time, the distance from isotropy against n."""
    fig = Figure(figsize=(13.5, 7.8), layout="constrained")
    axes = fig.subplots(2, 2).flat
    ends = [sizes[0], sizes[-1]]
    for k in (0, 1):
        label = rf"$\Sigma_{{{k + 1}{k + 1}}}$"
        over_time(axes[k], found, ends, f"cov_{k + 1}_{k + 1}", label, label)
        axes[k].axhline(1.0, color="black", linestyle="--")
    against_particles(axes[2], found, sizes, "equilibrium_distance", "Distance from isotropy", r"$\|\Sigma - T I\|_F$")
    over_time(axes[3], found, ends, "entropy_dissipation", "Entropy decay rate", r"$-\langle s \cdot U \rangle$", -1.0)
    axes[3].set_yscale("log")
    fig.legend(*axes[2].get_legend_handles_labels(), loc="outside lower center", ncols=5)
    fig.suptitle(title, x=0.01, ha="left")
    return fig


def main() -> None:
    options = read_command_line(__doc__, __file__, SIZES, [60, 120])
    sizes = options.sizes
    runs: dict[str, list[str]] = {}
    for name, strength, t_end in (("weak", 1 / 24, 300), ("strong", 1.0, 60)):
        more = ["--problem.strength", str(strength), "--t_end", "3" if options.smoke else str(t_end)]
        runs |= {f"{name}-{run}": given for run, given in scan("figure_5_5", CASES, sizes, *more).items()}
    found = records(runs, options)
    weak, strong = (
        {run.removeprefix(name): record for run, record in found.items() if run.startswith(name)}
        for name in ("weak-", "strong-")
    )
    title = "Unequal temperatures in 3D, Coulomb, dt = 1, strength"
    publish(options, "figure_5_5", table(found, KEYS), lambda: draw(weak, sizes, f"{title} 1/24 (equilibrium: dashed)"))
    publish(options, "figure_5_5_strength_1", table(strong, KEYS), lambda: draw(strong, sizes, f"{title} 1"))


if __name__ == "__main__":
    main()
