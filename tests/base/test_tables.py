"""Tables: what is written is read back, what is shown is in its column."""

from __future__ import annotations

import csv
from pathlib import Path

from graphlandau.base.tables import aligned, main_numbers, write_csv


def test_csv_is_read_back_to_the_last_digit(tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv", [{"folder": "dt=0.1,seed=0", "kl": 0.1 + 0.2}, {"kl": None, "error": "a\nb"}])
    with (tmp_path / "a.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[0] == {"folder": "dt=0.1,seed=0", "kl": repr(0.1 + 0.2), "error": ""}
    assert rows[1] == {"folder": "", "kl": "", "error": "a\nb"}
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]


def test_numbers_stand_to_the_right_of_one_line_per_row() -> None:
    rows = [{"run": "blob", "steps": 10, "drift": 1.5e-7, "score": None}, {"run": "a longer name", "drift": 2.0}]
    assert aligned(rows).splitlines() == [
        "run            steps    drift",
        "blob              10  1.5e-07",
        "a longer name               2",
    ]


def test_zero_is_a_number() -> None:
    assert aligned([{"drift": 0.0}]).splitlines() == ["drift", "    0"]
    assert main_numbers({"energy_rel_drift": 0.0, "kl": 1.0, "entropy": None}) == {"energy drift": 0.0}
