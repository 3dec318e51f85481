"""The options of every run, and their words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["OPTIONS", "RunOptions"]


@dataclass
class RunOptions:
    """Options of every run (times are dimensionless; the problem's own values unless given).

    Args:
        particles: Number of particles, at least 2.
        t_end: Final time.
        dt: Time step; must divide the interval.
        seed: Seed of particles, networks and random batches, from 0 to 2**63 - 1.
        out: Folder of the run, new or empty; runs/<problem>-<method>-<score> unless given.
        device: auto, cpu, cuda, cuda:1, ...
        dtype: Floating-point type.
        threads: Number of CPU threads, torch's choice unless given; a resume takes the same number.
        compile: Whether sums over pairs are compiled; auto, where that pays, unless GRAPHLANDAU_COMPILE says otherwise.
        snapshots: Number of snapshots, first and last time included.
        metrics_every: Steps between two rows of metrics.csv.
        checkpoint_every: Steps between two checkpoints.
        baselines: Whether to measure the density errors of the exact score and of fresh exact samples too.
        certificate: Whether to follow the score of the density that the particles really have, and the bounds by it.
        figures: Whether to draw the figures at the end, or as what files: png, pdf, svg (true: png).
    """

    particles: int | None = None
    t_end: float | None = None
    dt: float | None = None
    seed: int = 0
    out: str | None = None
    device: str = "auto"
    dtype: Literal["float32", "float64"] = "float32"
    threads: int | None = None
    compile: Literal["never", "auto", "always"] | None = None
    snapshots: int = 11
    metrics_every: int = 1
    checkpoint_every: int = 25
    baselines: bool = True
    certificate: bool = False
    figures: bool | Literal["png", "pdf", "svg"] = True


OPTIONS = tuple(RunOptions.__dataclass_fields__)
