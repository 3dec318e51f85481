"""Tables of runs: as CSV, and aligned for the eye."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from graphlandau.base.files import write_atomically

__all__ = ["aligned", "main_numbers", "write_csv"]

# The few numbers that say how good a run is, and what they are called above a column.
MAIN_NUMBERS = {
    "rel_fisher_divergence": "rel. Fisher",
    "rel_l2_density": "rel. L2",
    "cov_frobenius_error": "cov. error",
    "equilibrium_distance": "equil. dist.",
    "entropy": "entropy",
    "energy_rel_drift": "energy drift",
    "wall_seconds": "seconds",
}
# For particles with positions, which are known by their kinetic energy.
KINETIC_NUMBERS = {
    "kl": "KL",
    "kl_stderr": "std. error",
    "kl_error": "KL error",
    "drift_error": "drift error",
    "free_energy": "free energy",
    "e2": "field squared",
    "growth_rate": "growth rate",
    "growth_rate_exact": "theory",
    "energy_rel_drift": "energy drift",
    "wall_seconds": "seconds",
}


def main_numbers(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the few numbers of ``row`` that say how good a run is, by the names of their columns."""
    shown = KINETIC_NUMBERS if "kinetic" in row else MAIN_NUMBERS
    return {name: row[key] for key, name in shown.items() if row.get(key) is not None}


def columns(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the keys of all rows, in the order in which they first occur."""
    return list(dict.fromkeys(key for row in rows for key in row))


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write ``rows`` atomically; the columns are the keys of all of them, ``None`` is an empty cell."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns(rows), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(path, text.getvalue().encode())


def aligned(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return ``rows`` as lines under a header, numbers to the right; columns without a value are left out.

    Example:
        >>> print(aligned([{"run": "blob", "kl": 0.12345, "note": None}, {"run": "sbtm", "kl": None}]))
        run      kl
        blob  0.123
        sbtm
    """
    lines: list[str] = [""] * (len(rows) + 1)
    for key in columns(rows):
        values = [row.get(key) for row in rows]
        cells = [key, *map(_cell, values)]
        if not any(cells[1:]):
            continue
        width = max(map(len, cells))
        right = all(value is None or isinstance(value, int | float) for value in values)
        cells = [cell.rjust(width) if right else cell.ljust(width) for cell in cells]
        lines = [f"{line}  {cell}" if line else cell for line, cell in zip(lines, cells, strict=True)]
    return "\n".join(line.rstrip() for line in lines)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.3g}" if isinstance(value, float) else str(value)
