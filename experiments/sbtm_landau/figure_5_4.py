"""Figure 5.4 of Ilin, Hu and Wang 2025: unequal temperatures in 10D, where the blob fails.

python experiments/sbtm_landau/figures.py 5.4            # n = 400 to 25,600
python experiments/sbtm_landau/figures.py 5.4 --smoke
"""

from __future__ import annotations

from figure_5_3 import KEYS, draw
from study import CASES, scan

from graphlandau.cli.study import publish, read_command_line, records, table

SIZES = [400, 1600, 6400]


def main() -> None:
    options = read_command_line(__doc__, __file__, SIZES, [60, 120])
    sizes = options.sizes
    runs = scan("figure_5_4", CASES, sizes, *(["--t_end", "0.2", "--dt", "0.05"] if options.smoke else []))
    found = records(runs, options)
    title = "Unequal temperatures in 10D, Maxwell molecules (exact: dashed)"
    publish(options, "figure_5_4", table(found, KEYS), lambda: draw(found, sizes, title))


if __name__ == "__main__":
    main()
