"""What a finished run says of itself: a title and the few numbers that say how good it is, by the kind of problem."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

__all__ = ["HEADLINES", "Headline", "kind_of", "report"]

# What a summary says of a density of which nothing but the particles is given.
NOT_KNOWN = "not known"

Summary = Mapping[str, Any]


class Headline(NamedTuple):
    """One line of the report of a run.

    Args:
        name: What the number is called.
        key: Its key in the summary; a run without it has no such line.
        beside: What stands beside it; empty for nothing.
    """

    name: str
    key: str
    beside: Callable[[Summary], str] = lambda summary: ""


def _number(key: str, words: str) -> Callable[[Summary], str]:
    """Return ``words`` with the number of ``key`` in place of {}, empty for a run that does not have it."""
    return lambda summary: "" if summary.get(key) is None else words.format(f"{summary[key]:.3g}")


def _baselines(summary: Summary) -> str:
    baselines = {"exact score": "rel_l2_density_exact_score", "fresh exact samples": "rel_l2_density_fresh"}
    known = [f"{name} {summary[key]:.3g}" for name, key in baselines.items() if summary.get(key) is not None]
    return f"baselines: {', '.join(known)}" if known else ""


def _error(key: str) -> Callable[[Summary], str]:
    """Return the error of a carried entropy, or that it is below what is possible."""

    def beside(summary: Summary) -> str:
        total, stderr = summary.get(f"{key}_error"), summary.get(f"{key}_stderr")
        words = [] if total is None else [f"error {total:.2g}"]
        words += [] if stderr is None else [f"standard error {stderr:.2g}"]
        if summary.get("entropy_impossible"):
            words.append(f"IMPOSSIBLE: {summary['entropy_deficit']:.2g} below the least")
        return ", ".join(words)

    return beside


def _entropy(summary: Summary) -> str:
    exact, least = _number("entropy_exact", "exact {}"), _number("entropy_equilibrium", "{} of the Maxwellian")
    return ", ".join(words for words in (_error("entropy")(summary), exact(summary), least(summary)) if words)


_THEORY = _number("growth_rate_exact", "{} by the dispersion relation")
_LAST = (
    Headline("energy drift (relative)", "energy_rel_drift"),
    Headline("wall seconds", "wall_seconds", _number("seconds_per_step", "{} per step")),
)
_MODE = (
    Headline("growth rate of the mode", "growth_rate", _THEORY),
    Headline("frequency of the mode", "frequency", _number("frequency_exact", "{} by the dispersion relation")),
)

# By the kind of problem, see :func:`kind_of`.
HEADLINES: dict[str, tuple[Headline, ...]] = {
    "velocities": (
        Headline("density error (rel. L2)", "rel_l2_density", _baselines),
        Headline("score error (rel. Fisher)", "rel_fisher_divergence"),
        Headline("trajectory error (squared)", "rel_trajectory_error"),
        Headline(
            "covariance error",
            "cov_frobenius_error",
            _number("cov_sample_error", "{} from the exact evolution of this sample"),
        ),
        Headline("KL from the exact", "kl", _error("kl")),
        Headline("entropy H", "entropy", _entropy),
        Headline("dissipation dH/dt", "entropy_dissipation"),
        Headline(
            "distance from isotropy",
            "equilibrium_distance",
            _number("equilibrium_distance_mc", "{} of as many samples of the Maxwellian"),
        ),
        Headline("bound of KL (certificate)", "kl_bound_pairs", lambda summary: "if the score is radial"),
        *_LAST,
    ),
    "collisional": (
        Headline("KL from equilibrium", "kl", _error("kl")),
        Headline("error of the control", "drift_error"),
        Headline("free energy", "free_energy", _number("free_energy_equilibrium", "{} at equilibrium")),
        *_MODE,
        *_LAST,
    ),
    # Without collisions the entropy stands still, and so the free energy says no more than the energy.
    "collisionless": (*_MODE, Headline("square of the field", "e2"), *_LAST),
}


def kind_of(summary: Summary) -> str:
    """Return the key of :data:`HEADLINES` for a run: with positions or without, with collisions or without."""
    if "kinetic" not in summary:
        return "velocities"
    return "collisional" if summary.get("epsilon") else "collisionless"


def report(summary: Summary) -> str:
    """Return the title of a run and its :data:`HEADLINES`, a line each."""
    title = " · ".join(str(summary[key]) for key in ("problem", "method", "score", "control") if summary.get(key))
    lines = [f"{title} · {summary['particles']:,} particles · t = {summary['t']:g} in {summary['steps']} steps"]
    if summary.get("initial_density") == NOT_KNOWN:
        lines.append(f"  {'log-density, entropy, KL':<28}{NOT_KNOWN}: the particles are given")
    for name, key, beside in HEADLINES[kind_of(summary)]:
        if summary.get(key) is not None:
            lines.append(f"  {name:<28}{summary[key]:<12.3g}{beside(summary)}".rstrip())
        elif key == "growth_rate" and summary.get("growth_rate_missing"):
            lines.append(f"  {name:<28}{'not fitted':<12}{_THEORY(summary)}".rstrip())
            lines.append(f"  {'':<28}{summary['growth_rate_missing']}")
        elif key == "frequency" and summary.get("frequency_exact"):
            lines.append(f"  {name:<28}{'not fitted':<12}{beside(summary)}")
    return "\n".join(lines)
